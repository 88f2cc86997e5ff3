"""Sessions that are left at real hosts, and found again by other clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import warmshell
from ssh.lab import Lab
from ssh.test_conformance import SshPart
from warmshell.errors import ConnectError, LocationError
from warmshell.testing.cancelling import Cancelling
from warmshell.testing.closing import Closing
from warmshell.testing.timeouts import Timeouts
from warmshell.testing.waiting import eventually, eventually_sync

Warm = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this client remembers sessions."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def start(*words: str, **options) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "warmshell", *words], **{**streams, **options})


@pytest.fixture
def warm(state: Path) -> Warm:
    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        process = start(*words)
        out, err = process.communicate(timeout=100)
        assert b"Traceback" not in err, err.decode()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return run


def at(lab: Lab, host: str = "hostA", **options: str) -> str:
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return f"ssh://{host}?config={lab.config}{more}"


def test_left_listed_attached_to_and_gone(lab: Lab, warm: Warm, state: Path) -> None:
    done = warm("run", "--detach", "--on", at(lab), "-c", "echo out; echo err >&2; exit 9")
    assert done.returncode == 0
    session = done.stdout.decode().strip()
    assert f"warm attach {session}" in done.stderr.decode()
    assert (state / "warmshell/sessions").stat().st_mode & 0o777 == 0o700
    (line,) = warm("sessions", "--json").stdout.splitlines()
    fields = json.loads(line)
    assert (fields["id"], fields["lease"], fields["attached"]) == (session, None, False)
    assert session in warm("sessions", at(lab)).stdout.decode()
    done = warm("attach", session)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 9)
    assert warm("sessions", "--json", at(lab)).stdout == b""
    done = warm("attach", session)
    assert (done.returncode, done.stdout) == (2, b"")
    assert list((state / "warmshell/sessions").iterdir()) == []


def test_from_another_machine(lab: Lab, warm: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = warm("run", "--detach", "--on", at(lab), "echo", "there").stdout.decode().strip()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    done = warm("attach", session)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"name its location" in done.stderr
    assert warm("attach", "--on", at(lab), session).stdout == b"there\n"


def test_kill_leaves_nothing(lab: Lab, warm: Warm) -> None:
    """The fixture looks for what is left of the session, wherever it hid."""
    script = "trap '' TERM; setsid sleep 1000 & env -i sleep 1000 & while :; do sleep 1; done"
    session = warm("run", "--detach", "--on", at(lab), "-c", script).stdout.decode().strip()
    assert warm("kill", session).returncode == 0
    assert warm("sessions", "--json", at(lab)).stdout == b""
    assert warm("kill", session, "--on", at(lab)).returncode == 2


def test_clients_that_are_killed_lose_nothing_and_show_nothing_twice(lab: Lab, warm: Warm, tmp_path: Path) -> None:
    """One after another is killed -9 while it shows what a command writes; together they have shown all of it.

    What a client wrote in the moment of its end may come again: the lines tell.
    """
    lines = 20_000
    os.mkfifo(tmp_path / "go")
    script = f"i=0; while test $i -lt {lines}; do i=$((i+1)); echo $i; done; read x <{tmp_path}/go; exit 5"
    session = warm("run", "--detach", "--on", at(lab), "-c", script).stdout.decode().strip()
    shown = tmp_path / "shown"
    for size in (1000, 30_000, 60_000):
        with shown.open("ab") as file:
            client = start("attach", session, stdout=file)
        eventually_sync(lambda s=size: shown.stat().st_size > s, 60)
        client.kill()
        assert client.wait() == -signal.SIGKILL
        client.stderr.close()
    threading.Thread(target=(tmp_path / "go").write_text, args=("\n",)).start()
    with shown.open("ab") as file:
        client = start("attach", session, stdout=file)
    _, err = client.communicate(timeout=100)
    assert client.returncode == 5, err
    got = [int(line) for line in shown.read_text().splitlines()]
    assert set(range(1, lines + 1)) <= set(got)


def test_ctrl_c_leaves_it_to_go_on(lab: Lab, warm: Warm, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    script = f"echo one; read x <{tmp_path}/go; echo two; exit 6"
    session = warm("run", "--detach", "--on", at(lab), "-c", script).stdout.decode().strip()
    client = start("attach", session)
    assert client.stdout.readline() == b"one\n"
    client.send_signal(signal.SIGINT)
    out, err = client.communicate(timeout=60)
    assert (client.returncode, out) == (130, b"")
    assert b"goes on" in err
    (tmp_path / "go").write_text("\n")
    done = warm("attach", session)
    assert (done.stdout.replace(b"one\n", b""), done.returncode) == (b"two\n", 6)


async def test_a_client_killed_while_commands_run(lab: Lab, state: Path, tmp_path: Path) -> None:
    """A program of the library, killed -9 with one result in its hands and one command under way."""
    os.mkfifo(tmp_path / "go")
    program = (
        "import asyncio, sys, warmshell\n"
        "async def main():\n"
        "    async with warmshell.connect(sys.argv[1], detach=float('inf')) as node:\n"
        "        print(node.place.session.detach_options.session, (await node.run('echo first')).text, flush=True)\n"
        "        await node.run(sys.argv[2])\n"
        "asyncio.run(main())\n"
    )
    script = f": >{tmp_path}/up; read x <{tmp_path}/go; echo second; exit 8"
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, at(lab), script, stdout=subprocess.PIPE
    )
    session, first = (await client.stdout.readline()).decode().split()
    await eventually((tmp_path / "up").exists)
    client.kill()
    await client.wait()
    async with warmshell.attach(session, on=at(lab)) as attached:
        await asyncio.to_thread((tmp_path / "go").write_text, "\n")
        ends = [end async for end in attached.results()]
    assert first == "first"
    last = ends[-1]
    assert (last.result.stdout, last.result.returncode, last.again) == (b"second\n", 8, False)
    assert all(end.again for end in ends[:-1])


@pytest.mark.parametrize("transport", ["openssh", "asyncssh"])
async def test_left_and_attached_to_by_either_transport(lab: Lab, state: Path, transport: str, tmp_path: Path) -> None:
    if transport == "asyncssh":
        pytest.importorskip("asyncssh")
    os.mkfifo(tmp_path / "go")
    async with lab.connect(transport=transport, detach=60) as node:
        session = await node.detach(f"echo a; read x <{tmp_path}/go; echo b; exit 3")
    assert [info.id for info in await warmshell.sessions(at(lab, transport=transport))] == [session]
    async with warmshell.attach(session) as attached:
        pieces = attached.pieces()
        assert (await anext(pieces)).data == b"a\n"
        for pid in lab.connections("hostA"):
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread((tmp_path / "go").write_text, "\n")
        assert (await anext(pieces)).data == b"b\n"
        assert (await anext(pieces)).result.returncode == 3
        await pieces.aclose()
        attached.taken()
    assert await warmshell.sessions(at(lab)) == []


READ_ONLY = "mount -t tmpfs -o ro none /tmp"
NO_FILES = "mount -t tmpfs -o nr_inodes=1 none /tmp"
NO_ROOM = "mount -t tmpfs -o size=4k none /tmp; head -c 9999 /dev/zero >/tmp/full 2>/dev/null"


@pytest.mark.parametrize("how", [READ_ONLY, NO_FILES, NO_ROOM], ids=["read-only", "no-files", "no-room"])
async def test_no_room_for_a_session_is_one_clear_error(lab: Lab, state: Path, how: str) -> None:
    """The home of the account is below this ``/tmp`` too."""
    name = f"host-{['ro', 'files', 'room'][[READ_ONLY, NO_FILES, NO_ROOM].index(how)]}"
    program = lab.home / name
    program.write_text(f'#!/bin/sh\n{how}\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n')
    program.chmod(0o755)
    lab.host(name, f"ForceCommand unshare --mount {program}")
    with pytest.raises(ConnectError, match="cannot be made detachable") as caught:
        async with lab.connect(name, detach=30):
            pass
    assert "\n" not in str(caught.value)
    async with lab.connect(name) as node:  # while nothing is to be left there, nothing is needed
        assert (await node.run("echo here")).stdout == b"here\n"


async def test_without_python_nothing_can_be_left(lab: Lab, state: Path) -> None:
    with pytest.raises(NotImplementedError, match="Python"):
        async with lab.connect(username="warm-quiet", detach=30):
            pass
    with pytest.raises(ConnectError, match="Python"):
        await warmshell.sessions(at(lab, username="warm-quiet"))


def test_what_is_no_session(lab: Lab, state: Path) -> None:
    for session in ("", "x", "../../etc", "a" * 65, "abcdefg\n"):
        with pytest.raises(LocationError):
            warmshell.attach(session, on=at(lab))


class TestSshDetached(SshPart, Closing, Timeouts, Cancelling):
    """What a session that can be left does differently when it is not: nothing."""

    def connect(self, **options: Any) -> warmshell.Location:
        return super().connect(detach=60, **options)
