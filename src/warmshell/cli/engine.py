"""Runs the jobs: reads input only when a slot is free, hands jobs to the pool, retries, halts, cleans up."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from warmshell.cli.halt import Action, Halt
from warmshell.cli.jobs import Shape, Task
from warmshell.cli.outcome import Outcome
from warmshell.cli.printer import Printer
from warmshell.cli.progress import Meter
from warmshell.cli.sources import readable
from warmshell.errors import ClosedError, CommandError, CommandTimeout, WarmshellError

if TYPE_CHECKING:
    from warmshell.command import Result
    from warmshell.pool import Pool


_LAST_OUTPUT = 0.3  # seconds for output of jobs that had ended when all was stopped


@dataclass(slots=True)
class Plan:
    """What to run, and how.

    Attributes:
        shape: how jobs become commands.
        slots: how many jobs run at once.
        options: those of every command (environment, directory, time limit).
        attempts: how often a failing job is run at most; 0 is without end.
        places: the names of the locations.
    """

    shape: Shape
    slots: int
    options: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1
    places: Sequence[str] = ()


class Engine:
    """One run.

    Args:
        plan: what to run.
        pool: where.
        printer: gets every outcome.
        halt: when to stop early.
        meter: counts for the display.
    """

    def __init__(self, plan: Plan, pool: Pool, printer: Printer, halt: Halt, meter: Meter) -> None:
        self._plan = plan
        self._pool = pool
        self._printer = printer
        self._halt = halt
        self._meter = meter
        self._free = list(range(1, plan.slots + 1))
        self._running: set[asyncio.Task[None]] = set()
        self._begun = 0
        self._action: Action = "go"
        self._changed = asyncio.Event()
        self._fault: BaseException | None = None

    async def run(self, jobs: AsyncIterator[Task]) -> None:
        """Run all jobs, or until the policy says to stop; then nothing of them runs any more.

        Raises:
            WarmshellError: the input cannot be read, or the output not be written.
            BrokenPipeError: the reader of our output has gone.
        """
        feeding, showing = asyncio.ensure_future(self._feed(jobs)), asyncio.ensure_future(self._printer.run())
        watched = [feeding, showing]
        for task in watched:
            task.add_done_callback(lambda _: self._changed.set())
        try:
            await self._until(lambda: feeding.done() or self._action != "go", watched)
            await _end([feeding])
            await self._until(lambda: not self._running or self._action == "now", watched)
            await _end(self._running)
            self._printer.close()
            await showing
        except asyncio.CancelledError:
            await _end([feeding, *self._running])
            self._printer.close()  # what has ended is shown and logged, unless our output is stuck
            await asyncio.wait([showing], timeout=_LAST_OUTPUT)
            raise
        finally:
            await _end([*watched, *self._running])

    async def _until(self, reached: Callable[[], bool], watched: Sequence[asyncio.Task[None]]) -> None:
        """Wait for a condition; a task that fails meanwhile ends the run with its error."""
        while True:
            for task in watched:
                if task.done() and not task.cancelled():
                    task.result()
            if self._fault is not None:
                raise self._fault
            if reached():
                return
            self._changed.clear()
            await self._changed.wait()

    async def _feed(self, jobs: AsyncIterator[Task]) -> None:
        while True:
            await self._room()
            task = await anext(jobs, None) if self._action == "go" else None
            if self._action != "go":
                return
            if task is None:
                self._ended_input()
                return
            self._begun += 1
            self._printer.started(task.seq)
            self._start(task)

    def _start(self, task: Task) -> None:
        slot = heapq.heappop(self._free)
        try:
            script = self._plan.shape.script(task, slot)
        except CommandError as error:
            heapq.heappush(self._free, slot)
            now = time.time()
            self._ended(Outcome(task, self._plan.shape.template.text, None, error, 0, now, now))
            return
        running = asyncio.ensure_future(self._job(task, slot, script))
        self._running.add(running)
        running.add_done_callback(self._left)

    def _ended_input(self) -> None:
        self._meter.total = self._halt.total = self._begun
        self._act(self._halt.decide())

    async def _room(self) -> None:
        while not self._free or self._printer.full:
            self._printer.changed.clear()
            await self._printer.changed.wait()

    def _left(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        if not running.cancelled() and running.exception() is not None:
            self._fault = running.exception()
        self._changed.set()

    # -- one job --------------------------------------------------------------------------------------------------

    async def _job(self, task: Task, slot: int, script: str) -> None:
        try:
            outcome = await self._attempts(task, script)
        finally:
            heapq.heappush(self._free, slot)
            self._printer.changed.set()
        self._ended(outcome)

    def _ended(self, outcome: Outcome) -> None:
        action = self._halt.ended(outcome.status)
        self._meter.ended(time.monotonic(), ok=outcome.status == 0)
        self._printer.put(outcome)
        if action != "go" and self._action == "go":
            self._announce(action, outcome)
        self._act(action)

    async def _attempts(self, task: Task, script: str) -> Outcome:
        attempt = 0
        while True:
            attempt += 1
            outcome = await self._attempt(task, script, attempt)
            last = outcome.status == 0 or attempt == self._plan.attempts or self._action != "go"
            if last or isinstance(outcome.error, ClosedError):
                return outcome

    async def _attempt(self, task: Task, script: str, attempt: int) -> Outcome:
        plan = self._plan
        options = dict(plan.options)
        if attempt > 1 and len(plan.places) > 1:  # a failing job has another chance elsewhere
            options["on"] = plan.places[(task.seq + attempt) % len(plan.places)]
        started = time.time()
        result: Result | None = None
        fault: WarmshellError | None = None
        try:
            result = await self._pool.run(script, **options)
            started = result.started or started
        except CommandTimeout as error:
            result, fault = error.result, error
        except WarmshellError as error:
            fault = error
        ended = result.ended if result is not None and fault is None else time.time()
        return Outcome(task, script, result, fault, attempt, started, ended)

    # -- stopping -------------------------------------------------------------------------------------------------

    def _act(self, action: Action) -> None:
        if action != "go":
            self._action = action
            self._changed.set()

    def _announce(self, action: Action, outcome: Outcome) -> None:
        how = f"failed with status {outcome.status}" if outcome.status else "succeeded"
        others = max(0, len(self._running) - 1)
        rest = f"ending {others} that still run" if action == "now" else f"waiting for {others} that still run"
        self._printer.note(f"stopping after job {outcome.task.seq} {how}, {rest}: {readable(outcome.command)}")


async def _end(some: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have cleaned up, however often this task is cancelled meanwhile."""
    tasks = list(some)
    for task in tasks:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
