"""What ``warm map`` does with its options: checks everything first, then runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from warmshell.cli.common import DEFAULT_LOCATION, environment, exact, seconds
from warmshell.cli.engine import Engine, Plan
from warmshell.cli.halt import Halt, Policy
from warmshell.cli.joblog import Joblog, unfinished
from warmshell.cli.jobs import Shape, Task, resumed, tasks
from warmshell.cli.output import Writer, write_out
from warmshell.cli.places import check_places, opened, processors, slots_at
from warmshell.cli.printer import Printer, Shown, same_terminal
from warmshell.cli.progress import Bar, Display, Lines, Meter
from warmshell.cli.results import Results
from warmshell.cli.sources import STDIN, Inputs, Source, split_arguments
from warmshell.cli.template import Template
from warmshell.errors import CommandError
from warmshell.location import Location

Places = Sequence[tuple[Location, int]]

_LAST_WORDS = 0.5  # seconds for the last state of the progress display
_MOST_MEMORY = 128 * 1024 * 1024  # of captured output of all running jobs, before it spills to files


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of ``warm map``, checked as far as that needs no location."""

    template: Template
    words: tuple[str, ...]
    sources: tuple[Source, ...]
    separator: bytes
    locations: tuple[str, ...]
    jobs: str
    per_job: int | None
    fill: bool
    options: dict[str, Any]
    attempts: int
    policy: Policy
    shell: str | None
    keep_order: bool
    tag: bool
    dry_run: bool
    as_json: bool
    joblog: str | None
    resume: bool
    resume_failed: bool
    results: str | None
    progress: bool | None


def settings_from(
    *, words: Sequence[str], files: Sequence[str], locations: Sequence[str], jobs: str | None, null: bool,
    per_job: int | None, settings: Sequence[str], cwd: str | None, timeout: str | None, retries: int, halt: str,
    **rest: Any,
) -> Settings:  # fmt: skip
    """The settings of the options as click gives them.

    Raises:
        CommandError: an option whose value means nothing, or options that need another.
    """
    command, sources = split_arguments([exact(word) for word in words])
    sources = [Source(path=path) for path in files] + sources
    if per_job is not None and per_job < 0:
        raise CommandError(f"-N takes a whole number of values, not {per_job}")
    if retries < 0:
        raise CommandError(f"--retries takes a whole number, not {retries}")
    if (rest["resume"] or rest["resume_failed"]) and rest["joblog"] is None:
        raise CommandError("--resume and --resume-failed need --joblog")
    if rest["as_json"] and rest["tag"]:
        raise CommandError("--json and --tag exclude each other")
    options: dict[str, Any] = {"env": environment(settings, copy=True) or None}
    if cwd is not None:
        options["cwd"] = exact(cwd)
    if timeout is not None:
        options["timeout"] = seconds(timeout)
    return Settings(
        template=Template.parse(command),
        words=tuple(command),
        sources=tuple(sources or [Source(path=STDIN)]),
        separator=b"\0" if null else b"\n",
        locations=tuple(locations) or (DEFAULT_LOCATION,),
        jobs=_checked_jobs(jobs or "100%"),
        per_job=per_job,
        options=options,
        attempts=retries,
        policy=Policy.parse(halt),
        **rest,
    )


def _checked_jobs(jobs: str) -> str:
    if not re.fullmatch(r"[0-9]{1,6}%?", jobs) or int(jobs.rstrip("%")) < 1:
        raise CommandError(f"-j takes a number of at least 1, or a percentage of the cpus such as 200%, not {jobs!r}")
    return jobs


async def mapped(settings: Settings) -> int:
    """Run it; the exit status."""
    _hint_at_terminal(settings)
    with Inputs(settings.sources, separator=settings.separator) as inputs:
        if settings.dry_run:
            return await _dry_run(settings, inputs)
        async with AsyncExitStack() as stack:
            places = await opened(stack, settings.locations, settings.jobs, settings.shell)
            await check_places([place for place, _ in places], settings.words, settings.options)
            return await _run(settings, inputs, places)


def _hint_at_terminal(settings: Settings) -> None:
    if any(source.path == STDIN for source in settings.sources) and os.isatty(0) and os.isatty(2):
        write_out(2, b"warm: reading values from the terminal, one a line; Ctrl-D ends them\n")


async def _dry_run(settings: Settings, inputs: Inputs) -> int:
    writer = Writer()
    shape = _shape(settings, slots_at(settings.jobs, processors()))
    slots = shape.slots
    async for task in tasks(inputs.rows(), shape):
        line = (shape.script(task, (task.seq - 1) % slots + 1) + "\n").encode("utf-8", "surrogateescape")
        await writer.do(partial(write_out, 1, line))
    return 0


def _shape(settings: Settings, slots: int) -> Shape:
    return Shape(settings.template, settings.per_job, settings.fill, slots)


async def _run(settings: Settings, inputs: Inputs, places: Places) -> int:
    from warmshell.pool import Pool

    slots = sum(count for _, count in places)
    shape = _shape(settings, slots)
    results = Results(exact(settings.results)) if settings.results is not None else None
    joblog = _joblog(settings)
    total = _total(inputs, settings)
    jobs, first = await _primed(_owed(inputs, shape, joblog, settings))
    if joblog is not None:
        joblog.begin()
    meter = Meter(time.monotonic(), total)
    halt = Halt(settings.policy, total)
    printer = Printer(_shown(settings, results, joblog, places, meter), Writer())
    plan = Plan(shape, slots, _options(settings, slots), settings.attempts, [place.name for place, _ in places])
    caps = {place.name: count for place, count in places}
    try:
        async with Pool([place for place, _ in places], per_location=caps) as pool:
            await Engine(plan, pool, printer, halt, meter).run(_again(first, jobs))
    finally:
        with contextlib.suppress(TimeoutError):  # on a terminal that is stopped, or not read, this may block
            await asyncio.wait_for(printer.finish(), _LAST_WORDS)
        if joblog is not None:
            joblog.close()
    return halt.exit_status()


def _options(settings: Settings, slots: int) -> dict[str, Any]:
    return {**settings.options, "output_limit": max(16384, min(4 << 20, _MOST_MEMORY // slots // 2))}


def _joblog(settings: Settings) -> Joblog | None:
    if settings.joblog is None:
        return None
    return Joblog(exact(settings.joblog), resume=settings.resume or settings.resume_failed)


def _owed(inputs: Inputs, shape: Shape, joblog: Joblog | None, settings: Settings) -> AsyncIterator[Task]:
    jobs = tasks(inputs.rows(), shape)
    if joblog is None or not joblog.entries:
        return jobs
    owed = unfinished(joblog.entries, failed=settings.resume_failed)
    return resumed(jobs, joblog.entries, owed, shape, joblog.path)


async def _primed(jobs: AsyncIterator[Task]) -> tuple[AsyncIterator[Task], Task | None]:
    """Ask for the first job before anything is written or run: what is wrong with the input shows now."""
    return jobs, await anext(jobs, None)


async def _again(first: Task | None, jobs: AsyncIterator[Task]) -> AsyncIterator[Task]:
    if first is not None:
        yield first
        async for task in jobs:
            yield task


def _total(inputs: Inputs, settings: Settings) -> int | None:
    rows = inputs.total()
    if rows is None or settings.fill or settings.resume or settings.resume_failed:
        return None
    return -(-rows // (settings.per_job or 1))


def _shown(
    settings: Settings, results: Results | None, joblog: Joblog | None, places: Places, meter: Meter
) -> Shown:  # fmt: skip
    display = _display(settings.progress, meter)
    hosts = {place.name: ":" for place, _ in places if place.name == "local"}
    return Shown(
        settings.keep_order, settings.tag, settings.as_json, results, joblog, hosts, display,
        shared_terminal=display is not None and same_terminal(1, 2),
    )  # fmt: skip


def _display(asked: bool | None, meter: Meter) -> Display | None:
    on_terminal = os.isatty(2)
    if asked is False or (asked is None and not on_terminal):
        return None
    return Bar(meter) if on_terminal else Lines(meter)
