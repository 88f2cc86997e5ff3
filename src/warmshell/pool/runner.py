"""What the pool needs of a location, so that it depends on nothing above it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from warmshell.command import Command, Words

if TYPE_CHECKING:
    from warmshell.command import Result

Runnable = Words | str | Command
"""One command, in each form that ``Location.run`` accepts."""

Commands = Iterable[Runnable] | AsyncIterable[Runnable]
"""Many commands; they may be endless, and are taken only as fast as their results are."""


class Runner(Protocol):
    """A place that runs commands: a location, or anything else with a name and the same ``run``.

    ``run`` must do what a location's does: when its task is cancelled, it ends the command before it returns.
    """

    @property
    def name(self) -> str:
        """A name, unique in one pool."""

    def run(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Result]:
        """Runs one command (the only positional argument) and returns what came of it."""
