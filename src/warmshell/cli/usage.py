"""How much processor time a Python process and everything below it has used."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_PROC = Path("/proc")


class CpuMeter:
    """Counts from now on, wherever it is spent: in this process, in its children, and in all that still live.

    A warm shell that still runs has not been waited for, so that the usual figures of the kernel lack it: on
    Linux, what lives is read from ``/proc``. That takes milliseconds, which are left out of the count.
    """

    def __init__(self) -> None:
        self._below = _below_seconds()
        self._own = _own_seconds()  # last: the reading above is not to be counted

    def read(self) -> float:
        """Processor seconds since the meter was made."""
        own = _own_seconds()  # first, for the same reason
        return max(0.0, own - self._own + _below_seconds() - self._below)


def _own_seconds() -> float:
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def _below_seconds() -> float:
    return sum(_ticks(pid) for pid in descendants()) / os.sysconf("SC_CLK_TCK")


def tree_seconds(root: int) -> float:
    """Processor seconds of a process and of everything below it, as far as it lives or was waited for."""
    return sum(_ticks(pid) for pid in (root, *descendants(root))) / os.sysconf("SC_CLK_TCK")


def descendants(root: int | None = None) -> list[int]:
    """The living processes below ``root`` (this process by default); none where there is no ``/proc``."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [os.getpid() if root is None else root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _parents() -> list[tuple[int, int]]:
    if not _PROC.is_dir():
        return []
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [(pid, int(fields[1])) for pid in pids if (fields := _stat(pid))]


def _ticks(pid: int) -> int:
    """User and system time of a process and of the children it has waited for."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) if fields else 0


def _stat(pid: int) -> list[bytes]:
    """The fields of ``/proc/PID/stat`` from the state on; none when the process is gone."""
    try:
        content = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return []
    return content[content.rindex(b")") + 2 :].split()  # the name before it may hold anything
