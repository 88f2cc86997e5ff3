"""Ending what a selection means."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from warmshell.guardian import tree

from .guardian_help import SOURCE, eventually, target


@pytest.fixture(params=["pidfd", "no pidfd"])
def pidfd(request, monkeypatch):
    """Each test twice: as on Linux 5.3 and later, and as elsewhere."""
    if request.param == "no pidfd":
        monkeypatch.delattr(os, "pidfd_open")


def selection(token, **options):
    return tree.Selection(tags=[b"WARMSHELL_SESSION=" + token.encode()], **options)


def test_nothing_to_end(token):
    assert tree.end(selection(token), 1.0) == set()


def test_a_child_a_session_and_a_daemon_end_by_sigterm(start, token, pidfd):
    family = start("""
def leave():
    os.setsid(); rest()
say(child=child(rest), left=child(leave), daemon=daemon(leave)); rest()
""")
    family.hear()
    assert tree.end(selection(token), 30.0) == set()
    assert family.process.wait() == -signal.SIGTERM
    assert family.survivors() == []


def test_the_root_is_spared_with_all_its_session_and_tag(start, token):
    family = start("say(child=child(rest), orphan=daemon(rest)); rest()")
    family.hear()
    assert tree.end(selection(token, roots=[family.target], sids=[family.pid]), 30.0) == set()
    assert family.survivors() == [family.target]


def test_sigterm_can_be_obeyed_at_leisure(start, token, pidfd):
    family = start("""
def clean_up(number, frame):
    say(cleaning=1)
    select.select([0], [], [])
    say(done=1)
    os._exit(7)
signal.signal(signal.SIGTERM, clean_up)
say(ready=1); rest()
""")
    family.hear()
    code = f"""
import sys
sys.path.insert(0, {SOURCE!r})
from warmshell.guardian import tree
tree.end(tree.Selection([({family.pid}, {family.target[1]})], include_roots=True), 60.0)
"""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) as ender:
        assert "cleaning" in family.hear()
        family.process.stdin.close()
        assert "done" in family.hear()
        assert family.process.wait() == 7
        assert ender.wait() == 0


def test_sigterm_ignored(start, token, pidfd):
    family = start("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say(child=child(rest)); rest()
""")
    family.hear()
    assert tree.end(selection(token), 0.1) == set()
    assert family.process.wait() == -signal.SIGKILL
    assert family.survivors() == []


def test_sigterm_comes_once(start, token):
    family = start("""
signal.signal(signal.SIGTERM, lambda *_: say(term=1))
say(ready=1)
rest()
""")
    family.hear()
    assert tree.end(selection(token), 0.5) == set()
    assert family.process.stdout.read() == b'{"term": 1}\n'


def test_without_a_grace_nothing_is_asked(start, token):
    family = start("""
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
say(ready=1); rest()
""")
    family.hear()
    assert tree.end(selection(token), 0.0) == set()
    assert family.process.wait() == -signal.SIGKILL


def test_the_stopped_get_their_sigterm(start, token, pidfd):
    family = start("""
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
say(ready=1); rest()
""")
    family.hear()
    os.kill(family.pid, signal.SIGSTOP)
    eventually(lambda: tree.process(family.pid).state == "T")
    assert tree.end(selection(token), 30.0) == set()
    assert family.process.wait() == 7


def test_what_starts_on_sigterm_ends_too(start, token):
    family = start("""
def clean_up(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    say(late=daemon(rest))
    os._exit(0)
signal.signal(signal.SIGTERM, clean_up)
say(ready=1); rest()
""")
    family.hear()
    assert tree.end(selection(token), 30.0) == set()
    family.hear()
    assert family.survivors() == []
    assert tree.find(tags=[b"WARMSHELL_SESSION=" + token.encode()]) == set()
    family.process.wait()


def test_a_zombie_holds_nothing_up(start, token):
    family = start("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def dies():
    signal.signal(signal.SIGTERM, signal.SIG_DFL); say(child=os.getpid()); rest()
child(dies); rest()
""")
    child = family.hear()["child"]
    spared = selection(token, roots=[family.target])
    assert tree.end(spared, 30.0) == set()
    assert tree.process(child).zombie
    assert tree.end(spared, 30.0) == set()
    assert tree.is_alive(*family.target)


def test_another_process_with_the_number_gets_nothing(start, pidfd):
    family = start("say(ready=1); rest()")
    family.hear()
    pid, started = family.target
    assert not tree.send(pid, started + 1, signal.SIGKILL)
    assert tree.wait([(pid, started + 1)], 0.0)
    assert tree.is_alive(pid, started)
    assert tree.send(pid, started, signal.SIGKILL)
    assert family.process.wait() == -signal.SIGKILL


def test_wait_tells_whether_all_ended(start, pidfd):
    family = start("say(child=child(rest)); os.read(0, 1)")
    family.hear()
    child = target(family.facts["child"])
    assert not tree.wait([family.target, child], 0.05)
    tree.send(*child, signal.SIGKILL)
    assert not tree.wait([family.target, child], 0.05)
    family.process.stdin.close()
    assert tree.wait([family.target, child], 20.0)


def test_more_processes_than_descriptors(start, token):
    many = start("say(pids=[child(rest) for _ in range(100)]); rest()")
    many.hear()
    program = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
sys.path.insert(0, {SOURCE!r})
from warmshell.guardian import tree
print(tree.end(tree.Selection([({many.pid}, {many.target[1]})], include_roots=True), 30.0))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True)
    assert done.stdout == b"set()\n"
    assert many.process.wait() == -signal.SIGTERM
    assert tree.find(tags=[b"WARMSHELL_SESSION=" + token.encode()]) == set()


def test_no_descriptor_stays_open(start, token):
    before = set(os.listdir("/proc/self/fd"))
    family = start("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say(pids=[child(rest) for _ in range(5)]); rest()
""")
    family.hear()
    assert tree.end(selection(token), 0.1) == set()
    family.end()
    assert set(os.listdir("/proc/self/fd")) == before


# Every bomb is its own safety net: it ends after half a minute and holds at most some hundred processes at once.
BOMB = """
until = time.monotonic() + 30
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
"""

WIDE = """
def explode(depth):
    while time.monotonic() < until:
        if depth < 3:
            for _ in range(4):
                child(lambda: explode(depth + 1))
            depth = 3
        child(lambda: time.sleep(0.01))
say(ready=1); explode(0)
"""

CHAIN = """
def move():
    while time.monotonic() < until:
        if os.fork():
            os._exit(0)
child(move); child(move); say(ready=1); rest()
"""

LEAVING_CHAIN = CHAIN.replace("os._exit(0)", "os._exit(0)\n        os.setsid()")

EXEC_CHAIN = """
words = ["/bin/sh", "-c", 'trap "" TERM; [ "$1" -gt 0 ] || exit; sh -c "$0" "$0" $(($1 - 1)) &', "", "20000"]
words[3] = words[2]
def run():
    os.execve("/bin/sh", ["sh", *words[1:]], os.environ)
child(run); say(ready=1); rest()
"""


@pytest.fixture
def alone(tmp_path_factory):
    """One bomb at a time on this machine, whatever tests run beside."""
    shared = tmp_path_factory.getbasetemp().parent / "bomb.lock"
    with shared.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("bomb", [WIDE, CHAIN, LEAVING_CHAIN, EXEC_CHAIN], ids=["wide", "chain", "leaving", "exec"])
def test_what_forks_without_end_loses(start, token, bomb):
    family = start(BOMB + bomb)
    family.hear()
    assert tree.end(selection(token), 0.1) == set()
    family.process.wait()
    assert tree.find(tags=[b"WARMSHELL_SESSION=" + token.encode()]) == set()


@pytest.mark.usefixtures("alone")
def test_a_bomb_without_environment_under_a_spared_root_loses(start, token):
    bomb = start(f"""
bomb = {BOMB + WIDE!r}.replace("say(ready=1)", "pass")
with open("/proc/self/cmdline", "rb") as file:
    prelude = file.read().split(b"\\0")[4].decode().split("bomb = ")[0]
def bare():
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", prelude + bomb], {{}})
say(bare=child(bare)); rest()
""")
    bomb.hear()
    eventually(lambda: len(tree.find([bomb.target])) > 50)
    assert tree.end(tree.Selection([bomb.target]), 0.1) == set()
    assert tree.find([bomb.target]) == set()
    assert tree.is_alive(*bomb.target)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")
def test_what_another_user_owns_is_returned_without_delay(start):
    family = start("os.setuid(65534); say(ready=1); rest()")
    family.hear()
    program = f"""
import ctypes, json, os, sys, time
sys.path.insert(0, {SOURCE!r})
from warmshell.guardian import tree
os.setgroups([]); os.setuid(65533)
before = time.monotonic()
left = tree.end(tree.Selection(sids=[{family.pid}]), 60.0)
print(json.dumps([sorted(left), time.monotonic() - before < 30]))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout) == [[list(family.target)], True]
    assert tree.is_alive(*family.target)
