"""How far ``warm cp`` is, for people: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from warmshell.cli.progress import duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from warmshell.transfer.progress import Progress

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size: float) -> str:
    """A number of bytes as people say it: ``17 B``, ``4.2 MB``."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def text(progress: Progress) -> str:
    """All of it in one line."""
    total = "" if progress.total_size is None else f" of {size_text(progress.total_size)}"
    files = "" if progress.total_files is None else f" of {progress.total_files:,}"
    parts = [f"{size_text(progress.size)}{total}", f"{progress.files:,}{files} files", f"{size_text(progress.rate)}/s"]
    left = progress.remaining
    if progress.done:
        parts.append(f"in {duration(progress.elapsed)}")
    elif left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


class Lines:
    """Plain lines, for logs: after a second, and then ever more rarely."""

    def __init__(self, now: float) -> None:
        self._start = now
        self._next = 1.0

    def show(self, progress: Progress) -> None:
        """Tell, if it is time to."""
        if progress.done or progress.elapsed >= self._next:
            self._next = progress.elapsed + max(5.0, progress.elapsed / 10)
            os.write(2, f"warm: {text(progress)}\n".encode())

    def close(self) -> None:
        """Nothing is left to do."""


class RichBar:
    """One line at the bottom of the terminal, drawn by rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (BarColumn(bar_width=None), TextColumn("{task.description}"))
        self._bar: Bar = Progress(
            *columns, console=Console(stderr=True), transient=True, expand=True, auto_refresh=False
        )
        self._task: TaskID = self._bar.add_task("", total=None)
        self._bar.start()
        self._closed = False

    def show(self, progress: Progress) -> None:
        """Draw it anew."""
        if self._closed:
            return
        self._bar.update(
            self._task, completed=progress.size, total=progress.total_size, description=text(progress), refresh=True
        )
        if progress.done:
            self.close()
            os.write(2, f"{text(progress)}\n".encode())

    def close(self) -> None:
        """Give the line back."""
        if not self._closed:
            self._closed = True
            self._bar.stop()


Display = Lines | RichBar


def display_for(now: float) -> Display:
    """What suits standard error."""
    return RichBar() if sys.stderr is not None and sys.stderr.isatty() else Lines(now)
