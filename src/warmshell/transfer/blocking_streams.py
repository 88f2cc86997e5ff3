"""Readers and writers for callers that block."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from warmshell.portal import Portal
from warmshell.transfer.streams import StreamReader, StreamWriter

S = TypeVar("S", StreamReader, StreamWriter)


class _Blocking(Generic[S]):
    """One stream, whose work is done on the loop's thread.

    Args:
        portal: the way to the loop.
        stream: the asynchronous twin.
    """

    def __init__(self, portal: Portal, stream: S) -> None:
        self._portal = portal
        self._stream: S = stream

    @property
    def returncode(self) -> int | None:
        """The status, once the stream has been closed."""
        status: int | None = self._stream.returncode
        return status

    def __enter__(self) -> Self:
        self._portal.call(self._stream.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.call(self._stream.__aexit__, kind, error, trace)

    def close(self) -> None:
        """End it, and say what was wrong with it; see :meth:`warmshell.transfer.streams.StreamReader.close`."""
        self._portal.call(self._stream.close)


class Reader(_Blocking[StreamReader]):
    """The standard output of a command; see :class:`warmshell.transfer.streams.StreamReader`."""

    def read(self, size: int = -1) -> bytes:
        """The next bytes; all up to the end for -1, ``b""`` at the end."""
        return self._portal.call(self._stream.read, size)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(64 * 1024):
            yield data


class Writer(_Blocking[StreamWriter]):
    """The standard input of a command; see :class:`warmshell.transfer.streams.StreamWriter`."""

    def write(self, data: bytes) -> None:
        """Hand over all of the bytes; waits while the command is slower."""
        self._portal.call(self._stream.write, data)
