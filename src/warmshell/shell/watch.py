"""Which busy lanes should have their output watched: those whose command has been running for a moment.

Most commands are over, with all their output in the pipe, before a watch would pay. One timer serves all lanes.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

MOMENT = 0.001
"""Seconds between two looks. A command that was running at the last one already has its output read while it comes, so
that its pipe does not stay full: after one to two of them."""


class Watched(Protocol):
    """A lane whose output can be watched."""

    def watch(self) -> None:
        """Begin to read output as it comes, until the command has ended."""


class Watch:
    """The timer of one location's lanes."""

    __slots__ = ("_fresh", "_loop", "_seen", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._fresh: set[Watched] = set()  # began after the last look
        self._seen: set[Watched] = set()  # were running at it
        self._timer: asyncio.TimerHandle | None = None

    def add(self, lane: Watched) -> None:
        """A command begins."""
        self._fresh.add(lane)
        if self._timer is None:
            self._timer = self._loop.call_later(MOMENT, self._look)

    def discard(self, lane: Watched) -> None:
        """A command has ended."""
        self._fresh.discard(lane)
        self._seen.discard(lane)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fresh.clear()
        self._seen.clear()

    def _look(self) -> None:
        lanes, self._seen, self._fresh = self._seen, self._fresh, set()
        self._timer = self._loop.call_later(MOMENT, self._look) if self._seen else None
        for lane in lanes:
            lane.watch()
