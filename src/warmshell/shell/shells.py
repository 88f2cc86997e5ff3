"""The warm shells of a location: grown on demand up to a limit, shrunk when idle, replaced when old or gone."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from warmshell.errors import ClosedError, ConnectError, WarmshellError
from warmshell.shell.lane import Lane

_FULL = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many warm shells there may be, and for how long.

    Attributes:
        most: shells at once.
        idle_seconds: an idle shell is let go after this long.
        age_seconds: a shell older than this is replaced after its command.
        commands: a shell is replaced after this many commands.
    """

    most: int = 32
    idle_seconds: float = 60.0
    age_seconds: float = 3600.0
    commands: int = 1_000_000

    def __post_init__(self) -> None:
        if isinstance(self.most, bool) or not isinstance(self.most, int) or self.most < 1:
            raise ValueError(f"the number of shells is a whole number of at least 1, not {self.most!r}")


@dataclass(frozen=True, slots=True)
class ShellStatistics:
    """How many shells there are.

    Attributes:
        idle: shells that wait for a command.
        busy: shells that execute one.
        starting: shells that are being started.
        waiting: callers that wait for a shell.
        started: shells started so far.
        retired: shells ended so far.
    """

    idle: int
    busy: int
    starting: int
    waiting: int
    started: int
    retired: int


class Shells:
    """Hands out warm shells, one caller each at a time; waiting callers are served in order.

    Args:
        start: starts one more shell.
        limits: how many, and for how long.
    """

    def __init__(self, start: Callable[[], Awaitable[Lane]], limits: Limits) -> None:
        self._start = start
        self.limits = limits
        self._idle: list[Lane] = []
        self._busy: set[Lane] = set()
        self._starting = 0
        self._waiters: deque[asyncio.Future[Lane | None]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._started = self._retired = 0
        self.closed = False

    def take(self) -> Lane | None:
        """An idle shell that is fit for a command, if there is one: the last used, as its caches are the warmest."""
        while self._idle:
            lane = self._idle.pop()
            if self._is_fit(lane, self._loop.time()):
                self._busy.add(lane)
                return lane
            self._retire(lane)
        return None

    async def acquire(self) -> Lane:
        """A shell: an idle one, a new one, or the next that somebody gives back.

        Raises:
            ClosedError: the location was closed.
            ConnectError: no shell could be started.
        """
        while True:
            if self.closed:
                raise ClosedError("the location is closed")
            lane = self.take()
            if lane is None and len(self._busy) + self._starting < self.limits.most:
                lane = await self._grow()
            if lane is None:  # one may have come back meanwhile
                lane = self.take() or await self._wait()
            if lane is not None:
                return lane

    async def _grow(self) -> Lane | None:
        """One more shell; none if there is no room for it now, and another one will be given back."""
        self._starting += 1
        try:
            lane = await self._start()
        except BaseException as error:
            self._starting -= 1
            # Others who wait would only find the same: they get what is given back, or the error of the last to start.
            if (self._busy or self._starting) and _is_full(error) and not self.closed:
                return None
            self._wake(None)
            raise
        self._starting -= 1
        self._started += 1
        self._busy.add(lane)
        return lane

    async def _wait(self) -> Lane | None:
        waiter: asyncio.Future[Lane | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # handed over in the moment of cancelling: pass it on
                lane = waiter.result()
                if lane is None:
                    self._wake(None)
                else:
                    self.release(lane)
            raise

    def _wake(self, lane: Lane | None) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(lane)
                return True
        return False

    def release(self, lane: Lane) -> None:
        """Give a shell back after its command; one that is not fit any more is let go."""
        if self.closed or not self._is_fit(lane, lane.idle_since):
            self._busy.discard(lane)
            self._retire(lane)
            self._wake(None)
        elif not (self._waiters and self._wake(lane)):
            self._busy.discard(lane)
            self._idle.append(lane)
            if self._timer is None:
                self._timer = self._loop.call_later(self.limits.idle_seconds, self._shrink)

    def _is_fit(self, lane: Lane, now: float) -> bool:
        if not lane.alive or lane.busy is not None or lane.served >= self.limits.commands:
            return False
        return now - lane.born < self.limits.age_seconds

    def _shrink(self) -> None:
        self._timer = None
        border = self._loop.time() - self.limits.idle_seconds
        old = [lane for lane in self._idle if lane.idle_since <= border or not lane.alive]
        self._idle = [lane for lane in self._idle if lane not in old]
        for lane in old:
            self._retire(lane)
        if self._idle:
            oldest = min(lane.idle_since for lane in self._idle)
            self._timer = self._loop.call_at(oldest + self.limits.idle_seconds, self._shrink)

    def _retire(self, lane: Lane) -> None:
        self._retired += 1
        task = self._loop.create_task(lane.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def statistics(self) -> ShellStatistics:
        """How many shells there are now."""
        waiting = sum(not waiter.done() for waiter in self._waiters)
        return ShellStatistics(len(self._idle), len(self._busy), self._starting, waiting, self._started, self._retired)

    async def aclose(self) -> None:
        """Let all shells go; busy ones are ended with their commands."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._waiters:
            self._wake(None)
        for lane in [*self._idle, *self._busy]:
            self._retire(lane)
        self._idle.clear()
        self._busy.clear()
        while self._closing:
            done, _ = await asyncio.wait(self._closing)
            for task in done:
                if (error := task.exception()) is not None and not isinstance(error, WarmshellError):
                    raise error


def _is_full(error: BaseException) -> bool:
    """Whether the machine has no descriptor, process or memory left for one more, rather than a defect."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # a far machine has only told of it
    return isinstance(error, ConnectError) and getattr(cause, "errno", None) in _FULL
