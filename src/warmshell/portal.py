"""An event loop in a thread of its own, for callers that block: what :mod:`warmshell.blocking` stands on."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import threading
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, Generic, ParamSpec, TypeVar

from warmshell.errors import BusyError, ClosedError

P = ParamSpec("P")
T = TypeVar("T")

_END: Final = object()


class _Call(Generic[T]):
    """One coroutine on its way through the loop, and the thread that waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._loop = loop
        self._work = work
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False
        self._done = threading.Lock()  # held until the task is done: the quickest thing to wait for
        self._done.acquire()

    def wait(self) -> T:
        """Run it to its end; what interrupts the wait (Ctrl-C, a signal's handler) cancels it, and goes on then.

        Raises:
            ClosedError: it was cancelled by another than this thread.
        """
        try:
            self._loop.call_soon_threadsafe(self._start)
            with self._done:
                pass
        except BaseException:
            self._loop.call_soon_threadsafe(self._cancel)
            with self._done:  # until what it ran is gone; another Ctrl-C does not wait for that
                pass
            raise
        assert self._task is not None  # noqa: S101 - for the type checker
        try:
            return self._task.result()
        except asyncio.CancelledError:
            raise ClosedError("it was closed by another thread, or at the end of the program") from None
        finally:
            del self._task  # the error's traceback holds this frame

    def _start(self) -> None:
        if self._cancelled:
            self._done.release()
            return
        self._task = self._loop.create_task(self._work(), context=self._context)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # nobody looks if the wait was interrupted
        self._done.release()


class Portal:
    """One event loop in one thread, shared by all that hold it; it ends when the last lets go."""

    _present: Portal | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._holders = 0
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warmshell-blocking", daemon=True)
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:  # Ctrl-C in this very moment
            self._ready.wait()
            self._end()
            raise
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.get_loop()  # fails here, where there are no descriptors for it, and not with a coroutine in hand
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - no descriptors for a loop, and the like
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._ready.set()
        await self._over.wait()

    def _end(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    @classmethod
    def hold(cls) -> Portal:
        """The portal of this process, started if nobody holds it yet; every hold needs a :meth:`release`."""
        with cls._lock:
            if cls._present is None:
                cls._present = cls()
            cls._present._holders += 1  # noqa: SLF001 - its own
            return cls._present

    def release(self) -> None:
        """Let go; the last one to do so ends the thread."""
        if self.inherited:
            return
        with self._lock:
            self._holders -= 1
            if self._holders:
                return
            if Portal._present is self:
                Portal._present = None
        self._end()

    @classmethod
    def forget(cls) -> None:
        """In a forked child: the thread is not here, and the lock may be held by one that is not here either."""
        cls._present = None
        cls._lock = threading.Lock()

    @property
    def inherited(self) -> bool:
        """Whether this process is a fork of the one that has the thread."""
        return self.pid != os.getpid()

    def call(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call on the loop and wait for what comes of it.

        Raises:
            ClosedError: in a fork of the process that has the loop; or it was cancelled by another thread.
            BusyError: called by the loop's own thread, which would wait for itself.
        """
        if self.inherited:
            raise ClosedError(
                "it belongs to the process that opened it, of which this one is a fork",
                hint="connect again here, or fork before connecting",
            )
        if threading.get_ident() == self._thread.ident:
            raise BusyError(
                "a blocking call on the event loop's own thread would wait for itself",
                hint="await the asynchronous twin there",
            )
        with self._lock:  # held as long as it lasts: the loop does not end under it
            self._holders += 1
        try:
            return _Call(self._loop, partial(function, *args, **kwargs)).wait()
        finally:
            self.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Portal.forget)


async def pulled(source: Iterable[T]) -> AsyncIterator[T]:
    """The items of an iterable that may block, such as a generator or a file: advanced by a thread of its own.

    That thread ends with the iterable, or when nobody wants more of it: a ``next`` under way is not waited for.
    """
    loop = asyncio.get_running_loop()
    wanted: queue.SimpleQueue[asyncio.Future[Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_pull, args=(source, wanted, loop), name="warmshell-input", daemon=True).start()
    try:
        while True:
            future: asyncio.Future[Any] = loop.create_future()
            wanted.put(future)
            item = await future
            if item is _END:
                return
            yield item
    finally:
        wanted.put(None)


def _pull(
    source: Iterable[Any], wanted: queue.SimpleQueue[asyncio.Future[Any] | None], loop: asyncio.AbstractEventLoop
) -> None:
    iterator = None
    while (future := wanted.get()) is not None:
        try:
            iterator = iter(source) if iterator is None else iterator
            settle = partial(_settle, future, next(iterator, _END), None)
        except BaseException as error:  # noqa: BLE001 - the consumer gets it
            settle = partial(_settle, future, None, error)
        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle)
        del settle, future
    if isinstance(iterator, types.GeneratorType):
        iterator.close()


def _settle(future: asyncio.Future[Any], item: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(item)
    else:
        # A future takes no StopIteration, and a generator of the caller's must not end the loop's thread.
        future.set_exception(error if isinstance(error, Exception) else RuntimeError(f"the input raised {error!r}"))
