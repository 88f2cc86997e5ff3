"""How far a run is: the numbers (pure), and the two ways to show them."""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_WINDOW = 30.0  # seconds over which the rate is taken: long enough to be calm, short enough to be true
_ERASE = b"\r\x1b[2K"


@dataclass(slots=True)
class Meter:
    """Counts jobs and tells the rate and the time that remains.

    Attributes:
        total: the number of all jobs, ``None`` while it is not known.
    """

    started: float
    total: int | None = None
    done: int = 0
    failed: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def ended(self, now: float, *, ok: bool) -> None:
        """Count a job that ended."""
        self.done += 1
        self.failed += not ok
        if not self._marks or now - self._marks[-1][0] >= _WINDOW / 100:
            self._marks.append((now, self.done))
        while len(self._marks) > 1 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()

    def rate(self, now: float) -> float:
        """Jobs a second, lately."""
        if self._marks and now - self.started > _WINDOW:
            since, before = self._marks[0]
        else:
            since, before = self.started, 0
        return (self.done - before) / (now - since) if now > since else 0.0

    def remaining(self, now: float) -> float | None:
        """Seconds until the end at this rate, if that can be told."""
        rate = self.rate(now)
        if self.total is None or not rate:
            return None
        return max(0, self.total - self.done) / rate

    def text(self, now: float) -> str:
        """All of it in one line."""
        parts = [f"{self.done}/{self.total} done" if self.total is not None else f"{self.done} done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        rate = self.rate(now)
        parts.append(f"{rate:.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
        left = self.remaining(now)
        if left is not None and self.total is not None and self.done < self.total:
            parts.append(f"{duration(left)} left")
        else:
            parts.append(f"{duration(now - self.started)} so far")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time as people say it: ``42 s``, ``3:05 min``, ``2:03 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


class Lines:
    """Plain lines now and then, for logs: after a second, and then ever more rarely."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._next = meter.started + 1.0

    def hide(self) -> bytes:
        """What to write before output; nothing."""
        return b""

    def show(self, now: float, *, last: bool = False) -> bytes:
        """What to write now."""
        if not last and now < self._next:
            return b""
        self._next = now + max(5.0, (now - self._meter.started) / 10)
        return f"warm: {self._meter.text(now)}\n".encode()


class Bar:
    """One line at the bottom of the terminal, drawn by rich and redrawn at most ten times a second."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._next = 0.0
        self._shown = False
        self._drawn = b""
        self._console: Console | None = None

    def hide(self) -> bytes:
        """What to write before output, so that it does not meet the bar."""
        shown, self._shown = self._shown, False
        return _ERASE if shown else b""

    def show(self, now: float, *, last: bool = False) -> bytes:
        """What to write now; at the end, one plain line stays."""
        if last:
            return self.hide() + f"{self._meter.text(now)}\n".encode()
        if now >= self._next:
            self._next = now + 0.1
            self._drawn = self._draw(now)
        elif self._shown:
            return b""
        self._shown = True  # after output it comes back as it was: drawing anew takes longer than many a job
        return _ERASE + self._drawn

    def _draw(self, now: float) -> bytes:
        from rich.console import Console
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        if self._console is None:
            self._console = Console(file=sys.stderr, force_terminal=True)
        meter, console = self._meter, self._console
        columns = max(20, _columns() - 1)  # the last column stays free: a full line would wrap
        bar = ProgressBar(total=meter.total, completed=meter.done, pulse=meter.total is None, animation_time=now)
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True, justify="right")
        line.add_row(bar, meter.text(now))
        with console.capture() as capture:
            console.print(line, width=columns, end="")
        return capture.get().replace("\n", "").encode()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80


Display = Lines | Bar
