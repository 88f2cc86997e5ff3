"""A far end whose frames are spoilt on their way: every command says that it was lost, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from warmshell import Command, ConnectError, ShellLost
from warmshell.connector.command import CommandConnector
from warmshell.process import Process
from warmshell.protocol import frames
from warmshell.shell.detachable import Detach, DetachableSession
from warmshell.shell.server_process import ServerProcess
from warmshell.shell.session import Session

# Leads into nothing but itself, and puts something else in the place of the first end of a command.
SPOILER = """
import os, subprocess, sys
mark, bad = map(bytes.fromhex, sys.argv[1:3])
inner = subprocess.Popen(sys.argv[3:], stdout=subprocess.PIPE)
while data := os.read(inner.stdout.fileno(), 65536):
    at = data.find(mark)
    os.write(1, data if at < 4 else data[: at - 4] + bad)
sys.exit(inner.wait())
"""
ENDED = bytes([frames.ENDED, 0, 0, 0, 1])  # the type and the subshell of a header


@pytest.mark.parametrize(
    "bad",
    [
        frames.pack(frames.ENDED, 1, b"\0\0"),
        frames.pack(frames.ENDED, 1, b"\0\0\0\1"),
        frames.pack(frames.RESULT, 1, b"\0\0\0\1{"),
        frames.pack(frames.RESULT, 1, b"\0\0\0\1[]"),
        frames.pack(frames.RESULT, 1, b"\0\0\0\1{}"),
        frames.pack(frames.RESULT, 1, b'\0\0\0\1{"status": null}'),
        frames.pack(frames.RESULT, 1, b'\0\0\0\1{"status": 1e999}'),
        frames.pack(frames.RESULT, 1, b'\0\0\0\1{"shell_ended": []}'),
        frames.pack(frames.RESULT, 1, b'\0\0\0\1{"lost": "x", "started": "perhaps"}'),
        frames.pack(frames.CONTROL, 0, b"[" * 30_000),
        frames.pack(frames.CONTROL, 0, b"[1]"),
        frames.pack(frames.CONTROL, 0, b"\xff"),
        frames.pack(frames.ATTACHED, 0, b"\0\0\0\1"),
        b"\xff" * 9,
    ],
)
async def test_what_is_no_frame_loses_the_session(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "spoiler.py").write_text(SPOILER)
    words = (sys.executable, str(tmp_path / "spoiler.py"), ENDED.hex(), bad.hex())
    async with asyncio.timeout(30), CommandConnector("spoilt", exec=words) as connector:
        node = await connector.location("spoilt")
        with pytest.raises(ShellLost, match="sent what is no frame") as caught:
            await node.run(["sh", "-c", f"echo ran >>{tmp_path}/ran"])
        assert caught.value.started != "no"
        assert (tmp_path / "ran").read_text() == "ran\n"


class Deaf:
    """As much of a process as a session needs: it takes all, and what it says is the test's to say."""

    def __init__(self):
        self.killed = asyncio.Event()
        self.stdin = SimpleNamespace(send_some=len)
        self.stdout = SimpleNamespace(subscribe=lambda *_: lambda: None)
        self.stderr = self

    def __aiter__(self) -> Deaf:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def kill(self, _grace: float) -> None:
        self.killed.set()


@pytest.mark.parametrize("answer", [{"error": "x"}, {"error": []}])
async def test_who_has_asked_hears_that_the_answer_is_none(answer: dict[str, object]) -> None:
    process = Deaf()
    session = Session(process, "token", "spoilt")  # type: ignore[arg-type]
    asking = asyncio.ensure_future(session.ask("stat", patient=True))
    await asyncio.sleep(0)
    session._on_data(frames.pack(frames.CONTROL, 0, json.dumps({"id": 1, **answer}).encode()))
    async with asyncio.timeout(5):
        with pytest.raises(ConnectError, match="is no frame"):
            await asking
        await process.killed.wait()


@pytest.mark.parametrize("bad", [b"{}", b"[]", b'{"status": 1e999}', b'{"status": null}', b'{"no_directory": 1e999}'])
async def test_what_is_no_result_loses_a_process_of_its_own(bad: bytes) -> None:
    far = Deaf()
    session = Session(far, "token", "spoilt")  # type: ignore[arg-type]
    process = ServerProcess(session, "spoilt", Command(["x"]))
    session.attach(process.number, process)
    session._on_data(frames.pack_numbered(frames.RESULT, process.number, 0, bad))
    async with asyncio.timeout(5):
        with pytest.raises(ShellLost, match="is no frame"):
            await process.wait()
        await far.killed.wait()


@pytest.mark.parametrize("bad", [b"[]", b"{}", b'"x"'])
async def test_who_attaches_hears_that_the_answer_is_none(bad: bytes) -> None:
    async def reopen(_line: bytes) -> Process:
        raise AssertionError("there is nothing to be had again")

    session = DetachableSession(Deaf(), "token", "spoilt", reopen=reopen, detach=Detach())  # type: ignore[arg-type]
    attaching = asyncio.ensure_future(session._resume(b""))
    await asyncio.sleep(0)
    session._on_data(frames.pack(frames.ATTACH, 0, bad))
    async with asyncio.timeout(5):
        with pytest.raises(ConnectError, match="is no frame"):
            await attaching
