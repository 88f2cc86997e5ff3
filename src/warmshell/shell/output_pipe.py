"""The pipe that one command after another writes its output to."""

from __future__ import annotations

import contextlib
import os

from warmshell.protocol import pipes

_READ = 64 * 1024
_CAPACITY = 64 * 1024  # what a pipe holds: all that a command can have left in it when its status is known
_BURST = 1024 * 1024  # read from one pipe before other lanes get their turn


class OutputPipe:
    """The reading end of a pipe that one command after another writes to, as long as nobody else holds it."""

    __slots__ = ("fd", "path")

    def __init__(self) -> None:
        self.fd, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.close(writer)
        self.path = pipes.proc_fd(os.getpid(), self.fd)

    def drain(self) -> tuple[bytes, bool]:
        """What is in the pipe after the command has ended, and whether anybody can still write to it."""
        data = b""
        try:
            while piece := os.read(self.fd, _READ):
                data = data + piece if data else piece
                if len(data) > _CAPACITY:  # more than the command can have left: a background child goes on writing
                    return data, True
        except BlockingIOError:
            return data, True
        return data, False

    def some(self) -> tuple[list[bytes], bool]:
        """What is in the pipe while the command runs, and whether there may be more."""
        pieces: list[bytes] = []
        size = 0
        with contextlib.suppress(BlockingIOError):
            while size < _BURST:
                data = os.read(self.fd, _READ)
                if not data:
                    return pieces, False
                pieces.append(data)
                size += len(data)
            return pieces, True
        return pieces, False
