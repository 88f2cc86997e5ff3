"""The client's side of the guardian."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from warmshell.errors import ClosedError
from warmshell.guardian import client, tree

from .guardian_help import SOURCE, children, descriptors, eventually, target


@pytest.fixture(autouse=True)
def nothing_leaks():
    before = descriptors(), children(), threading.active_count()
    yield
    eventually(lambda: client._reap_left() or not client._left)
    assert client._shared is None
    assert (descriptors(), children(), threading.active_count()) == before


@pytest.fixture
def shell(start):
    """Starts something in a session of its own, which no tag tells."""

    def start_shell():
        family = start("say(ready=1); rest()", env={})
        family.hear()
        return family

    return start_shell


async def reap(family):
    return await asyncio.to_thread(family.process.wait)


async def test_closing_ends_what_is_tagged(start, token):
    guardian = client.Guardian()
    guardian.start()
    family = start("say(ready=1); rest()", env={**os.environ, client.TOKEN_VARIABLE: guardian.token})
    family.hear()
    assert await guardian.aclose() == []
    assert guardian.pid is None
    assert await reap(family) == -signal.SIGTERM
    family.end()


async def test_closing_ends_sessions(shell):
    guardian = client.Guardian()
    family = shell()
    guardian.add_session(family.pid)
    await guardian.aclose()
    assert await reap(family) == -signal.SIGTERM
    family.end()


async def test_a_removed_session_is_left_alone(shell):
    guardian = client.Guardian()
    family = shell()
    guardian.add_session(family.pid)
    guardian.remove_session(family.pid)
    guardian.remove_session(family.pid)
    await guardian.aclose()
    assert tree.is_alive(*family.target)
    family.end()


async def test_closing_twice_and_unstarted():
    guardian = client.Guardian()
    assert await guardian.aclose() == []
    assert await guardian.aclose() == []
    with pytest.raises(ClosedError):
        guardian.start()
    with pytest.raises(ClosedError):
        guardian.add_session(os.getpid() + 1)
    guardian.remove_session(5)


async def test_starting_twice_is_starting_once():
    guardian = client.Guardian()
    guardian.start()
    pid = guardian.pid
    guardian.start()
    assert guardian.pid == pid
    await guardian.aclose()


@pytest.mark.parametrize("sid", [0, 1, os.getsid(0)])
async def test_the_client_s_own_session_is_refused(sid):
    guardian = client.Guardian()
    with pytest.raises(ValueError, match="not one that this client started"):
        guardian.add_session(sid)


async def test_a_killed_guardian_is_replaced_and_told_everything(shell):
    guardian = client.Guardian()
    first, second = shell(), shell()
    guardian.add_session(first.pid)
    killed = guardian.pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: tree.process(killed).zombie)
    guardian.add_session(second.pid)
    assert guardian.pid != killed
    await guardian.aclose()
    assert [await reap(first), await reap(second)] == [-signal.SIGTERM] * 2
    first.end(), second.end()


async def test_closing_after_the_guardian_was_killed_sweeps(shell):
    guardian = client.Guardian()
    family = shell()
    guardian.add_session(family.pid)
    os.kill(guardian.pid, signal.SIGKILL)
    eventually(lambda: tree.process(guardian.pid).zombie)
    await guardian.aclose()
    assert await reap(family) == -signal.SIGTERM
    family.end()


async def test_a_dead_guardian_raises_no_sigpipe(start):
    family = start(
        f"""
sys.path.insert(0, {SOURCE!r})
from warmshell.guardian.client import Guardian
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
guardian = Guardian()
guardian.start()
first = guardian.pid
os.kill(first, signal.SIGKILL)
guardian.add_session(child(os.setsid))
guardian._send(b"+sid 999999999\\n")
say(alive=1)
""",
        env=None,
    )
    assert family.hear() == {"alive": 1}
    family.end()


async def test_a_stopped_guardian_delays_closing_only_so_long(monkeypatch):
    monkeypatch.setattr(client, "CLOSE_SECONDS", 0.2)
    guardian = client.Guardian()
    guardian.start()
    pid = guardian.pid
    os.kill(pid, signal.SIGSTOP)
    for sid in range(2**20, 2**20 + 10_000):  # more than the pipe takes
        guardian.add_session(sid)
    assert await guardian.aclose() == []
    assert tree.process(pid) is None


async def test_a_cancelled_close_still_ends_everything(start):
    guardian = client.Guardian()
    family = start("signal.signal(signal.SIGTERM, signal.SIG_IGN); say(ready=1); rest()", env={})
    family.hear()
    guardian.add_session(family.pid)
    pid = target(guardian.pid)
    closing = asyncio.create_task(guardian.aclose())
    await asyncio.sleep(0)  # let it begin
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert await reap(family) == -signal.SIGKILL
    await asyncio.to_thread(eventually, lambda: not tree.is_alive(*pid))
    family.end()


async def test_one_guardian_serves_all():
    one, two = client.acquire(), client.acquire()
    assert one is two
    pid = one.pid
    assert await client.release(one) == []
    assert one.pid == pid
    assert await client.release(two) == []
    assert tree.process(pid) is None


async def test_a_new_guardian_while_the_last_one_closes():
    first = client.acquire()
    closing = asyncio.create_task(client.release(first))
    await asyncio.sleep(0)  # let it begin
    second = client.acquire()
    assert second is not first
    assert second.token != first.token
    await closing
    assert tree.is_alive(*target(second.pid))
    await client.release(second)


async def test_acquired_by_many_threads_at_once():
    guardians = await asyncio.gather(*[asyncio.to_thread(client.acquire) for _ in range(16)])
    assert len(set(guardians)) == 1
    for guardian in guardians:
        await client.release(guardian)
    assert guardians[0].pid is None


def test_one_event_loop_after_another():
    async def use():
        await client.release(client.acquire())

    asyncio.run(use())
    asyncio.run(use())


async def test_a_guardian_that_cannot_be_started(monkeypatch):
    monkeypatch.setattr(client.sys, "executable", "/nonexistent/python")
    with pytest.raises(FileNotFoundError):
        client.acquire()
    monkeypatch.undo()
    await client.release(client.acquire())


FORK = f"""
sys.path.insert(0, {SOURCE!r})
import asyncio
from warmshell.errors import ClosedError
from warmshell.guardian.client import acquire, release
guardian = acquire()
pid, held = guardian.pid, len(os.listdir("/proc/self/fd"))
def fork():
    refused = 0
    for call in (guardian.start, lambda: guardian.add_session(os.getpid() + 1)):
        try:
            call()
        except ClosedError:
            refused += 1
    guardian.remove_session(5)
    asyncio.run(release(guardian))
    other = acquire()
    new = other.token != guardian.token and other.pid != pid
    say(refused=refused, other=new, held=len(os.listdir("/proc/self/fd")))
    asyncio.run(release(other))
def fork_again():
    other = acquire()
    asyncio.run(release(other))
    say(acquired=other is not guardian)
os.waitpid(child(fork), 0)
os.waitpid(child(fork_again), 0)
say(mine=pid == guardian.pid and guardian._process.poll() is None, held=held)
asyncio.run(release(guardian))
say(closed=guardian.pid is None)
"""


async def test_a_fork_has_its_own_guardian_and_leaves_the_parents_alone(start):
    family = start(FORK, env=None)
    forked, again, parent, closed = (family.hear() for _ in range(4))
    assert (forked["refused"], forked["other"]) == (2, True)
    assert forked["held"] == parent["held"]
    assert again["acquired"]
    assert parent["mine"]
    assert closed["closed"]
    family.end()


async def test_the_guardian_of_a_client_under_a_command_is_not_tagged(monkeypatch):
    monkeypatch.setenv("WARMSHELL_SESSION", "outer")
    monkeypatch.setenv("WARMSHELL_COMMAND", "outer.1.1")
    guardian = client.acquire()
    eventually(lambda: not tree.has_tag(guardian.pid, [b"WARMSHELL_SESSION=outer", b"WARMSHELL_COMMAND=outer"]))
    await client.release(guardian)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")
async def test_survivors_are_told(start):
    family = start(
        f"""
sys.path.insert(0, {SOURCE!r})
import asyncio, ctypes
from warmshell.guardian.client import Guardian
def another():
    os.setsid()
    ctypes.CDLL(None).prctl(15, b"odd \\xff", 0, 0, 0)
    os.setgid(65534); os.setuid(65534)
    say(other=os.getpid()); rest()
child(another)
os.read(0, 1)
ctypes.CDLL(None).prctl(24, 5, 0, 0, 0)  # what this executes from now on has no CAP_KILL
guardian = Guardian()
guardian.add_session(int(sys.stdin.readline()))
say(survivors=asyncio.run(guardian.aclose()))
""",
        env=None,
    )
    other = family.hear()["other"]
    family.process.stdin.write(b"\n%d\n" % other)
    family.process.stdin.flush()
    assert await asyncio.to_thread(family.hear) == {"survivors": [[other, "odd \ufffd"]]}
    assert family.alive(other)
    family.end()


async def test_end_command_spares_the_shell_and_what_is_older(start, token):
    family = start("""
os.read(0, 1)
def leave():
    os.setsid(); rest()
os.environ["WARMSHELL_COMMAND"] = os.environ["WARMSHELL_SESSION"] + ".1.7"
words = [sys.executable, "-I", "-S", "-c", "import signal; signal.alarm(60); signal.pause()"]
run = lambda: os.execve(sys.executable, words, os.environ)
def left():
    os.setsid(); run()
say(child=child(rest), orphan=daemon(rest), left=daemon(left)); rest()
""")
    older = start("say(older=daemon(rest)); rest()")
    older.hear()
    since = tree.ticks() + 1
    await asyncio.to_thread(eventually, lambda: tree.ticks() >= since)
    family.process.stdin.write(b"x")
    family.process.stdin.flush()
    family.hear()
    await asyncio.to_thread(eventually, lambda: tree.has_tag(family.facts["left"], [client.command_tag(token, 1, 7)]))
    tag = client.command_tag(token, 1, 7)
    roots = [family.target, older.target]
    left = await client.end_command(tag, roots, [family.pid, older.pid], 5.0, since=since)
    assert left == set()
    assert family.survivors() == [family.target]
    assert older.survivors() == [older.target, target(older.facts["older"])]
    family.end(), older.end()
