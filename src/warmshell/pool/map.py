"""Many commands through a pool, as one stream of results.

A few workers take commands from the input and run them; the consumer takes results. Neither knows the other:
both only look at the :class:`Work` between them, which keeps the distance between what was taken and what was
yielded within the window.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

from warmshell.errors import BusyError, ClosedError

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

    from warmshell.pool.pool import Pool
    from warmshell.pool.runner import Commands, Runnable

Yielded = TypeVar("Yielded")

_MORE: Final = 16  # the default window is twice the capacity and this
END: Final = object()
_NOTHING: Final = object()


class _Failure:
    """An error in the place of a result."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Work:
    """One map under way: the input, the workers, and the results that wait for the consumer.

    It has no reference to the consumer's :class:`Results`, so that a loop left by ``break`` is noticed.

    Attributes:
        tasks: the workers that have not ended.
        finished: whether nothing will be yielded any more.
    """

    def __init__(
        self,
        pool: Pool,
        commands: Commands,
        options: dict[str, Any],
        *,
        ordered: bool,
        raises: bool,
        window: int | None,
    ) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.finished = False
        self._pool = pool
        self._on = options.get("on")
        self._options = options
        self._asynchronous = isinstance(commands, AsyncIterable)
        self._source: Any = commands  # the iterable, and its iterator after the start
        self._ordered = ordered
        self._raises = raises
        self._window = window
        self._taken = 0
        self._yielded = 0
        self._exhausted = True  # nothing (more) is to be taken from the input: so until the start
        self._stopped = False
        self._pulling = False  # a worker waits for the input: async iterators serve one at a time
        self._workers = 0
        self._parked: deque[asyncio.Future[None]] = deque()  # workers with nothing to do now
        self._in_turn: dict[int, Any] = {}  # results by number, when ordered
        self._ready: deque[Any] = deque()  # results as they came, when not
        self._fault: BaseException | None = None  # ends the map as soon as what is ready was yielded
        self._reader: asyncio.Future[None] | None = None  # the consumer, while it waits

    # -- the side of the consumer ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to take commands."""
        if self._pool.closed:
            self.stop(ClosedError("the pool is closed"))
            return
        try:
            self._source = aiter(self._source) if self._asynchronous else iter(self._source)
        except BaseException:
            self.stop()
            raise
        self._exhausted = False
        self._pool.works.add(self)
        self.invite()

    async def next(self) -> Any:
        """The next result or error in the order asked for, or ``END``; raises what ends the map."""
        if self._reader is not None:
            raise BusyError("two tasks take results from the same map at once")
        while not self.finished:
            item = self._pop()
            if item is _NOTHING:
                if self._fault is not None or (self._exhausted and self._yielded == self._taken):
                    await self._finish()
                else:
                    await self._read()
                continue
            self._yielded += 1
            if type(item) is _Failure and self._raises:
                self._fault, item = item.error, None
                await self._finish()
            self.invite()
            return item.error if type(item) is _Failure else item
        return END

    def _pop(self) -> Any:
        if self._ordered:
            return self._in_turn.pop(self._yielded, _NOTHING)
        return self._ready.popleft() if self._ready else _NOTHING

    async def _read(self) -> None:
        """Waits for something to yield; a consumer that is cancelled here ends the map."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        except asyncio.CancelledError:
            self.stop()
            await outlast(self.tasks)
            raise
        finally:
            self._reader = None

    async def _finish(self) -> None:
        """Ends the map, and raises what ended it, if anything did."""
        fault = self._fault
        self.stop()
        await outlast(self.tasks)
        if fault is not None:
            try:
                raise fault
            finally:
                # Its traceback holds this frame: else both would wait for the garbage collector.
                del fault

    def stop(self, fault: BaseException | None = None) -> None:
        """Cancels what runs and forgets the rest; a consumer that comes later gets the fault, or the end."""
        self._fault = fault
        self.finished = fault is None
        self._exhausted = True
        self._source = None
        self._in_turn.clear()
        self._ready.clear()
        self._call_reader()
        if not self._stopped:  # a second cancellation would disturb what ends a command
            self._stopped = True
            for task in self.tasks:
                task.cancel()
        self._retire()

    # -- the side of the workers -----------------------------------------------------------------------------

    def invite(self) -> None:
        """Calls a worker, or hires one, if there is something to take."""
        if self._exhausted or self._pulling or self._full():
            return
        if self._call_worker() or self._workers >= self._pool.capacity(self._on):
            return
        self._workers += 1
        task = asyncio.get_running_loop().create_task(self._work())
        self.tasks.add(task)
        task.add_done_callback(self._gone)

    def _call_worker(self) -> bool:
        while self._parked:
            future = self._parked.popleft()
            if not future.done():
                future.set_result(None)
                return True
        return False

    def _gone(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it is with the consumer: asyncio need not complain that nobody looked
        self._retire()

    def _retire(self) -> None:
        if self._stopped and not self.tasks:
            self._pool.works.discard(self)

    def _full(self) -> bool:
        window = self._window
        if window is None:
            window = 2 * self._pool.capacity(self._on) + _MORE
        return self._taken - self._yielded >= window

    async def _work(self) -> None:
        """One worker: takes a command, runs it, and again, until there are no more or too many workers."""
        try:
            while await self._may_take() and self._workers <= self._pool.capacity(self._on):
                command = await self._take()
                if command is END or self._exhausted:
                    break
                number = self._taken
                self._taken += 1
                self.invite()
                await self._run(number, command)
        except Exception as error:  # noqa: BLE001 - of the input: it goes to the consumer
            self._fail(error)
        except BaseException as error:
            if not self._stopped:  # not by us: then the consumer must hear of it, or wait for ever
                self._fail(type(error)(*error.args))
            raise
        finally:
            self._workers -= 1
            self.invite()

    async def _may_take(self) -> bool:
        """Waits for room in the window, and its turn at the input; false: there are no more commands."""
        while not self._exhausted and (self._pulling or self._full()):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._parked.append(future)
            await future
        return not self._exhausted

    async def _take(self) -> Any:
        """The next command of the input, or ``END``. What the input raises is raised."""
        if self._asynchronous:
            self._pulling = True
            try:
                command = await anext(self._source, END)
            finally:
                self._pulling = False
        else:
            command = next(self._source, END)
        if command is END:
            self._exhaust()
        return command

    async def _run(self, number: int, command: Runnable) -> None:
        try:
            result = await self._pool.run(command, **self._options)
        except Exception as error:  # noqa: BLE001 - it goes to the consumer
            if self._raises:
                self._exhaust()
            self._put(number, _Failure(error))
        else:
            self._put(number, result)

    def _put(self, number: int, item: Any) -> None:
        if self._ordered:
            self._in_turn[number] = item
            if number != self._yielded:
                return
        else:
            self._ready.append(item)
        self._call_reader()

    def _exhaust(self) -> None:
        """Takes no more from the input: the workers leave as they finish."""
        self._exhausted = True
        while self._call_worker():
            pass
        self._call_reader()

    def _fail(self, error: BaseException) -> None:
        self._fault = error
        self._exhaust()

    def _call_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Results(AsyncIterator[Yielded], Generic[Yielded]):
    """The results of a :meth:`Pool.map <warmshell.Pool.map>`, for ``async for``.

    Leaving the loop early cancels what runs. Python gives an iterator no chance to wait when a loop is left
    by ``break`` or by an exception of its body: then the commands end on their own within moments, and the
    pool's ``drain`` and ``aclose`` wait for them. To have them gone when the loop is left, use it as a
    context::

        async with pool.map(commands) as results:
            async for result in results: ...
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Yielded:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            if not self._work.finished:
                self._work.start()
        item = await self._work.next()
        if item is END:
            raise StopAsyncIteration
        return cast("Yielded", item)

    async def aclose(self) -> None:
        """Cancels what runs and returns when it has ended; no more results come."""
        self._work.stop()
        await outlast(self._work.tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        loop = self._loop
        if loop is not None and not self._work.finished and not loop.is_closed():
            # The garbage collector may call from any thread.
            loop.call_soon_threadsafe(self._work.stop)


async def outlast(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Waits until all of them are done; obeys a cancellation that comes meanwhile only then."""
    cancelled: asyncio.CancelledError | None = None
    while pending := {task for task in tasks if not task.done()}:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
