"""The locations that the words of a command line name: each connected once, however many paths are there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from warmshell.cli.common import DEFAULT_LOCATION, exact
from warmshell.cli.group import complain
from warmshell.cli.targets import Target, target_of
from warmshell.connector import connect
from warmshell.errors import WarmshellError
from warmshell.location import Location
from warmshell.path import RemotePath

SOME_FAILED = 1


class Reach:
    """Locations, connected when the first path at them is wanted.

    Args:
        stack: what they are left with.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._known: dict[str, Location] = {}

    async def path(self, target: Target) -> RemotePath:
        """The path that a word means.

        Raises:
            WarmshellError: its location cannot be reached.
        """
        url = target.location or DEFAULT_LOCATION
        if url not in self._known:
            self._known[url] = await self._stack.enter_async_context(connect(url))
        return self._known[url].path(target.path)


async def for_each(words: Sequence[str], work: Callable[[RemotePath, str], Awaitable[None]]) -> int:
    """Do the work for the path that each word means; the exit status.

    What fails for one is told, and the others go on.

    Raises:
        LocationError: a word that means no path. Nothing was done then.
    """
    targets = [(target_of(exact(word)), word) for word in words]
    failed = 0
    async with AsyncExitStack() as stack:
        reach = Reach(stack)
        for target, word in targets:
            try:
                await work(await reach.path(target), word)
            except WarmshellError as error:
                complain(str(error))
                failed = SOME_FAILED
    return failed
