"""A shell over any three streams: moments that no real stream can be told to choose."""

from __future__ import annotations

import asyncio
import re

import pytest

import warmshell
from warmshell.command import Command
from warmshell.connector.far.received import Received
from warmshell.process import ByteSendStream, Process
from warmshell.protocol.dialect import dialect
from warmshell.protocol.request import stateful_body
from warmshell.shell import capture
from warmshell.shell.marker_lane import MarkerLane


class Requests(ByteSendStream):
    """What the shell is to read; from the second request on it takes a line at once."""

    def __init__(self) -> None:
        self.all: list[bytes] = []

    async def send(self, data: bytes) -> None:
        raise ConnectionResetError

    def send_some(self, data: bytes) -> int:
        part = data[: data.index(b"\n") + 1] if self.all else data
        self.all.append(part)
        return len(part)

    async def aclose(self) -> None:
        pass


class Streams(Process):
    """A shell whose answers are the test's."""

    def __init__(self) -> None:
        self.stdin: Requests = Requests()
        self.stdout: Received = Received(lambda: None)
        self.stderr: Received = Received(lambda: None)
        self.ended = asyncio.Event()

    def answer(self, out: bytes, err: bytes) -> None:
        """Both streams come to the end of the command in one turn of the loop."""
        found = re.search(rb"echo ([0-9a-f]{16})''([0-9a-f]{16}) (\d+) s", self.stdin.all[-1])
        assert found is not None
        marker = found[1] + found[2] + b" " + found[3]
        self.stderr.feed(marker + b" s e\n" + err + marker + b" 0 e\n")
        self.stdout.feed(marker + b" s\n" + out + marker + b" 0\n")

    async def wait(self) -> int:
        await self.ended.wait()
        raise ConnectionResetError

    async def kill(self, grace: float = 1.0) -> None:
        self.ended.set()
        self.stdout.end()
        self.stderr.end()

    async def aclose(self) -> None:
        await self.kill()


async def started(kind: str) -> tuple[MarkerLane, Streams]:
    streams = Streams()

    async def opened() -> Process:
        return streams

    lane = MarkerLane("x", dialect(kind), "here", b"token", b"/", opened)
    starting = asyncio.ensure_future(lane.start())
    while not streams.stdin.all:
        await asyncio.sleep(0)
    streams.answer(b"", b"")
    await starting
    return lane, streams


async def test_what_could_not_be_kept_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object = None) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(capture, "SpillFile", full)
    lane, streams = await started("dash")
    command = Command("cmd", output_limit=1000)
    execution = lane.begin(command, lane.body(command))
    streams.answer(b"out\n", b"E" * 5000 + b"\n")
    with pytest.raises(warmshell.OutputError, match="No space left"):
        await execution.done
    await lane.aclose()


async def test_it_takes_no_command_once_a_stream_has_ended() -> None:
    lane, streams = await started("dash")
    streams.stdout.end()
    assert not lane.alive
    await lane.aclose()


async def test_the_first_of_several_lines_may_have_been_carried_out() -> None:
    """Of a command that changes bash's state: a shell that has the first line has all that it needs."""
    lane, streams = await started("bash")
    execution = lane.begin(Command("touch it"), stateful_body(b"touch it", lane.dialect), keeps_state=True)
    assert b"touch it" in streams.stdin.all[-1]
    assert streams.stdin.all[-1].count(b"\n") == 1
    await asyncio.sleep(0)
    await streams.kill()
    with pytest.raises(warmshell.ShellLost) as lost:
        await execution.done
    assert lost.value.started == "unknown"
    await lane.aclose()
