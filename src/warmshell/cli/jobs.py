"""From input rows to jobs: numbering, ``-N`` and ``-X``, and which jobs a resumed run still owes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from warmshell.cli.joblog import Entry
from warmshell.cli.sources import Row, readable
from warmshell.cli.template import Job, Template
from warmshell.errors import InputError

MOST_BYTES = 128 * 1024 - 1024  # of a command made by -X: what one word given to a program may hold, with some room
_SLOT = 8270193460182  # stands for a slot number that is not known: no real one looks like it


@dataclass(frozen=True, slots=True)
class Task:
    """One job of a run.

    Attributes:
        seq: its number, from 1.
        rows: the rows of input that it is for.
    """

    seq: int
    rows: tuple[Row, ...]

    @property
    def args(self) -> list[str]:
        """All its arguments, row after row."""
        return [value for row in self.rows for value in row]


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows become commands.

    Attributes:
        template: the command.
        per_job: how many rows a job takes (``-N``); ``None`` is one. 0 is one that is not inserted.
        fill: whether a job takes as many rows as its command can hold (``-X``).
        slots: among how many the last rows of ``-X`` are spread.
    """

    template: Template
    per_job: int | None = None
    fill: bool = False
    slots: int = 1

    @property
    def repeating(self) -> bool:
        """Whether words with ``{}`` are repeated for every argument."""
        return self.fill or self.per_job is not None

    def script(self, task: Task, slot: int) -> str:
        """The sh text of a job."""
        job = Job([] if self.per_job == 0 else task.args, task.seq, slot)
        return self.template.expand_repeating(job) if self.repeating else self.template.expand(job)

    def matches(self, task: Task, command: str) -> bool:
        """Whether a command of a joblog is that of this job, in whatever slot it ran."""
        if not self.template.uses_slot:
            return self.script(task, 1) == command
        pattern = re.escape(self.script(task, _SLOT)).replace(str(_SLOT), "[0-9]+")
        return re.fullmatch(pattern, command) is not None


async def tasks(rows: AsyncIterator[Row], shape: Shape) -> AsyncIterator[Task]:
    """The jobs, each as soon as its rows are read."""
    seq = 0
    async for batch in _filled(rows, shape) if shape.fill else _counted(rows, shape.per_job or 1):
        seq += 1
        yield Task(seq, batch)


async def _counted(rows: AsyncIterator[Row], size: int) -> AsyncIterator[tuple[Row, ...]]:
    batch: list[Row] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)


async def _filled(rows: AsyncIterator[Row], shape: Shape) -> AsyncIterator[tuple[Row, ...]]:
    """As many rows as fit in a command; the rest, once the input has ended, spread over the slots."""
    most = shape.per_job or 10**9
    empty = _length(shape, ())
    batch: list[Row] = []
    length = empty
    async for row in rows:
        more = _length(shape, (row,)) - empty + 1
        if batch and (length + more > MOST_BYTES or len(batch) >= most):
            yield tuple(batch)
            batch, length = [], empty
        batch.append(row)
        length += more
    for part in spread(batch, shape.slots):
        yield part


def _length(shape: Shape, rows: tuple[Row, ...]) -> int:
    return len(shape.script(Task(10**9, rows), 10**6).encode("utf-8", "surrogateescape"))


def spread(batch: Sequence[Row], slots: int) -> Iterator[tuple[Row, ...]]:
    """Cut a batch evenly into at most as many pieces as there are slots."""
    size = max(1, -(-len(batch) // max(1, slots)))
    for start in range(0, len(batch), size):
        yield tuple(batch[start : start + size])


async def resumed(
    jobs: AsyncIterator[Task], entries: dict[int, Entry], owed: Callable[[int], bool], shape: Shape, name: str
) -> AsyncIterator[Task]:
    """The jobs that are still to run, once everything in the log has been found to belong to this run.

    Raises:
        InputError: the log is of another run; raised before the first job is given.
    """
    last = max(entries, default=0)
    waiting: list[Task] = []
    seen = 0
    while seen < last and (task := await anext(jobs, None)) is not None:
        seen = task.seq
        entry = entries.get(seen)
        if entry is not None and not shape.matches(task, entry.command):
            raise InputError(
                f"{name} is of another run: its job {seen} is {readable(entry.command)!r},"
                f" not {readable(shape.script(task, 1))!r}"
            )
        if owed(seen):
            waiting.append(task)
    if seen < last:
        raise InputError(f"{name} is of another run: it has a job {last}, the input ends with job {seen}")
    for task in waiting:
        yield task
    async for task in jobs:
        yield task
