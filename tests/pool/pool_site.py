"""A location in memory for the tests of the pool: its commands end when the test says so."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from warmshell.command import Result


class Site:
    """Commands that run here until :meth:`finish`, :meth:`fail` or a cancellation ends them."""

    def __init__(self, name: str = "site") -> None:
        self.name = name
        self.running: dict[object, asyncio.Future[Result]] = {}
        self.started: list[object] = []
        self.options: dict[object, dict[str, object]] = {}
        self.cancelled: list[object] = []
        self.most = 0
        self._arrivals: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def run(self, command, **options) -> Result:
        future = asyncio.get_running_loop().create_future()
        self.running[command] = future
        self.options[command] = options
        self.most = max(self.most, len(self.running))
        self.started.append(command)
        self._arrivals[len(self.started)].set()
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled.append(command)
            raise
        finally:
            del self.running[command]

    async def arrived(self, count: int) -> None:
        """Waits until so many commands have started here."""
        if len(self.started) < count:
            await self._arrivals[count].wait()

    def finish(self, command, status: int = 0) -> None:
        self.running[command].set_result(Result(status, location=self.name, command=str(command)))

    def fail(self, command, error: BaseException) -> None:
        self.running[command].set_exception(error)


class Instant:
    """A location where every command ends at once, without ever giving way to the event loop."""

    def __init__(self, name: str = "instant") -> None:
        self.name = name
        self.ran = 0

    async def run(self, command, **_options) -> Result:
        self.ran += 1
        return Result(0, location=self.name, command=str(command))


class Yielding(Instant):
    """A location where every command takes one turn of the event loop."""

    def __init__(self, name: str = "yielding") -> None:
        super().__init__(name)
        self.running = 0
        self.most = 0

    async def run(self, command, **options) -> Result:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        return await super().run(command, **options)


async def quiet() -> None:
    """Returns when no other task or callback of this event loop has anything left to do."""
    loop = asyncio.get_running_loop()
    while loop._ready:
        await asyncio.sleep(0)


def begin(pool, *commands, **options) -> list[asyncio.Task[Result]]:
    return [asyncio.ensure_future(pool.run(command, **options)) for command in commands]
