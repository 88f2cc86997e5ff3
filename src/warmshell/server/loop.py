"""An event loop of just what the session server needs: descriptors, timers, signals and calls from threads."""

from __future__ import annotations

import heapq
import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Call = tuple[Callable[..., object], tuple[Any, ...]]

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT

_EVENTS = 64  # told of at once; room for a thousand, as by default, is asked of the C library at every turn
_DAY = 86400.0  # the kernel counts milliseconds, and not beyond some weeks


class Timer:
    """A call that is due at some time, unless it is cancelled.

    Attributes:
        when: when it is due, on the loop's clock.
        callback: what is called; ``None``: nobody waits for it any more.
    """

    __slots__ = ("_args", "callback", "when")

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when = when
        self.callback: Callable[..., object] | None = callback
        self._args = args

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Do not call."""
        self.callback = None
        self._args = ()

    def fire(self) -> None:
        """Call, unless it was cancelled."""
        callback, args = self.callback, self._args
        self.cancel()
        if callback is not None:
            callback(*args)


class Loop:
    """Waits for descriptors, timers, signals and threads, and calls back; it sleeps while nothing happens."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Call] = {}
        self._writers: dict[int, Call] = {}
        self._soon: list[Call] = []
        self._timers: list[Timer] = []
        self._from_threads: list[Call] = []
        self._signals: dict[int, Call] = {}
        self._running = False
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.add_reader(self._wake, self._on_wake)

    # -- descriptors ------------------------------------------------------------------------------------------------

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """Call whenever the descriptor can be read, or its other side is gone."""
        known = fd in self._readers or fd in self._writers
        self._readers[fd] = (callback, args)
        self._register(fd, known)

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """Call whenever the descriptor can be written."""
        known = fd in self._readers or fd in self._writers
        self._writers[fd] = (callback, args)
        self._register(fd, known)

    def remove_reader(self, fd: int) -> None:
        """Call no more for reading; no error if nobody asked for it."""
        if self._readers.pop(fd, None) is not None:
            self._unregister(fd)

    def remove_writer(self, fd: int) -> None:
        """Call no more for writing; no error if nobody asked for it."""
        if self._writers.pop(fd, None) is not None:
            self._unregister(fd)

    def on_hang_up(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """Call when the other side of a descriptor is gone that is not read now; :meth:`remove_writer` ends it."""
        self._writers[fd] = (callback, args)
        self._epoll.register(fd, 0)  # the kernel always tells of errors

    def _mask(self, fd: int) -> int:
        return (select.EPOLLIN if fd in self._readers else 0) | (select.EPOLLOUT if fd in self._writers else 0)

    def _register(self, fd: int, known: bool) -> None:
        if known:
            self._epoll.modify(fd, self._mask(fd))
        else:
            self._epoll.register(fd, self._mask(fd))

    def _unregister(self, fd: int) -> None:
        if fd in self._readers or fd in self._writers:
            self._epoll.modify(fd, self._mask(fd))
        else:
            self._epoll.unregister(fd)

    # -- calls ------------------------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Call in the next turn."""
        self._soon.append((callback, args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call after so many seconds."""
        timer = Timer(self.time() + delay, callback, args)
        heapq.heappush(self._timers, timer)
        return timer

    def call_from_thread(self, callback: Callable[..., object], *args: Any) -> None:
        """Call in the loop's own thread; the one method that another thread may use."""
        self._from_threads.append((callback, args))
        self._ring()

    def on_signal(self, number: int, callback: Callable[..., object], *args: Any) -> None:
        """Call when the signal arrives, in a turn of the loop rather than anywhere."""
        self._signals[number] = (callback, args)
        signal.signal(number, _nothing)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def _ring(self) -> None:
        try:  # noqa: SIM105 - contextlib is slow to import
            os.write(self._waker, b"\0")
        except BlockingIOError:
            pass  # it is awake

    def _on_wake(self) -> None:
        numbers = set(os.read(self._wake, 4096))
        calls, self._from_threads = self._from_threads, []
        for number in numbers:
            if number in self._signals:
                calls.append(self._signals[number])
        self._soon.extend(calls)

    @staticmethod
    def time() -> float:
        """The clock of the timers."""
        return time.monotonic()

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Wait and call until :meth:`stop`."""
        self._running = True
        while self._running:
            # Once more when time is up: a process that was stopped meanwhile is told of nothing at first.
            for fd, events in self._epoll.poll(self._patience(), _EVENTS) or self._epoll.poll(0, _EVENTS):
                self._dispatch(fd, events)
            # After the descriptors: what has arrived in time counts, however late this process gets its turn.
            if self._timers and self._timers[0].when <= time.monotonic():
                self._fire_timers()
            if self._soon:
                calls, self._soon = self._soon, []
                for callback, args in calls:
                    callback(*args)

    def stop(self) -> None:
        """Leave :meth:`run` at the end of this turn."""
        self._running = False

    def _patience(self) -> float:
        if self._soon:
            return 0.0
        timers = self._timers
        while timers:
            first = timers[0]
            if first.callback is not None:
                left = first.when - time.monotonic()
                return 0.0 if left < 0.0 else min(_DAY, left)
            heapq.heappop(timers)
        return -1.0

    def _dispatch(self, fd: int, events: int) -> None:
        if events != _OUT:
            call = self._readers.get(fd)
            if call is not None:
                call[0](*call[1])
        if events != _IN:
            call = self._writers.get(fd)
            if call is not None:
                call[0](*call[1])

    def _fire_timers(self) -> None:
        now, timers = self.time(), self._timers
        while timers and (timers[0].when <= now or timers[0].callback is None):
            heapq.heappop(timers).fire()


def _nothing(_number: int, _frame: object) -> None:
    """A handler must be set for a signal to ring."""
