"""Where a command's standard input comes from at the far end: nothing, bytes that came along, or frames."""

from __future__ import annotations

import os

from warmshell.protocol.frames import INITIAL_CREDIT
from warmshell.protocol.pipes import proc_fd
from warmshell.server.system import memory_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmshell.server.loop import Loop

NOTHING = b"</dev/null"
_TYPED_END = b"\x04"
_MOST_WINDOW = 1024 * 1024


class Stdin:
    """The standard input of one command.

    Args:
        loop: the event loop.
        kind: ``none``, ``bytes`` or ``stream``.
        data: the bytes.
        grant: told how many bytes more the client may send.

    Attributes:
        streams: whether it flows, so that one must know when the shell has opened it.
    """

    def __init__(self, loop: Loop | None, kind: str, data: bytes, grant: Callable[[int], None]) -> None:
        self._loop: Any = loop
        self._data = data
        self._grant = grant
        self._fd = self._reader = -1
        self._buffer = bytearray(data if kind == "stream" else b"")
        self._line = True  # whether what was typed last ends a line
        self._window = INITIAL_CREDIT
        self._granted = INITIAL_CREDIT + len(self._buffer)  # and not used up yet
        self._taken = 0
        self._ended = self._flows = self._writing = self._types = False
        self._refused: Callable[[], None] | None = None
        self.streams = kind == "stream"

    def open(self) -> bytes:
        """Make what the shell opens; returns the redirection.

        Raises:
            OSError: no descriptors, or no room.
        """
        if self.streams:
            self._reader, self._fd = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._fd, False)
            return b"<" + proc_fd(os.getpid(), self._fd)
        if not self._data:
            return NOTHING
        self._fd = memory_file("stdin")  # opened by the shell anew: no writer waits for a slow reader
        view = memoryview(self._data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._data = b""
        return b"<" + proc_fd(os.getpid(), self._fd)

    def take(self, fd: int, refused: Callable[[], None], types: bool) -> None:
        """Let it flow into a descriptor that somebody reads already, instead of :meth:`open`.

        Args:
            fd: the descriptor, closed at the end.
            refused: told when nobody reads it any more.
            types: whether it is a terminal, whose end of input is said with a character.
        """
        os.set_blocking(fd, False)
        self._fd, self._refused, self._types = fd, refused, types
        self._flows = True
        self._flush()

    def opened(self) -> None:
        """The shell has opened it: let it flow."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
            self._flows = True
            self._flush()

    def feed(self, data: bytes) -> None:
        """Bytes from the client.

        Raises:
            ValueError: more than it was granted, or after the end.
        """
        if self._ended or not self.streams or len(data) > self._granted - len(self._buffer):
            raise ValueError("standard input that was not asked for")
        self._buffer += data
        self._line = data.endswith(b"\n") if data else self._line
        if self._flows and not self._writing:
            self._flush()

    def end(self) -> None:
        """The client has sent all of it."""
        if self._types and not self._ended:  # behind a line that is not complete, the first one only hands that over
            self._buffer += _TYPED_END if self._line else 2 * _TYPED_END
        self._ended = True
        if self._flows and not self._writing:
            self._flush()

    def _flush(self) -> None:
        size = 0
        try:
            size = os.write(self._fd, self._buffer) if self._buffer else 0
        except BlockingIOError:
            pass
        except OSError:  # the command reads no more, which is its right
            self._stop()
            if self._refused is not None:
                self._refused()
            return
        del self._buffer[:size]
        self._took(size)
        if self._buffer and not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._flush)
        elif not self._buffer:
            self._pause()
            if self._ended:
                self._stop()

    def _took(self, size: int) -> None:
        """Let the client send as much again; twice as much if the command had to wait for it."""
        self._granted -= size
        self._taken += size
        if self._taken < self._window // 2 or self._ended:
            return
        more, self._taken = self._taken, 0
        if not self._buffer and self._window < _MOST_WINDOW:
            more += self._window
            self._window *= 2
        self._granted += more
        self._grant(more)

    def _pause(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    def _stop(self) -> None:
        self._pause()
        self._buffer.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._flows = False

    def close(self) -> None:
        """The command has ended: give back what is held."""
        self._stop()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


def _nobody(_size: int) -> None:
    """Nobody sends any."""


NO_STDIN = Stdin(None, "none", b"", _nobody)
"""That of all commands without any."""
