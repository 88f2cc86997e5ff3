"""The warm locations of a deployment: each made on first use, once, whoever asks first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from warmshell.connector.place import Place
from warmshell.errors import ClosedError, WarmshellError
from warmshell.location import Location
from warmshell.shield import shielded

Make = Callable[[], Place]


class WarmLocations:
    """Locations by name, connected when they are first asked for.

    Nothing is locked: one that takes long to connect, or cannot be reached, delays only those who ask for it.

    Args:
        warm: puts the warm face on a place.

    Attributes:
        away: why those that were tried last without success could not be reached, by name.
    """

    def __init__(self, warm: Callable[[Place], Location]) -> None:
        self._warm = warm
        self._tasks: dict[str, asyncio.Task[Location]] = {}
        self._closed = False
        self.away: dict[str, WarmshellError] = {}

    def start(self, name: str, make: Make) -> asyncio.Task[Location]:
        """Have a location connected, unless it is already; of one that failed, this is another attempt.

        Raises:
            ClosedError: all were closed.
        """
        if self._closed:
            raise ClosedError("the deployment was undeployed", location=name)
        if name not in self._tasks:
            task = self._tasks[name] = asyncio.ensure_future(self._connect(make))
            task.add_done_callback(lambda done: self._connected(name, done))
        return self._tasks[name]

    async def get(self, name: str, make: Make) -> Location:
        """The location, connected.

        Raises:
            ConnectError: it cannot be reached. Every caller who waits for the same attempt is told; the next one
                tries again.
            ClosedError: all were closed meanwhile.
        """
        task = self.start(name, make)
        await asyncio.wait([task])  # a caller that is cancelled takes it from no other
        if task.cancelled():
            raise ClosedError("the deployment was undeployed", location=name)
        return task.result()

    async def _connect(self, make: Make) -> Location:
        location = self._warm(make())
        try:
            await location.__aenter__()
        except BaseException:
            await shielded(location.aclose())
            raise
        return location

    def _connected(self, name: str, task: asyncio.Task[Location]) -> None:
        error = None if task.cancelled() else task.exception()
        if not task.cancelled() and error is None:
            self.away.pop(name, None)
            return
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if isinstance(error, WarmshellError):
            self.away[name] = error

    async def drop(self, name: str) -> None:
        """Close a location that the deployment has no more; it may come again under the same name."""
        task = self._tasks.pop(name, None)
        self.away.pop(name, None)
        if task is not None:
            await shielded(_close(task))

    @property
    def names(self) -> list[str]:
        """Those that are connected, or about to be."""
        return list(self._tasks)

    @property
    def ready(self) -> dict[str, Location]:
        """Those that are connected."""
        done = {name: task for name, task in self._tasks.items() if task.done() and not task.cancelled()}
        return {name: task.result() for name, task in done.items() if task.exception() is None}

    async def aclose(self) -> None:
        """Close them all, at once."""
        self._closed = True
        tasks = list(self._tasks.values())
        await shielded(_close_all(tasks))
        self._tasks.clear()


async def _close_all(tasks: list[asyncio.Task[Location]]) -> None:
    errors = [e for e in await asyncio.gather(*map(_close, tasks), return_exceptions=True) if e is not None]
    if errors:
        raise errors[0]


async def _close(task: asyncio.Task[Location]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None:
        with contextlib.suppress(ClosedError):
            await task.result().aclose()
