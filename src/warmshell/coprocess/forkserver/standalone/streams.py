"""The standard streams of a call: the same objects that modules may have kept, made new for the caller's files."""

from __future__ import annotations

import fcntl
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = ("stdin", "stdout", "stderr")


class Unusual(Exception):
    """The tool put something else in the place of its standard streams while it was imported."""


class Streams:
    """The three streams as they are once the tool is imported.

    Raises:
        Unusual: they are not the interpreter's own.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Any, str, str, bool]] = []
        for name in _NAMES:
            stream: Any = getattr(sys, name)
            if stream is None or stream is not getattr(sys, f"__{name}__"):
                raise Unusual(name)
            try:
                raw = stream.buffer if isinstance(stream.buffer, io.FileIO) else stream.buffer.raw
            except ValueError:  # detached
                raise Unusual(name) from None
            unbuffered = raw is stream.buffer
            self._kept.append((stream, stream.encoding, stream.errors, unbuffered))
        stderr: Any = sys.stderr
        self._stderr_by_line: bool = stderr.line_buffering

    def prepare(self, kinds: int) -> None:
        """Make them, once for many calls, what :meth:`renew` would make of others' descriptors.

        Args:
            kinds: a bit for each descriptor that can be sought in, like that of ``/dev/null``; the others are pipes.
        """
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        source, sink = os.pipe2(os.O_CLOEXEC)
        kept = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in range(3)]
        for fd in range(3):
            os.dup2(null if kinds >> fd & 1 else sink if fd else source, fd)
        try:
            self.renew()
        finally:
            for fd, other in enumerate(kept):
                os.dup2(other, fd)
            for fd in (null, source, sink, *kept):
                os.close(fd)

    def renew(self) -> None:
        """Make them what the interpreter would have made of the descriptors 0, 1 and 2."""
        for fd, (stream, encoding, errors, unbuffered) in enumerate(self._kept):
            mode = "wb" if fd else "rb"
            raw = io.FileIO(fd, mode, closefd=False)  # its predecessor remembers what it was not asked again
            raw.name = f"<{_NAMES[fd]}>"
            buffer: Any = raw
            if not unbuffered:
                buffer = stream.buffer
                size = raw._blksize  # type: ignore[attr-defined]
                buffer.__init__(raw, size if size > 1 else io.DEFAULT_BUFFER_SIZE)
            by_line = not unbuffered and (os.isatty(fd) or (fd == 2 and self._stderr_by_line))
            stream.__init__(buffer, encoding, errors, "\n", by_line, unbuffered and fd > 0)
            stream.mode = mode[0]
