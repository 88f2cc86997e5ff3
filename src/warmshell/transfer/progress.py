"""How far a copy is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_EVERY = 0.1  # seconds between two reports
_WINDOW = 5.0  # seconds over which the rate is taken


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a copy is.

    Attributes:
        size: bytes of contents that all destinations have been given.
        files: files, links and the like that were begun.
        name: the one that was reached.
        total_size: bytes in all, ``None`` as long as that is not known.
        total_files: files in all, ``None`` as long as that is not known.
        elapsed: seconds since the beginning.
        rate: bytes a second, lately.
        done: whether the copy is whole, under its final names.
    """

    size: int
    files: int
    name: bytes
    total_size: int | None
    total_files: int | None
    elapsed: float
    rate: float
    done: bool = False

    @property
    def remaining(self) -> float | None:
        """Seconds until the end at this rate, if that can be told."""
        if self.total_size is None or not self.rate:
            return None
        return max(0.0, (self.total_size - self.size) / self.rate)


Callback = Callable[[Progress], object]


class Meter:
    """Counts, and tells a callback now and then.

    Args:
        callback: is told; ``None``: nobody is.

    Attributes:
        total_size: bytes in all, once that is known.
        total_files: files in all, once that is known.
    """

    def __init__(self, callback: Callback | None) -> None:
        self._callback = callback
        self._start = self._last = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque([(self._start, 0)])
        self._before = (0, 0)  # of earlier archives of the same copy
        self._now = (0, 0)
        self.total_size: int | None = None
        self.total_files: int | None = None

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._before[0] + self._now[0]

    @property
    def files(self) -> int:
        """Files so far."""
        return self._before[1] + self._now[1]

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start

    def reached(self, size: int, files: int, name: bytes) -> None:
        """The present archive has come so far."""
        self._now = size, files
        if self._callback is not None and time.monotonic() - self._last >= _EVERY:
            self._tell(name)

    def expect(self, size: int, files: int) -> None:
        """The present archive will come so far."""
        self.total_size, self.total_files = self._before[0] + size, self._before[1] + files

    def is_expected(self) -> None:
        """The present archive is as far as was expected."""
        if self.total_size is not None and self.total_files is not None:
            self._now = self.total_size - self._before[0], self.total_files - self._before[1]

    def next(self) -> None:
        """The next archive begins."""
        self._before, self._now = (self.size, self.files), (0, 0)

    def done(self) -> None:
        """All is copied."""
        self.total_size, self.total_files = self.size, self.files
        if self._callback is not None:
            self._tell(b"", done=True)

    def _tell(self, name: bytes, *, done: bool = False) -> None:
        now = self._last = time.monotonic()
        self._marks.append((now, self.size))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()
        since, before = self._marks[0]
        rate = (self.size - before) / (now - since) if now > since else 0.0
        if self._callback is not None:
            self._callback(
                Progress(self.size, self.files, name, self.total_size, self.total_files, now - self._start, rate, done)
            )
