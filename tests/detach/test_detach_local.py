"""This machine with a session that outlives its client: the whole suite, and what happens when the client goes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

import warmshell
import warmshell.blocking
from warmshell.errors import CommandTooLong, LocationError, ShellLost, WarmshellError
from warmshell.protocol import frames
from warmshell.testing import LocationConformance
from warmshell.testing.cancelling import Cancelling
from warmshell.testing.closing import Closing
from warmshell.testing.failures import Failures
from warmshell.testing.timeouts import Timeouts
from warmshell.testing.waiting import eventually, eventually_sync

ACCOUNT = "nobody" if os.geteuid() == 0 and shutil.which("sudo") else None


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Sessions of their own for each test; none may be left."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    yield home
    sessions = home / "cache" / "warmshell"
    eventually_sync(lambda: not sessions.exists() or not list(sessions.iterdir()), 20, "a session is left")


class Part(Closing, Timeouts, Cancelling, Failures):
    pass


# What lies above the session server is the same as over SSH, whose tests need not all be done twice each time.
class TestLocalDetached(LocationConformance if os.environ.get("WARMSHELL_WHOLE") else Part):
    local = True
    account = ACCOUNT
    has_setsid = shutil.which("setsid") is not None

    def connect(self, **options):
        return warmshell.connect("local:", detach=60, **options)

    @pytest_asyncio.fixture
    async def observer(self, _needs):
        async with warmshell.connect("local:") as node:
            yield node


PROGRAM = """
import asyncio, sys, warmshell
async def main():
    async with warmshell.connect(sys.argv[1]) as node:
        print(node.place.session.detach_options.session, flush=True)
        await node.run(sys.argv[2])
asyncio.run(main())
"""


def client(where, script):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, where, script], stdout=subprocess.PIPE)


async def test_it_outlives_kill_9_of_its_client_and_the_guardian_lets_it(tmp_path):
    os.mkfifo(tmp_path / "go")
    script = f": >{tmp_path}/up; read x <{tmp_path}/go; echo still here; exit 5"
    process = client("local:?detach=inf", script)
    session = process.stdout.readline().decode().strip()
    await eventually((tmp_path / "up").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    async with warmshell.attach(session, on="local:") as attached:
        await asyncio.to_thread((tmp_path / "go").write_text, "\n")
        (end,) = [end async for end in attached.results()]
    assert (end.result.stdout, end.result.returncode) == (b"still here\n", 5)


async def test_its_lease_ends_it_after_kill_9_of_its_client(tmp_path):
    process = client("local:?detach=0.5", f"echo $$ >{tmp_path}/pid; setsid sleep 1000 & sleep 1000")
    process.stdout.readline()
    await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    process.kill()
    process.communicate()
    pid = int((tmp_path / "pid").read_text())
    await eventually(lambda: not Path(f"/proc/{pid}").exists(), 20)


async def test_within_a_command_of_another_client_it_is_that_clients_no_more(tmp_path):
    """A command that leaves a session: the end of the command's own client does not take the session for its own."""
    words = [sys.executable, "-m", "warmshell", "run", "--detach", "--", "sleep", "1000"]
    async with warmshell.connect("local:") as node:
        session = (await node.run(words)).check().text.strip()
    (info,) = await warmshell.sessions()
    assert (info.id, info.running) == (session, 1)
    await warmshell.end_session(session)


async def test_commands_that_run_are_left_too(tmp_path):
    os.mkfifo(tmp_path / "go")
    node = warmshell.connect("local:", detach=float("inf"))
    async with node:
        waiting = asyncio.ensure_future(node.run(f"echo a; : >{tmp_path}/up; read x <{tmp_path}/go; echo b"))
        await eventually((tmp_path / "up").exists)
        session = await node.detach()
        with pytest.raises(ShellLost):
            await waiting
    async with warmshell.attach(session) as attached:
        (command,) = attached.commands
        await asyncio.to_thread((tmp_path / "go").write_text, "\n")
        (end,) = [end async for end in attached.results()]
    assert b"a\n"[command.missed[0] :] + b"b\n" == end.result.stdout


async def test_options_of_the_command_that_is_left(tmp_path):
    async with warmshell.connect("local:", detach=60) as node:
        script = "pwd; echo $A; cat; sleep 1000"
        session = await node.detach(script, cwd=tmp_path, env={"A": "b c"}, stdin=b"in", timeout=0.3)
    async with warmshell.attach(session) as attached:
        (end,) = [end async for end in attached.results()]
    assert isinstance(end.error, warmshell.CommandTimeout)
    assert end.error.result.stdout == f"{tmp_path}\nb c\nin".encode()


async def test_what_cannot_be_left(tmp_path):
    async with warmshell.connect("local:") as node:
        with pytest.raises(warmshell.NotSupported, match="connect with detach="):
            await node.detach("true")
        assert (await node.run("echo on")).stdout == b"on\n"
    async with warmshell.connect("local:", detach=60) as node:
        for options in ({"user": "nobody"}, {"pty": True}, {"stdin": tmp_path / "file"}):
            with pytest.raises(warmshell.NotSupported):
                await node.detach(["true"], **options)
        with pytest.raises(warmshell.ProgramNotFound):
            await node.detach(["no-such-program"])
        with pytest.raises(warmshell.WorkdirNotFound):
            await node.detach("true", cwd=tmp_path / "nowhere")
        assert (await node.run("echo on")).stdout == b"on\n"
    with pytest.raises(warmshell.ClosedError):
        await node.detach("true")


@pytest.mark.parametrize("value", ["x", 0, -1, "1e9", "nan"])
def test_leases_that_make_no_sense(value):
    with pytest.raises(LocationError):
        warmshell.connect("local:", detach=value)
    with pytest.raises(LocationError):
        warmshell.connect(f"local:?detach={value}x")


async def test_after_the_session_was_killed_there_is_another(tmp_path):
    async with warmshell.connect("local:", detach=60) as node:
        assert (await node.run("echo 1")).stdout == b"1\n"
        os.kill(node.place.session.facts["pid"], signal.SIGKILL)
        await eventually(lambda: node.place.session.lost)
        assert (await node.run("echo 2")).stdout == b"2\n"


def test_without_await():
    with warmshell.blocking.connect("local:", detach=60) as node:
        session = node.detach("echo out; echo err >&2; exit 3")
    assert [info.id for info in warmshell.blocking.sessions()] == [session]
    with warmshell.blocking.attach(session) as attached:
        assert [command.text for command in attached.commands] == ["echo out; echo err >&2; exit 3"]
        (end,) = attached.results()
    assert (end.result.stdout, end.result.stderr, end.result.returncode) == (b"out\n", b"err\n", 3)
    with warmshell.blocking.connect("local:", detach=60) as node:
        session = node.detach("echo; exec sleep 1000")
        with pytest.raises(warmshell.ClosedError):
            node.sessions()
    with warmshell.blocking.attach(session) as attached:
        assert next(attached.pieces()).data == b"\n"
    warmshell.blocking.end_session(session)
    assert warmshell.blocking.sessions("local:") == []


async def test_files_and_copies_of_such_a_location(tmp_path):
    async with warmshell.connect("local:", detach=60, cwd=str(tmp_path)) as node:
        await node.path("a").write_bytes(b"data")
        assert await node.path(tmp_path / "a").read_bytes() == b"data"
        assert (await node.run("cat a")).stdout == b"data"


async def test_a_command_that_cannot_be_left_changes_nothing_for_the_next():
    """What arrives is acknowledged as before: else the far end would keep all of it, until nothing more fits."""
    async with warmshell.connect("local:", detach=60) as node:
        with pytest.raises(CommandTooLong):
            await node.detach(":" + " " * 5_000_000)
        assert (await node.run(["echo", "on"])).stdout == b"on\n"
        session = node.place.session
        assert len(await session.ask("list_subshells")) == 1  # that of the second command
        await eventually(lambda: not session._received.owed)


async def test_a_client_that_says_what_is_no_number_is_refused_and_the_session_goes_on():
    async with warmshell.connect("local:", detach=60) as node:
        session = node.place.session
        running = asyncio.ensure_future(node.run("echo on; exec sleep 60"))
        await node.run("true")
        session._outbox.put(frames.pack(frames.ATTACH, 0, b'{"leave": true, "used": 1e999}'))
        with pytest.raises(WarmshellError, match="is not a frame"):
            await running
    name = session.detach_options.session
    assert name in [each.id for each in await warmshell.sessions("local:")]
    await warmshell.end_session(name, "local:")
