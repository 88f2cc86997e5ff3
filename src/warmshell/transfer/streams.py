"""One stream of a command, read or written in pieces: the command's status is never lost.

Nothing is read ahead and nothing is kept but what the kernel's pipes hold, so that who reads or writes sets the pace.
Messages (standard error) are always read, however many, and their end is kept for errors.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from warmshell.command import Command, Result, Words
from warmshell.errors import BusyError, ClosedError, CommandError, IncompleteStream

if TYPE_CHECKING:
    from warmshell.location import Location
    from warmshell.process import ByteReceiveStream, Process

BUFFER_SIZE = 256 * 1024
"""Bytes handed over at once unless a caller says otherwise; StreamFlow's ``transferBufferSize``."""

_END_SECONDS = 1.0  # for a stream of which all was read but its end
_TAIL = 16 * 1024


class Tail:
    """The last bytes of a stream, read for as long as it goes on.

    Args:
        stream: is read from now on.
        most: how many bytes are kept.
    """

    def __init__(self, stream: ByteReceiveStream, most: int = _TAIL) -> None:
        self._kept = b""
        self._most = most
        self._task = asyncio.ensure_future(self._read(stream))

    async def _read(self, stream: ByteReceiveStream) -> None:
        with contextlib.suppress(OSError, ClosedError):
            async for data in stream:
                self._kept = (self._kept + data)[-self._most :]

    async def ended(self) -> bytes:
        """What was kept, once the stream has ended; soon after its command, though what that left may hold it open."""
        await asyncio.wait([self._task], timeout=_END_SECONDS)
        return self._kept

    @property
    def so_far(self) -> bytes:
        """What is kept by now."""
        return self._kept

    async def aclose(self) -> None:
        """Read no more."""
        self._task.cancel()
        await asyncio.wait([self._task])


class _Stream:
    """What readers and writers share: a process, its messages, and how it ends."""

    def __init__(
        self, location: Location, command: Words | str | Command, *, buffer_size: int = BUFFER_SIZE, **options: Any
    ) -> None:
        if not isinstance(buffer_size, int) or isinstance(buffer_size, bool) or buffer_size < 1:
            raise CommandError(f"a buffer's size is a whole number of at least 1, not {buffer_size!r}")
        self._location = location
        self._what = command
        self._options = options
        self._size = buffer_size
        self._stack: AsyncExitStack | None = None
        self._process: Process | None = None
        self._messages: Tail | None = None
        self._closed = False
        self.returncode: int | None = None

    async def __aenter__(self) -> Self:
        if self._stack is not None or self._closed:
            raise BusyError("a stream is opened once")
        async with AsyncExitStack() as stack:
            self._process = await stack.enter_async_context(self._location.open(self._what, bulk=True, **self._options))
            self._messages = Tail(self._process.stderr)
            stack.push_async_callback(self._messages.aclose)
            await self._prepare(self._process, stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        elif self._stack is not None:  # what went wrong is told already: the command is only ended
            self._closed = True
            await self._stack.aclose()

    async def _prepare(self, process: Process, stack: AsyncExitStack, /) -> None:
        raise NotImplementedError

    async def _finish(self, process: Process) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """End it, and say what was wrong with it; as leaving the context does.

        Raises:
            CommandFailed: the command failed; its last messages are part of the error.
            IncompleteStream: not everything was read.
            ShellLost: the connection was lost.
        """
        if self._closed:
            return
        process, stack = self._running(), self._stack
        self._closed = True
        try:
            await self._finish(process)
        finally:
            if stack is not None:
                await stack.aclose()

    def _running(self) -> Process:
        if self._process is None or self._closed:
            raise ClosedError("the stream is closed" if self._closed else "the stream is not open: use 'async with'")
        return self._process

    async def _status(self, process: Process, printed: Tail | None = None) -> None:
        """Wait for the end of the command.

        Raises:
            CommandFailed: it failed.
        """
        self.returncode = await process.wait()
        said = b"" if self._messages is None else await self._messages.ended()
        if not said and printed is not None:
            said = await printed.ended()
        self._result(said).check()

    def _result(self, said: bytes) -> Result:
        what = self._what if isinstance(self._what, Command) else Command(self._what)
        return Result(self.returncode or 0, stderr=said, location=self._location.name, command=what)

    def _incomplete(self, text: str) -> IncompleteStream:
        said = b"" if self._messages is None else self._messages.so_far
        words = said[-500:].decode("utf-8", "replace").strip()
        text += f"; it said: {words}" if words else ""
        return IncompleteStream(text, command=self._result(b"").command, location=self._location.name)


class StreamReader(_Stream):
    """The standard output of a command, as an asynchronous context manager.

    Args:
        location: where it runs.
        command: as for :meth:`warmshell.Location.run`.
        buffer_size: the most bytes that are handed over at once.
        **options: those of :meth:`warmshell.Location.open`.

    Attributes:
        returncode: the status, once the stream has been closed.
    """

    _at_end = False

    async def _prepare(self, process: Process, _stack: AsyncExitStack, /) -> None:
        await process.stdin.aclose()

    async def read(self, size: int = -1) -> bytes:
        """The next bytes: at least one and at most ``size``, all up to the end for -1; ``b""`` at the end.

        Raises:
            BusyError: another task is reading.
            ClosedError: the stream is closed.
        """
        process = self._running()
        if size < 0:
            return b"".join([data async for data in self])
        if size == 0:
            return b""
        data = await process.stdout.receive(min(size, self._size))
        self._at_end = not data
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read(self._size):
            yield data

    async def _finish(self, process: Process) -> None:
        if not self._at_end and not await self._is_at_end(process):
            raise self._incomplete("the stream was left before its end, and its command was ended")
        await self._status(process)

    async def _is_at_end(self, process: Process) -> bool:
        """Whether nothing but the end is left: who reads an archive stops at its last block."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                return not await process.stdout.receive(1)
        except TimeoutError:
            return False


class StreamWriter(_Stream):
    """The standard input of a command, as an asynchronous context manager.

    What the command prints is read and thrown away; its end is shown if the command fails.

    Args:
        location: where it runs.
        command: as for :meth:`warmshell.Location.run`.
        buffer_size: the most bytes that are handed over at once.
        **options: those of :meth:`warmshell.Location.open`.

    Attributes:
        returncode: the status, once the stream has been closed.
    """

    _printed: Tail

    async def _prepare(self, process: Process, stack: AsyncExitStack, /) -> None:
        self._printed = Tail(process.stdout)
        stack.push_async_callback(self._printed.aclose)

    async def write(self, data: bytes) -> None:
        """Hand over all of the bytes; waits while the command is slower.

        Raises:
            CommandFailed: the command has failed.
            IncompleteStream: it has ended, or closed its input, without reading everything.
            BusyError: another task is writing.
            ClosedError: the stream is closed.
        """
        process = self._running()
        try:
            for start in range(0, len(data), self._size):
                await process.stdin.send(data if len(data) <= self._size else data[start : start + self._size])
        except (BrokenPipeError, ConnectionResetError):
            await self._broken(process)

    async def _broken(self, process: Process) -> None:
        with contextlib.suppress(TimeoutError):  # it may have closed its input and go on
            async with asyncio.timeout(_END_SECONDS):
                await self._status(process, self._printed)
        raise self._incomplete("the command takes no more input, and not all of it was read")

    async def _finish(self, process: Process) -> None:
        await process.stdin.aclose()
        await self._status(process, self._printed)


def get_stream_reader(
    command: Words | str | Command, location: Location, *, buffer_size: int = BUFFER_SIZE
) -> StreamReader:
    """A reader of what a command prints; the name is that of StreamFlow's connectors."""
    return StreamReader(location, command, buffer_size=buffer_size)


def get_stream_writer(
    command: Words | str | Command, location: Location, *, buffer_size: int = BUFFER_SIZE
) -> StreamWriter:
    """A writer of what a command reads; the name is that of StreamFlow's connectors."""
    return StreamWriter(location, command, buffer_size=buffer_size)
