"""What a pool of coprocesses tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One process.

    Attributes:
        pid: its process id.
        busy: how many requests it serves now; a busy process is not a stuck one.
        requests: how many it has served.
        age: seconds since it was started.
        since: seconds since it last ended a request.
        memory: bytes resident.
    """

    pid: int
    busy: int
    requests: int
    age: float
    since: float
    memory: int


@dataclass(frozen=True, slots=True)
class CoprocessStatistics:
    """The whole pool.

    Attributes:
        workers: the processes there are.
        waiting: how many requests wait for one.
        served: how many have been served.
        started: how many processes have been started.
        recycled: how many were let go for their age, requests or memory.
        ordinary: how many requests ran as an ordinary command.
        is_ordinary: whether the tool is known to be none that becomes a coprocess.
    """

    workers: Sequence[WorkerStatistics]
    waiting: int
    served: int
    started: int
    recycled: int
    ordinary: int
    is_ordinary: bool
