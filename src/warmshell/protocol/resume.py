"""What lets a stream of frames survive its connection: each side keeps what the other has not acknowledged.

Both sides count the frames that they have received, whole ones only. When a connection was cut, each says its count
over the next one, and the other sends again from there: every frame arrives exactly once and in order.
"""

from __future__ import annotations

import os

from warmshell.protocol.frames import ACKNOWLEDGE, COUNT, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Union

    Entry = Union[bytes, "Spilled"]  # noqa: UP007 - for Python 3.8

_SEGMENT = 8 * 1024 * 1024  # bytes in one file: room on the disk is given back in such pieces
_OVERHEAD = 100  # bytes that a frame costs beside its own
_EVERY = 128 * 1024  # bytes after which an acknowledgement is due
_HEAD = 13  # bytes of a frame that say which command it is about

MEMORY = 1024 * 1024
"""Bytes that are kept in memory before a file is used."""


class Segment:
    """A file without a name that holds some frames.

    Attributes:
        live: how many of them are still needed.
        size: bytes written.
    """

    __slots__ = ("_fd", "live", "size")

    def __init__(self, directory: str, number: int) -> None:
        name = os.path.join(directory, f"spool-{os.getpid()}-{number}")
        self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(name)
        self.live = self.size = 0

    def write(self, frame: bytes) -> int:
        """Add a frame; where it stands."""
        view, at = memoryview(frame), self.size
        while view:
            done = os.pwrite(self._fd, view, at)
            view, at = view[done:], at + done
        where, self.size = self.size, at
        self.live += 1
        return where

    def read(self, at: int, size: int) -> bytes:
        """The bytes of a frame."""
        data = os.pread(self._fd, size, at)
        if len(data) != size:
            raise OSError("what was spooled cannot be read again")
        return data

    def close(self) -> None:
        """Give the room back."""
        os.close(self._fd)


class Spilled:
    """A frame that is in a file."""

    __slots__ = ("at", "head", "segment", "size")

    def __init__(self, segment: Segment, frame: bytes) -> None:
        self.segment = segment
        self.at = segment.write(frame)
        self.head = frame[:_HEAD]
        self.size = len(frame)

    def __len__(self) -> int:
        return self.size


class SentLog:
    """The frames that were sent, or wait to be, and that the other side has not acknowledged.

    Args:
        first: how many frames were sent and acknowledged before.
        memory: bytes kept in memory; what is more goes to files.
        directory: where these are made (and unlinked at once); ``None``: everything stays in memory.
        taken: told of every frame that is acknowledged: its first bytes, and how many it has.

    Attributes:
        first: the number of the oldest frame that is kept: as many have been acknowledged.
        size: bytes that are kept.
    """

    def __init__(
        self, first: int = 0, *, memory: int = MEMORY, directory: str | None = None,
        taken: Callable[[bytes, int], None] | None = None,
    ) -> None:  # fmt: skip
        self.first = first
        self.size = 0
        self._entries: list[Entry] = []
        self._head = 0  # entries before it have been acknowledged: they are dropped in bulk
        self._room = memory
        self._directory = directory
        self._taken = taken
        self._segment: Segment | None = None
        self._segments = 0

    @property
    def end(self) -> int:
        """The number of the next frame."""
        return self.first + len(self._entries) - self._head

    def append(self, frame: bytes) -> None:
        """Keep one more frame."""
        self.size += len(frame) + _OVERHEAD
        if self._room < len(frame) and self._directory is not None:
            spilled = self._spill(frame, self._directory)
            if spilled is not None:
                self._entries.append(spilled)
                return
        self._room -= len(frame)
        self._entries.append(frame)

    def _spill(self, frame: bytes, directory: str) -> Spilled | None:
        try:
            if self._segment is None or self._segment.size >= _SEGMENT:
                self._segments += 1
                full, self._segment = self._segment, Segment(directory, self._segments)
                if full is not None and full.live == 0:
                    full.close()
            return Spilled(self._segment, frame)
        except OSError:
            return None  # the disk is full: memory is what is left, up to the bound of whoever appends

    def acknowledge(self, count: int) -> None:
        """The other side has received so many frames; an older number than the last changes nothing.

        Raises:
            ValueError: more than were sent.
        """
        if count > self.end:
            raise ValueError(f"{count} frames are acknowledged, {self.end} were sent")
        while self.first < count:
            entry = self._entries[self._head]
            self._entries[self._head] = b""
            self._head += 1
            self.first += 1
            self.size -= len(entry) + _OVERHEAD
            if self._taken is not None:
                self._taken(entry.head if isinstance(entry, Spilled) else entry[:_HEAD], len(entry))
            if isinstance(entry, Spilled):
                self._release(entry.segment)
            else:
                self._room += len(entry)
        if self._head > 64 and self._head * 2 > len(self._entries):
            del self._entries[: self._head]
            self._head = 0

    def _release(self, segment: Segment) -> None:
        segment.live -= 1
        if segment.live == 0:
            segment.close()
            if segment is self._segment:
                self._segment = None

    def some(self, at: int, most: int) -> list[bytes]:
        """The frames from number ``at`` on, at least one if there is one, not many more bytes than ``most``.

        Raises:
            ValueError: they are not kept any more, or never were.
        """
        if not self.first <= at <= self.end:
            raise ValueError(f"frame {at} is not kept; those from {self.first} to {self.end} are")
        found: list[bytes] = []
        index = self._head + at - self.first
        while index < len(self._entries) and most > 0:
            entry = self._entries[index]
            found.append(entry.segment.read(entry.at, entry.size) if isinstance(entry, Spilled) else entry)
            most -= len(entry)
            index += 1
        return found

    def since(self, count: int) -> Iterator[bytes]:
        """All frames from number ``count`` on.

        Raises:
            ValueError: they are not kept any more, or never were.
        """
        while True:
            frames = self.some(count, _EVERY)
            if not frames:
                return
            yield from frames
            count += len(frames)

    def bytes_since(self, count: int) -> int:
        """How many bytes the frames from number ``count`` on have."""
        return sum(len(entry) for entry in self._entries[self._head + count - self.first :])

    def close(self) -> None:
        """Forget everything."""
        self.acknowledge(self.end)
        if self._segment is not None:  # nothing could be written to it
            self._segment.close()
            self._segment = None


class ReceivedCount:
    """How many frames were received, and whether the other side has been told.

    Args:
        count: how many were received before.

    Attributes:
        count: how many were received.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._told = count
        self._bytes = 0

    def add(self, size: int) -> bool:
        """One more frame; whether it is time to acknowledge."""
        self.count += 1
        self._bytes += size
        return self._bytes >= _EVERY

    @property
    def owed(self) -> bool:
        """Whether there is something to acknowledge."""
        return self.count > self._told

    def acknowledgement(self) -> bytes:
        """The frame that tells the other side."""
        self._told = self.count
        self._bytes = 0
        return pack(ACKNOWLEDGE, 0, COUNT.pack(self.count))
