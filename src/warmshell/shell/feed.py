"""Where a command's standard input comes from, when driver and shell share a machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, Callable

from warmshell.command import Command
from warmshell.errors import InputError
from warmshell.fdstream import FdSendStream
from warmshell.protocol.pipes import proc_fd
from warmshell.protocol.quoting import quote

NOTHING = b"</dev/null"


class Feed:
    """The standard input of one command: nothing, bytes, a file, or a stream that flows while the command runs.

    Attributes:
        redirection: how the shell opens it.
        streams: whether it flows, so that the driver must know when the shell has opened it.
    """

    __slots__ = ("_fd", "_reader", "_source", "_task", "_writer", "redirection", "streams")

    def __init__(self, command: Command) -> None:
        self._fd = self._reader = -1
        self._source: AsyncIterable[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._writer: FdSendStream | None = None
        self.streams = False
        try:
            self.redirection = self._open(command.stdin)
        except OSError as error:
            self.close()
            if isinstance(error, InputError):
                raise
            raise InputError(f"standard input cannot be prepared: {error.strerror}", errno=error.errno) from error

    def _open(self, stdin: object) -> bytes:
        if isinstance(stdin, bytes | bytearray | memoryview):
            return self._from_memory(bytes(stdin))
        if isinstance(stdin, AsyncIterable):
            self._source = stdin
            self.streams = True
            self._reader, self._fd = os.pipe2(os.O_CLOEXEC)
            return b"<" + proc_fd(os.getpid(), self._fd)
        if isinstance(stdin, os.PathLike):
            return _from_file(os.fsencode(stdin))
        return NOTHING

    def _from_memory(self, data: bytes) -> bytes:
        if not data:
            return NOTHING
        # A file in memory, opened by the shell anew: no writer has to wait for a slow reader.
        self._fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        return b"<" + proc_fd(os.getpid(), self._fd)

    def opened(self, failed: Callable[[BaseException], None]) -> None:
        """The shell has opened it: let it flow.

        Args:
            failed: told if the source raises.
        """
        if self._source is None or self._task is not None:
            return
        os.close(self._reader)
        writer = self._writer = FdSendStream(self._fd)
        self._fd = self._reader = -1
        self._task = asyncio.ensure_future(self._flow(writer, self._source, failed))

    async def _flow(
        self, writer: FdSendStream, source: AsyncIterable[bytes], failed: Callable[[BaseException], None]
    ) -> None:
        try:
            with contextlib.suppress(BrokenPipeError):  # the command reads no more, which is its right
                async for chunk in source:
                    await writer.send(chunk)
        except Exception as error:  # noqa: BLE001
            failed(error)  # and no end of the input: the command would take what it got for all of it
            return
        writer.close()

    def close(self) -> None:
        """The command has ended: give back what is held."""
        for fd in (self._fd, self._reader):
            if fd >= 0:
                os.close(fd)
        self._fd = self._reader = -1
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._writer is not None:  # a task that is cancelled before its first step closes nothing itself
            self._writer.close()
            self._writer = None


def check_readable(path: bytes) -> None:
    """Look whether a file can be read, before anything is run.

    Raises:
        InputError: it cannot.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        name = path.decode("utf-8", "replace")
        raise InputError(f"standard input cannot be read from {name!r}: {error.strerror}", errno=error.errno) from error


def _from_file(path: bytes) -> bytes:
    check_readable(path)
    return b"<" + quote(os.path.abspath(path))
