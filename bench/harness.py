"""The measuring loop: a warm-up, then rounds in which every contender takes its turn (A B C A B C …)."""

from __future__ import annotations

import gc
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench.cpu import Meter
from bench.model import Block, Case, Contender, Outcome, Report, Sample, judge
from bench.quiet import Others, Patience

if TYPE_CHECKING:
    from collections.abc import Callable

_WARM_UP = 0.1  # share of a round that is run first and forgotten


@dataclass
class _Entry:
    contender: Contender
    outcome: Outcome
    block: Block
    count: int


async def measure(
    case: Case, *, quick: bool, rounds: int | None, say: Callable[[str], None], patience: Patience | None = None
) -> Report:
    """Runs one case.

    Args:
        case: what to compare.
        quick: fewer operations and rounds, for a first look.
        rounds: how many rounds, instead of the case's own number.
        say: gets one line per event, for people who wait.
        patience: how long to wait for a calm machine and to repeat rounds that other work disturbed.
    """
    count = case.quick if quick else case.count
    rounds = rounds or (min(3, case.rounds) if quick else case.rounds)
    report = _empty(case, count, rounds)
    async with AsyncExitStack() as stack:
        entries = [
            entry
            for contender in case.contenders()
            if (entry := await _open(stack, contender, count, report.outcomes, say)) is not None
        ]
        while len(report.others) < rounds:
            say(f"{case.name}: round {len(report.others) + 1} of {rounds}")
            share = await _round(entries, patience or Patience(0), say, each=case.each)
            if share is not None:
                report.others.append(share)
    report.verdicts = [judge(target, report) for target in case.targets]
    return report


async def _round(entries: list[_Entry], patience: Patience, say: Callable[[str], None], *, each: bool) -> float | None:
    """Every contender once; the share of other work, or ``None`` for a round that is not to count."""
    await patience.wait()
    others, start = Others(), time.monotonic()
    for entry in entries:
        await _turn(entry, say, each=each)
    share = others.share()
    if patience.accepts(share, time.monotonic() - start):
        return share or 0.0
    say(f"  again: other work took {share:.0%} of the machine")
    for entry in entries:
        entry.outcome.samples[-1:] = []
    return None


def _empty(case: Case, count: int, rounds: int) -> Report:
    return Report(
        name=case.name,
        theme=case.theme,
        title=case.title,
        text=case.text,
        unit=case.unit,
        count=count,
        rounds=rounds,
        ours=case.ours,
        points=case.points,
        outcomes=[],
        verdicts=[],
    )


async def _open(
    stack: AsyncExitStack,
    contender: Contender,
    count: int,
    outcomes: list[Outcome],
    say: Callable[[str], None],
) -> _Entry | None:
    """Opens a contender and warms it up; one that cannot run here stays in the table, with the reason."""
    outcome = Outcome(contender.name, contender.kind, contender.missing)
    outcomes.append(outcome)
    if contender.missing is not None:
        say(f"  {contender.name}: {contender.missing}")
        return None
    try:
        block = await stack.enter_async_context(contender.make())
        entry = _Entry(contender, outcome, block, max(1, round(count * contender.share)))
        await block(max(1, round(entry.count * _WARM_UP)))
    except Exception as error:  # noqa: BLE001 - one broken contender must not hide the others
        _failed(outcome, error, say)
        return None
    return entry


async def _turn(entry: _Entry, say: Callable[[str], None], *, each: bool) -> None:
    if entry.outcome.error is not None:
        return
    gc.collect()
    try:
        sample = await timed(entry.block, entry.count, each=each)
    except Exception as error:  # noqa: BLE001 - as above
        _failed(entry.outcome, error, say)
        return
    entry.outcome.samples.append(sample)


async def timed(block: Block, count: int, *, each: bool = False) -> Sample:
    """One round of a block: seconds and CPU seconds per operation, or what the block measured itself.

    Args:
        block: what to do.
        count: how many operations.
        each: time every operation by itself, for their median: what disturbs a few of them does not count then.
    """
    if each:
        return await _timed_each(block, count)
    meter = Meter()
    start = time.perf_counter()
    reading = await block(count)
    seconds = time.perf_counter() - start
    cpu = meter.read()
    if reading is not None:
        return Sample(reading.value, reading.cpu, reading.memory)
    return Sample(seconds / count, cpu / count, served=(meter.served or cpu) / count)


async def _timed_each(block: Block, count: int) -> Sample:
    meter, times = Meter(), []
    for _ in range(count):
        start = time.perf_counter()
        await block(1)
        times.append(time.perf_counter() - start)
    return Sample(median(times), meter.read() / count)


def _failed(outcome: Outcome, error: Exception, say: Callable[[str], None]) -> None:
    outcome.error = f"{type(error).__name__}: {error}"
    outcome.samples.clear()
    say(f"  {outcome.name}: failed: {outcome.error}")
