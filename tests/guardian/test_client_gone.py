"""A client that is gone, in whatever way: nothing of it is left."""

from __future__ import annotations

import os
import signal

import pytest

from warmshell.guardian import tree

from .guardian_help import SOURCE, eventually

# A client with one shell, in its session and tagged, that has said which processes there are.
CLIENT = f"""
sys.path.insert(0, {SOURCE!r})
import subprocess
from warmshell.guardian.client import acquire, release, TOKEN_VARIABLE, COMMAND_VARIABLE
guardian = acquire()
env = {{**os.environ, TOKEN_VARIABLE: guardian.token}}
prelude = open("/proc/self/cmdline").read().split("\\0")[4].split("sys.path.insert")[0]
def shell(program):
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", prelude + program], env=env, stdin=subprocess.PIPE, start_new_session=True
    )
    guardian.add_session(process.pid)
    say(shell=process.pid)
    return process
say(guardian=guardian.pid)
"""

IDLE = "say(ready=1); os.read(0, 1)"

BUSY = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.environ[f"WARMSHELL_COMMAND"] = os.environ["WARMSHELL_SESSION"] + ".1.1"
loop = [sys.executable, "-I", "-S", "-c", "import signal; signal.alarm(60)\\nwhile True: pass"]
def run(env, *, leave=False):
    def program():
        if leave:
            os.setsid()
        os.execve(sys.executable, loop, env)
    return program
say(
    child=child(run(os.environ)),
    bare=child(run({}, leave=True)),
    orphan=daemon(run({})),
    daemon=daemon(run(os.environ, leave=True)),
    ready=1,
)
while True: pass
"""


def hear_until(family, key):
    while key not in family.facts:
        family.hear()


@pytest.fixture
def client(start):
    def start_client(shell, rest="rest()"):
        family = start(CLIENT + f"shell({shell!r})\n" + rest, env=None)
        hear_until(family, "ready")
        return family

    return start_client


@pytest.mark.parametrize("shell", [IDLE, BUSY], ids=["idle", "busy"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed(client, shell, number):
    family = client(shell)
    assert len(family.survivors()) == (7 if shell is BUSY else 3)
    tree.send(*family.target, number)
    family.process.wait()
    eventually(lambda: family.survivors() == [])


def test_ended_without_closing(client):
    family = client(BUSY, rest="os.read(0, 1); os._exit(0)")
    family.process.stdin.close()
    assert family.process.wait() == 0
    eventually(lambda: family.survivors() == [])


def test_became_another_program(client):
    family = client(BUSY, rest="os.read(0, 1); os.execv('/bin/sleep', ['sleep', '60'])")
    family.process.stdin.close()
    eventually(lambda: family.survivors() == [family.target])


def test_killed_while_a_fork_of_it_holds_the_pipe(client):
    family = client(BUSY, rest="say(fork=child(rest)); rest()")
    hear_until(family, "fork")
    fork = family.facts["fork"]
    tree.send(*family.target, signal.SIGKILL)
    family.process.wait()
    eventually(lambda: [pid for pid, _ in family.survivors()] == [fork])


def test_killed_with_its_whole_process_group(client):
    family = client(BUSY)
    os.killpg(family.pid, signal.SIGKILL)
    family.process.wait()
    eventually(lambda: family.survivors() == [])


def test_killed_right_after_the_start(start):
    family = start(CLIENT + f"shell({BUSY!r}); os.kill(os.getpid(), signal.SIGKILL)", env=None)
    family.hear(), family.hear()
    family.process.wait()
    eventually(lambda: family.survivors() == [])
    assert tree.find(sids=[family.facts["shell"]]) == set()
