"""The pipe that one command after another writes its output to."""

from __future__ import annotations

import os

from warmshell.protocol import pipes

LITTLE = 960
"""Bytes that nearly everything is shorter than: what asks for more room has the C library look for it."""
_READ = 64 * 1024
_CAPACITY = 64 * 1024  # what a pipe holds: all that a command can have left in it when its status is known


class OutputPipe:
    """The reading end of a pipe that one command after another writes to, as long as nobody else holds it.

    Attributes:
        fd: the reading end.
        path: the name under which the shell opens it for writing.
    """

    __slots__ = ("fd", "path")

    def __init__(self) -> None:
        self.fd, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.close(writer)
        self.path = pipes.proc_fd(os.getpid(), self.fd)

    def drain(self, *, alone: bool = False) -> tuple[bytes, bool]:
        """What is in the pipe after the command has ended, and whether anybody can still write to it.

        Args:
            alone: whether the command cannot have started anybody who does.
        """
        data, most = b"", LITTLE
        try:
            while True:
                piece = os.read(self.fd, most)
                if not piece:
                    return data, False
                data = data + piece if data else piece
                if alone and len(piece) < most:  # the pipe is empty now, which need not be seen once more
                    return data, False
                if len(data) > _CAPACITY:  # more than the command can have left: a background child goes on writing
                    return data, True
                most = _READ
        except BlockingIOError:
            return data, True

    def some(self, most: int) -> tuple[list[bytes], bool]:
        """Up to ``most`` bytes of what a running command wrote, and whether there may be more."""
        pieces: list[bytes] = []
        size = 0
        try:
            while size < most:
                data = os.read(self.fd, min(_READ, most - size))
                if not data:
                    return pieces, False
                pieces.append(data)
                size += len(data)
        except BlockingIOError:
            return pieces, False
        return pieces, True

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
