"""The locations of a run: opening them, how many jobs each takes, and what must be there before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from warmshell.connector import connect
from warmshell.connector.registry import is_url
from warmshell.errors import LocationError, ProgramNotFound
from warmshell.location import Location

_PLAIN = re.compile(r"[A-Za-z0-9_./+@%:,-]+", re.ASCII)
_CPUS = "nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1"


async def opened(
    stack: AsyncExitStack, urls: Sequence[str], jobs: str, shell: str | None
) -> list[tuple[Location, int]]:
    """The locations, connected, each with the number of jobs it takes at once.

    Raises:
        LocationError: a URL that means none, or the same location twice.
        ConnectError: one that cannot be reached.
    """
    places: list[tuple[Location, int]] = []
    extra = {} if shell is None else {"shell": shell}
    for url in [each for where in urls for each in await _each(stack, where)]:
        place = connect(url, shells=_shells(url, jobs), **extra)
        if any(place.name == other.name for other, _ in places):
            raise LocationError(f"the location {url!r} is given twice")
        await stack.enter_async_context(place)
        places.append((place, slots_at(jobs, await _processors_at(place))))
    return places


async def _each(stack: AsyncExitStack, where: str) -> list[str]:
    if is_url(where):
        return [where]
    from warmshell.deployment.names import each_location

    return await each_location(stack, where)


def _shells(url: str, jobs: str) -> int:
    """Warm shells enough for all jobs; a percentage is taken from this machine, or generously elsewhere."""
    if not jobs.endswith("%"):
        return int(jobs)
    return slots_at(jobs, processors() if url.startswith("local") else 256)


def slots_at(jobs: str, cpus: int) -> int:
    """How many jobs ``-j`` means where there are so many processors."""
    return max(1, int(jobs[:-1]) * cpus // 100) if jobs.endswith("%") else int(jobs)


def processors() -> int:
    """The processors of this machine that we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _processors_at(place: Location) -> int:
    if place.name == "local":
        return processors()
    text = (await place.run(_CPUS)).text.strip()
    return max(1, int(text)) if text.isascii() and text.isdecimal() else 1


async def check_places(places: Sequence[Location], words: Sequence[str], options: Mapping[str, Any]) -> None:
    """Whether the directory and the program are there, so that a mistake costs one sentence and not a thousand jobs.

    Raises:
        ProgramNotFound: a plain first word that names nothing.
        WorkdirError: a directory that cannot be entered.
        ConnectError: no shell could be started there.
    """
    program = first_program(words)
    where = {name: options[name] for name in ("cwd", "env") if options.get(name) is not None}
    for place in places:
        script = ":" if program is None else f"command -v {program} >/dev/null 2>&1"
        result = await place.run(script, **where)
        if program is not None and result.returncode in (1, 2, 127):
            raise ProgramNotFound(f"there is no program, builtin or function {program!r}", location=place.name)


def first_program(words: Sequence[str]) -> str | None:
    """The first word of a template, if it is plain text that must name a program."""
    first = " ".join(words).split(None, 1)[:1]
    return first[0] if first and _PLAIN.fullmatch(first[0]) and not first[0].startswith("-") else None
