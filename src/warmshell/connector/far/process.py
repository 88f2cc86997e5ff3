"""Processes at the far end of a channel: one whose bytes are the caller's to make sense of, and a program."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Protocol

from warmshell.connector.far.framing import ChannelCutter, ChannelStream, hello_of
from warmshell.connector.far.in_turn import InTurn
from warmshell.connector.local import typed_end, workdir_error
from warmshell.errors import ClosedError, NotSupported, ShellLost
from warmshell.process import ByteReceiveStream, ByteSendStream, Process
from warmshell.shell.diagnose import program_not_found

if TYPE_CHECKING:
    from warmshell.command import Command
    from warmshell.connector.far.channel import Channel

_KILLED = 128 + 9
_KILL_PAUSES = (0.2, 0.5, 1.0, 1.0)  # seconds for the client of a program that was ended to end too


class Ends(Protocol):
    """What can end what was started at a place.

    Attributes:
        name: the name of its location.
    """

    name: str

    async def end_on(self, channel: Channel, tag: str, grace: float) -> bool:
        """End everything on a channel that carries a tag; whether that could be asked for."""


class ChannelShell(Process):
    """A far shell whose bytes are the caller's to make sense of.

    Args:
        channel: its channel.
        place: what can end it.
        tag: what marks it.
        control: whether it is what ends others, and itself needs only its standard input closed.
    """

    def __init__(self, channel: Channel, place: Ends, tag: str, *, control: bool = False) -> None:
        self._channel = channel
        self._place = place
        self._tag = tag
        self._control = control
        self._ended = False
        self.stdin: ByteSendStream = channel.process.stdin
        self.stdout: ByteReceiveStream = channel.process.stdout
        self.stderr: ByteReceiveStream = channel.process.stderr

    async def say(self, line: bytes) -> None:
        """Hand over what it is to do."""
        with contextlib.suppress(BrokenPipeError):  # the end of its output says so
            await self.stdin.send(line)

    async def wait(self) -> int:
        status = await self._channel.process.wait()
        self._ended = True
        self._channel.released()
        return status

    async def kill(self, grace: float = 1.0) -> None:
        if not self._control:
            await self._place.end_on(self._channel, self._tag, grace)
        await self._channel.process.kill(0.0)
        await self.wait()

    async def aclose(self) -> None:
        try:
            if not self._ended:
                await self.kill()
        finally:
            await self._channel.aclose()


class Keyboard(InTurn):
    """What a terminal at the far end reads; the end of it is typed.

    Args:
        near: takes it there.
    """

    def __init__(self, near: ByteSendStream) -> None:
        super().__init__()
        self._near = near
        self._line = True

    async def _give(self, data: bytes) -> None:
        await self._near.send(data)
        self._line = data.endswith(b"\n") if data else self._line

    async def _end(self) -> None:
        with contextlib.suppress(OSError, ClosedError):
            await self._near.send(typed_end(complete=self._line))


class ChannelProcess(Process):
    """A program at the far end, on a channel of its own.

    Args:
        channel: a far shell that waits for its line.
        place: what can end what it starts.
        tag: what marks the program.
        marker: what reports begin with.
        command: what is run, for errors.
        terminal: whether the channel is a terminal, which has one stream.
    """

    def __init__(
        self, channel: Channel, place: Ends, tag: str, marker: bytes, command: Command, *, terminal: bool = False
    ) -> None:
        self.tag = tag
        self._terminal = terminal
        self._channel = channel
        self._place = place
        self._command = command
        loop = asyncio.get_running_loop()
        self._began: asyncio.Future[bytes] = loop.create_future()
        self._status: asyncio.Future[int] = loop.create_future()
        self._killed = self._closed = False
        near = channel.process
        self.stdin: ByteSendStream = Keyboard(near.stdin) if terminal else near.stdin
        self.stdout: ChannelStream = ChannelStream(near.stdout, ChannelCutter(b"", marker), self._on_report)
        hello = hello_of(channel.token)
        self.stderr: ChannelStream = ChannelStream(near.stderr, ChannelCutter(hello, marker), self._on_report)

    async def say(self, lines: bytes) -> None:
        """Hand over what is to be run."""
        with contextlib.suppress(BrokenPipeError):  # the end of the streams says so
            await self._channel.process.stdin.send(lines)

    async def begin(self, lines: bytes) -> None:
        """Hand over what is to be run, and return when it starts.

        Raises:
            ProgramNotFound: there is no such program.
            WorkdirError: its directory cannot be entered.
            ShellLost: the connection was lost.
        """
        await self.say(lines)
        report = await asyncio.shield(self._began)
        if report == b"n":
            raise program_not_found(self._command, self._place.name)
        if report == b"t":
            raise NotSupported("there is no stty", command=str(self._command), location=self._place.name)
        if report.startswith(b"c "):
            error = OSError(int(report[2:]), os.strerror(int(report[2:])))
            kind = {2: FileNotFoundError, 20: NotADirectoryError}.get(int(report[2:]), OSError)
            error = kind(error.errno, error.strerror)
            raise workdir_error(self._command.cwd or b"", error, str(self._command), self._place.name)

    def _on_report(self) -> None:
        out, err = self.stdout, self.stderr
        reports = out.cutter.reports
        if reports and not self._began.done():
            self._began.set_result(reports[0])
        both = self._terminal or len(err.cutter.reports) > 1 or err.ended
        if len(reports) > 1 and both and not self._status.done():
            self._status.set_result(int(reports[1]))
        elif out.ended and err.ended and not self._status.done():
            self._lose(bool(reports))

    def _lose(self, began: bool) -> None:
        if self._killed:
            self._status.set_result(_KILLED)
            return
        lost = ShellLost(
            "the connection was lost while the command ran", started="yes" if began else "unknown",
            command=str(self._command), location=self._place.name,
        )  # fmt: skip
        for waiter in (self._began, self._status):
            if not waiter.done():
                waiter.set_exception(lost)
                waiter.exception()  # that nobody waits for it is no mistake

    async def wait(self) -> int:
        return await asyncio.shield(self._status)

    async def kill(self, grace: float = 1.0) -> None:
        self._killed = True
        near = self._channel.process
        for pause in _KILL_PAUSES:
            if not await self._place.end_on(self._channel, self.tag, grace):
                break
            # With what it wrote last on its way, the client ends by itself; if it does not, then what is to be ended
            # was about to start, and carried no tag yet.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await near.wait()
                    break
        await near.kill(0.0)
        if not self._status.done():
            self._status.set_result(_KILLED)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        for stream in (self.stdout, self.stderr):
            stream.discard()
        try:
            if not self._status.done():
                await self.kill()
        finally:
            for stream in (self.stdout, self.stderr):
                await stream.aclose()
            await self._channel.process.stdin.aclose()
            await self._channel.aclose()
