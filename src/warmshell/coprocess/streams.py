"""Where an invocation reads and writes: captured in memory, or descriptors that somebody else handed over."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import stat
import termios
from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

from warmshell.command import Command, Output
from warmshell.fdstream import FdReceiveStream, FdSendStream
from warmshell.shell.capture import Capture
from warmshell.shell.one_off import feed

_PIECE = 64 * 1024
_ATOMIC = 4096  # what a pipe that is ready takes without waiting (PIPE_BUF)


class Streams(Protocol):
    """The three streams of one invocation."""

    @property
    def source(self) -> object:
        """What its standard input is fed with: bytes, a stream of bytes, a path, or ``None`` for nothing."""

    @property
    def merged(self) -> bool:
        """Whether standard output and standard error are one, so that their order must be kept."""

    def direct(self, fd: int) -> int | None:
        """A descriptor of this process that the tool may open by its ``/proc`` name instead of a pipe of ours."""

    async def write(self, fd: int, data: bytes) -> None:
        """Take what the tool wrote to descriptor 1 or 2.

        Raises:
            OSError: it cannot be written.
        """

    def unread(self, count: int) -> None:
        """So many bytes that were taken from the source have not been read by the tool."""


class Captured:
    """Output kept for a result."""

    merged = False

    def __init__(self, command: Command) -> None:
        self.source: object = command.stdin
        self._captures = Capture(command.output_limit), Capture(command.output_limit)

    def direct(self, fd: int) -> int | None:  # noqa: ARG002 - see Streams
        """Nothing: every byte comes through a pipe of ours."""
        return None

    async def write(self, fd: int, data: bytes) -> None:
        """Keep it."""
        self._captures[fd - 1].feed(data)

    def unread(self, count: int) -> None:
        """The rest of an input belongs to nobody else."""

    def values(self) -> tuple[bytes | Output, bytes | Output]:
        """What was written to standard output and standard error."""
        return self._captures[0].value(), self._captures[1].value()


class Passed:
    """Descriptors that a client handed over: they are its own, so that no mode of theirs may be changed here.

    Args:
        fds: its three streams; closed by whoever received them.
    """

    def __init__(self, fds: tuple[int, int, int]) -> None:
        self._fds = fds
        self._direct = [_nameless(fd) for fd in fds]
        self._files = [stat.S_ISREG(os.fstat(fd).st_mode) for fd in fds]
        self.merged = _same(fds[1], fds[2])

    @property
    def source(self) -> object:
        """What the client's standard input has."""
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Read with the client's own place in a file, which :meth:`unread` puts back."""
        fd = self._fds[0]
        while True:
            await self._ready(fd, self._files[0], write=False)
            with contextlib.suppress(BlockingIOError):  # the client made it so
                data = os.read(fd, _PIECE)
                if not data:
                    return
                yield data

    def direct(self, fd: int) -> int | None:
        """Pipes without a name and ``/dev/null`` may be opened anew: nothing waits, and there is no place in them."""
        return self._fds[fd] if self._direct[fd] else None

    async def write(self, fd: int, data: bytes) -> None:
        """Write it all; a reader that is slow makes the tool wait."""
        view = memoryview(data)
        while view:
            await self._ready(self._fds[fd], self._files[fd], write=True)
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(self._fds[fd], view if self._files[fd] else view[:_ATOMIC]) :]

    async def _ready(self, fd: int, at_once: bool, *, write: bool) -> None:
        if at_once:
            return
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            (loop.add_writer if write else loop.add_reader)(fd, ready.set)
        except PermissionError:  # a device that never waits
            return
        try:
            await ready.wait()
        finally:
            (loop.remove_writer if write else loop.remove_reader)(fd)

    def unread(self, count: int) -> None:
        """Put a file's place back before what the tool did not read."""
        if self._files[0] and count:
            with contextlib.suppress(OSError):
                os.lseek(self._fds[0], -count, os.SEEK_CUR)


def _nameless(fd: int) -> bool:
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
    return name.startswith("pipe:[") or name == os.devnull


def _same(first: int, second: int) -> bool:
    one, other = os.fstat(first), os.fstat(second)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


class Log:
    """Where a tool's words between requests go: the last of them are kept."""

    source = None
    merged = False

    def __init__(self, size: int = _PIECE) -> None:
        self._size = size
        self._kept = b""

    def direct(self, fd: int) -> int | None:  # noqa: ARG002 - see Streams
        """Nothing."""
        return None

    async def write(self, fd: int, data: bytes) -> None:  # noqa: ARG002
        """Keep the end of it."""
        self._kept = (self._kept + data)[-self._size :]

    def unread(self, count: int) -> None:
        """Nothing is fed from here."""

    def __bytes__(self) -> bytes:
        return self._kept


class Outlet:
    """Carries what arrives in a pipe to the streams of the present invocation, until the pipe ends.

    Args:
        fd: the reading end; it is owned and closed here.
        which: 1 or 2.
        streams: where it goes.

    Attributes:
        streams: where it goes from now on.
        error: why it could not go there; the pipe was closed then, so that the tool meets what its reader's end is.
    """

    def __init__(self, fd: int, which: int, streams: Streams) -> None:
        self.streams = streams
        self.error: OSError | None = None
        self._stream = FdReceiveStream(fd)
        self._fd = fd
        self._which = which
        self._carried = self._in_hand = 0
        self._progress = asyncio.Event()
        self._task = asyncio.ensure_future(self._carry())

    async def _carry(self) -> None:
        try:
            async for data in self._stream:
                self._in_hand = len(data)
                await self.streams.write(self._which, data)
                self._carried += len(data)
                self._in_hand = 0
                self._progress.set()
        except OSError as error:  # its reader has gone, or the disk is full
            self.error = error
            self._close()
        finally:
            self._progress.set()

    async def settle(self) -> None:
        """Return when everything that was written until now has been carried.

        Raises:
            OSError: it could not be, for another reason than that its reader has gone.
        """
        if self._fd >= 0 and not self._task.done():
            await self._until_carried()
        if self.error is not None and not isinstance(self.error, BrokenPipeError | ConnectionResetError):
            raise self.error

    async def _until_carried(self) -> None:
        aim = self._carried + self._in_hand + _waiting(self._fd)
        while self._carried < aim and not self._task.done():
            self._progress.clear()
            await self._progress.wait()

    async def ends(self, seconds: float) -> bool:
        """Whether the pipe comes to its end within some seconds: nobody holds its other side any more."""
        await asyncio.wait({self._task}, timeout=seconds)
        return self._task.done()

    async def finish(self) -> None:
        """Carry what was written until now, and nothing that comes later; close the pipe."""
        try:
            await self.settle()
        finally:
            self.abort()

    def _close(self) -> None:
        if self._fd >= 0:
            self._fd = -1
            self._stream.close()

    def abort(self) -> None:
        """Close at once."""
        self._task.cancel()
        self._close()


def _waiting(fd: int) -> int:
    """Bytes in a pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


class Inlet:
    """Feeds a pipe from the source of an invocation.

    Args:
        fd: the writing end; it is owned and closed here.
        reader: a reading end of ours, which tells what was not read; owned and closed here.
        streams: where the bytes come from.
    """

    def __init__(self, fd: int, reader: int, streams: Streams) -> None:
        self._writer = FdSendStream(fd)
        self._reader = reader
        self._streams = streams
        self._taken = self._sent = 0
        self._task = asyncio.ensure_future(self._feed())

    async def _feed(self) -> None:
        source = self._streams.source
        if isinstance(self._streams, Passed):
            source = self._counted(self._streams)
        await feed(self._writer, source)

    async def _counted(self, streams: Passed) -> AsyncIterator[bytes]:
        """Pieces that go into a pipe whole or not at all, counted, for a file's place."""
        source = streams.source
        assert isinstance(source, AsyncIterable)  # noqa: S101 - for the type checker
        async for data in source:
            self._taken += len(data)
            for at in range(0, len(data), _ATOMIC):
                piece = data[at : at + _ATOMIC]
                yield piece
                self._sent += len(piece)

    async def finish(self) -> None:
        """The tool needs no more: stop, and put back what it left.

        Raises:
            InputError: the source could not be read.
        """
        self._task.cancel()
        error = (await asyncio.gather(self._task, return_exceptions=True))[0]
        self._streams.unread(self._taken - self._sent + _waiting(self._reader))
        self.abort()
        if isinstance(error, Exception):
            raise error

    def abort(self) -> None:
        """Close at once."""
        self._task.cancel()
        self._writer.close()
        reader, self._reader = self._reader, -1
        if reader >= 0:
            os.close(reader)
