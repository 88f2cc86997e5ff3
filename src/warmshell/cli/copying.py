"""What ``warm cp`` does: its words to paths at locations, a copy, and how far it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmshell.cli.targets import Target, target_of
from warmshell.connector import connect
from warmshell.errors import CommandError, CopyError
from warmshell.transfer.api import At, copy

if TYPE_CHECKING:
    from warmshell.cli.transferred import Display
    from warmshell.location import Location

_FAILED = 1


@dataclass(frozen=True, slots=True)
class Request:
    """The options of ``warm cp``, checked as far as that needs no location."""

    sources: list[Target]
    destinations: list[Target]
    options: dict[str, Any]
    progress: bool


def request_from(
    *, words: Sequence[str], targets: Sequence[str], recursive: bool, dereference: bool, progress: bool | None,
    **options: bool,
) -> Request:  # fmt: skip
    """The request of the options as click gives them.

    Raises:
        CommandError: too few words.
        LocationError: a word that looks like a location and is none.
    """
    given = [target_of(word) for word in words]
    destinations = [target_of(word) for word in targets] or [given.pop()]
    if not given:
        raise CommandError("nothing to copy: give a source and a destination, or --to")
    options = {**options, "recursive": recursive, "dereference": dereference or not recursive}
    shown = progress if progress is not None else sys.stderr is not None and sys.stderr.isatty()
    return Request(given, destinations, options, shown)


async def copied(request: Request) -> int:
    """Copy; the exit status."""
    display = None
    if request.progress:
        from warmshell.cli.transferred import display_for

        display = display_for(time.monotonic())
    try:
        async with AsyncExitStack() as stack:
            return await _copied(request, stack, display)
    finally:
        if display is not None:
            display.close()


async def _copied(request: Request, stack: AsyncExitStack, display: Display | None) -> int:
    reached: dict[str, Location] = {}
    for target in [*request.sources, *request.destinations]:
        if target.location is not None and target.location not in reached:
            reached[target.location] = await stack.enter_async_context(connect(target.location))
    sources, destinations = (
        [target.path if target.location is None else At(reached[target.location], target.path) for target in side]
        for side in (request.sources, request.destinations)
    )
    try:
        await copy(
            sources, destinations, progress=None if display is None else display.show, **request.options
        )  # fmt: skip
    except CopyError as error:
        if display is not None:
            display.close()
        for where, failure in (error.failures or {"": error}).items():
            _complain(f"{where}: {getattr(failure, 'message', failure)}" if where else str(error))
        return _FAILED
    return 0


def _complain(sentence: str) -> None:
    line = " ".join(sentence.split("\n"))
    os.write(2, f"warm: {line}\n".encode("utf-8", "surrogateescape"))
