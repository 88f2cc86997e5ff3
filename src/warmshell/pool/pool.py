"""The pool as its users see it: the decisions of :mod:`warmshell.pool.slots`, and the waiting around them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from warmshell.command import Command
from warmshell.errors import ClosedError, CommandError, LocationError, ShellLost
from warmshell.pool.map import Results, Work, outlast
from warmshell.pool.slots import Slots, Waiter
from warmshell.pool.statistics import LocationStatistics, Statistics

if TYPE_CHECKING:
    from types import TracebackType

    from warmshell.command import Result
    from warmshell.pool.runner import Commands, Runnable, Runner

Caps = int | Mapping[str, int] | None
"""How many commands may run at once at each location: one number, or a number by name."""


class Pool:
    """Runs many commands over many locations, so many at a time and no more.

    Every command gets a slot before it starts and holds it until it has ended. Slots are granted in the order
    of asking, at the location with the most room. The pool belongs to one event loop; it does not open or
    close the locations it was given.

    Args:
        locations: one location or several, each with a name of its own.
        size: how many commands may run at once; by default the sum of the caps, or, if a location has none,
            the number of processors of this machine (at least one command a location).
        per_location: how many of them may run at once at each location, for all or by name; no limit by
            default.

    Raises:
        LocationError: no locations, something that is none, two of one name, a cap for a name that is none of
            them.
        ValueError: a size or a cap that is not a whole number of at least 1.
    """

    def __init__(
        self, locations: Runner | Iterable[Runner], size: int | None = None, *, per_location: Caps = None
    ) -> None:
        self._runners = _runners(locations)
        self._by_name = {runner.name: at for at, runner in enumerate(self._runners)}
        caps = self._caps(per_location)
        size = _default_size(caps) if size is None else _count(size, "the size of a pool")
        self._slots: Slots[asyncio.Future[None]] = Slots(size, caps)
        self._closed = False
        # The tasks whose commands run, each with the cancellations it had when its command began; and those
        # of them that aclose() cancelled.
        self._running: dict[asyncio.Task[Any], int] = {}
        self._ended: dict[asyncio.Task[Any], int] = {}
        self._idle: list[asyncio.Future[None]] = []
        self.works: set[Work] = set()  # the maps under way, which enter and leave by themselves
        self._done = self._failed = self._cancelled = self._failovers = 0

    async def run(self, command: Runnable, *, on: str | Runner | None = None, **options: Any) -> Result:
        """Runs one command as soon as there is a slot for it.

        A command whose shell was lost before it had started is given once to every other location (or, if
        there is no other, once more to the same one), ahead of those that wait. No other is run again.

        Args:
            command: as for ``Location.run``.
            on: the only location to run at, or its name; by default the one with the most room.
            **options: as for ``Location.run``.

        Raises:
            ClosedError: the pool was closed before the command began; nothing was run.
            ShellLost: also when the pool was closed while the command ran; it was ended then.
            LocationError: ``on`` is no location of this pool.
        """
        where = self._where(on)
        if (at := self._slots.take(where)) is None:
            at = await self._admit(self._wait(where))
        tried: list[int] = []
        task = asyncio.current_task()
        while True:
            if task is not None:
                self._running[task] = task.cancelling()
            try:
                result = await self._runners[at].run(command, **options)
            except BaseException as error:
                tried.append(at)
                again = self._elsewhere(error, tried, where, command, options)
                if again is None:
                    self._raise(error, task, command)
                    raise
                # It asks before it leaves, ahead of all others: so the slot that it leaves comes back to it.
                waiter = self._wait(again, front=True)
            else:
                self._done += 1
                return result
            finally:
                self._leave(at, task)
            at = await self._admit(waiter)

    @overload
    def map(
        self,
        commands: Commands,
        *,
        ordered: bool = True,
        errors: Literal["raise"] = "raise",
        window: int | None = None,
        on: str | Runner | None = None,
        **options: Any,
    ) -> Results[Result]: ...

    @overload
    def map(
        self,
        commands: Commands,
        *,
        ordered: bool = True,
        errors: Literal["return"],
        window: int | None = None,
        on: str | Runner | None = None,
        **options: Any,
    ) -> Results[Result | Exception]: ...

    def map(
        self,
        commands: Commands,
        *,
        ordered: bool = True,
        errors: Literal["raise", "return"] = "raise",
        window: int | None = None,
        on: str | Runner | None = None,
        **options: Any,
    ) -> Results[Any]:
        """Runs many commands and yields what came of them; starts when the first result is asked for.

        Args:
            commands: any iterable or async iterable, also an endless one. It is read no further than
                ``window`` commands ahead of the results taken, so that a slow consumer slows it down.
            ordered: whether results come in the order of the commands, or as they are ready.
            errors: ``"raise"``: a command that ends in an error instead of a result ends the loop with it, in
                its turn, once the others are cancelled; ``"return"``: the error is yielded in its place.
            window: how many commands may be taken from the input and not yet yielded; by default twice what
                can run at once, and a few.
            on: the only location to run at, or its name.
            **options: as for ``Location.run``, for every command.

        Raises:
            ClosedError: the pool was closed.
            CommandError: ``commands`` is one command, or not iterable.
            ValueError: a window that is not a whole number of at least 1, or another word for ``errors``.
        """
        self._where(on)
        if errors not in ("raise", "return"):
            raise ValueError(f'errors is "raise" or "return", not {errors!r}')
        _check_many(commands)
        if window is not None:
            _count(window, "the window of a map")
        if on is not None:
            options["on"] = on
        work = Work(self, commands, options, ordered=ordered, raises=errors == "raise", window=window)
        return Results(work)

    @property
    def closed(self) -> bool:
        """Whether :meth:`aclose` was called."""
        return self._closed

    def capacity(self, on: str | Runner | None = None) -> int:
        """How many commands can run at once, in all or at one location, whatever runs now."""
        return self._slots.capacity if on is None else self._slots.limit(self._find(on))

    def resize(self, size: int | None = None, *, per_location: Caps = None) -> None:
        """Changes the bounds at once; what is left out stays. Commands that run are never ended by this.

        Raises:
            LocationError: a cap for a name that is no location of this pool.
            ValueError: a size or a cap that is not a whole number of at least 1.
        """
        size = self._slots.size if size is None else _count(size, "the size of a pool")
        caps = self._slots.caps if per_location is None else self._caps(per_location, self._slots.caps)
        for waiter in self._slots.resize(size, caps):
            _wake(waiter)
        for work in self.works:
            work.invite()

    def statistics(self) -> Statistics:
        """What runs, waits and was done, at this moment."""
        slots = self._slots
        locations = {
            name: LocationStatistics(slots.running_at[at], slots.waiting_at(at), slots.caps[at])
            for name, at in self._by_name.items()
        }
        return Statistics(
            size=slots.size,
            running=slots.running,
            waiting=slots.waiting,
            done=self._done,
            failed=self._failed,
            cancelled=self._cancelled,
            failovers=self._failovers,
            most_running=slots.most_running,
            most_waiting=slots.most_waiting,
            locations=MappingProxyType(locations),
        )

    async def drain(self) -> None:
        """Waits until no command runs and none waits for a slot. The pool stays open."""
        if self._slots.running:
            await self._idleness()

    async def aclose(self) -> None:
        """Closes the pool: refuses those that wait, cancels what runs, and returns when it has ended.

        To let everything finish instead, call :meth:`drain` first. A cancellation that comes meanwhile is
        obeyed when the commands have ended, not before.
        """
        if not self._closed:
            self._closed = True
            for waiter in self._slots.clear():
                _wake(waiter)
            for work in list(self.works):
                work.stop(_closed())
            self._end_running()
        ending: set[asyncio.Future[Any]] = {task for work in self.works for task in work.tasks}
        if self._slots.running:
            ending.add(self._idleness())
        await outlast(ending)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        slots = self._slots
        state = " closed," if self._closed else ""
        numbers = f"{slots.running} of {slots.size} running, {slots.waiting} waiting"
        return f"<Pool at {self._names()}:{state} {numbers}>"

    # -- slots -----------------------------------------------------------------------------------------------

    def _wait(self, where: int | None, *, front: bool = False) -> Waiter[asyncio.Future[None]]:
        return self._slots.wait(asyncio.get_running_loop().create_future(), where, front=front)

    async def _admit(self, waiter: Waiter[asyncio.Future[None]]) -> int:
        """Waits for the slot of a waiter; a slot that comes together with a cancellation is passed on."""
        at = waiter.at
        if at is not None:
            return at
        try:
            await waiter.owner
        except BaseException:
            if waiter.at is not None:
                self._release(waiter.at)
            else:
                self._slots.cancel(waiter)
            raise
        at = waiter.at
        if at is not None and self._closed:
            self._release(at)
        if at is None or self._closed:
            raise _closed()
        return at

    def _leave(self, at: int, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            self._running.pop(task, None)
            if self._ended and self._ended.pop(task, None) is not None:
                task.uncancel()  # the command ended otherwise, in spite of aclose()
        self._release(at)

    def _release(self, at: int) -> None:
        waiter = self._slots.give(at)
        if waiter is not None:
            _wake(waiter)
        elif self._idle and not self._slots.running:
            for future in self._idle:
                if not future.done():
                    future.set_result(None)
            self._idle.clear()

    def _idleness(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(future)
        return future

    # -- errors ----------------------------------------------------------------------------------------------

    def _elsewhere(
        self,
        error: BaseException,
        tried: list[int],
        where: int | None,
        command: Runnable,
        options: dict[str, Any],
    ) -> int | None:
        """Where to run a command again that has not started; ``None``: nowhere."""
        if not isinstance(error, ShellLost) or error.started != "no" or self._closed:
            return None
        stdin = command.stdin if isinstance(command, Command) else options.get("stdin")
        if isinstance(stdin, AsyncIterable):  # some of it may be read already, and cannot be read again
            return None
        if where is not None or len(self._runners) == 1:
            again = tried[0] if len(tried) == 1 else None
        else:
            others = [at for at in range(len(self._runners)) if at not in tried]
            again = max(others, key=self._slots.free, default=None)
        if again is not None:
            self._failovers += 1
        return again

    def _raise(self, error: BaseException, task: asyncio.Task[Any] | None, command: Runnable) -> None:
        """Counts an error that goes to the caller; if it is a cancellation by ``aclose``, raises another."""
        if isinstance(error, Exception):
            self._failed += 1
            return
        self._cancelled += 1
        start = self._ended.pop(task, None) if task is not None else None
        if task is not None and start is not None and task.uncancel() <= start:
            raise ShellLost(
                "the pool was closed while the command ran, which was ended",
                started="unknown",
                command=_shown(command),
            ) from None

    def _end_running(self) -> None:
        """Cancels the commands that run, by way of their tasks, as a timeout does."""
        current = asyncio.current_task()
        for task, start in self._running.items():
            if task is not current and task.cancelling() <= start:
                self._ended[task] = start
                task.cancel()

    # -- locations -------------------------------------------------------------------------------------------

    def _where(self, on: str | Runner | None) -> int | None:
        """The one location wanted, or ``None`` for any; for an open pool only."""
        if self._closed:
            raise _closed()
        return None if on is None else self._find(on)

    def _find(self, on: str | Runner) -> int:
        name = on if isinstance(on, str) else getattr(on, "name", None)
        at = self._by_name.get(name) if isinstance(name, str) else None
        if at is None or (on is not name and on is not self._runners[at]):
            raise LocationError(f"no location of this pool: {on!r}", hint=f"it has {self._names()}")
        return at

    def _names(self) -> str:
        return ", ".join(list(self._by_name)[:5]) + (", …" if len(self._by_name) > 5 else "")

    def _caps(self, given: Caps, old: tuple[int | None, ...] | None = None) -> list[int | None]:
        if not isinstance(given, Mapping):
            every = None if given is None else _count(given, "a cap per location")
            return [every] * len(self._runners)
        caps: list[int | None] = [None] * len(self._runners) if old is None else list(old)
        for name, cap in given.items():
            caps[self._find(name)] = _count(cap, f"the cap of {name!r}")
        return caps


def _wake(waiter: Waiter[asyncio.Future[None]]) -> None:
    """Lets the task of a waiter go on, with its slot or (after a close) without.

    One that was cancelled goes on anyway, and passes the slot on in the same turn of the event loop.
    """
    if not waiter.owner.done():
        waiter.owner.set_result(None)


def _runners(locations: Runner | Iterable[Runner]) -> tuple[Runner, ...]:
    if isinstance(locations, str | bytes):
        raise LocationError(f"a pool takes locations, not their URLs: {locations!r}", hint="connect() first")
    if _is_runner(locations):
        return (locations,)  # type: ignore[return-value]  # just looked
    if not isinstance(locations, Iterable):
        raise LocationError(f"not a location: {locations!r}", hint="enter connect() with `async with` first")
    runners = tuple(locations)
    if not runners:
        raise LocationError("a pool needs at least one location")
    names = set()
    for runner in runners:
        if not _is_runner(runner):
            raise LocationError(f"not a location: {runner!r}", hint="enter connect() with `async with` first")
        if runner.name in names:
            raise LocationError(
                f"two locations of a pool have the same name: {runner.name!r}", hint="connect(…, name=…) gives another"
            )
        names.add(runner.name)
    return runners


def _is_runner(value: object) -> bool:
    return isinstance(getattr(value, "name", None), str) and callable(getattr(value, "run", None))


def _count(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} is a whole number of at least 1, not {value!r}")
    return value


def _default_size(caps: list[int | None]) -> int:
    known = [cap for cap in caps if cap is not None]
    if len(known) == len(caps):
        return sum(known)
    affinity = getattr(os, "sched_getaffinity", None)  # what this process may use; not known on macOS
    processors = len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
    return max(processors, len(caps))


def _check_many(commands: object) -> None:
    if isinstance(commands, str | bytes | Command):
        raise CommandError(f"map takes many commands, not one: {commands!r}", hint="put it into a list")
    if not isinstance(commands, Iterable | AsyncIterable):
        raise CommandError(f"map takes an iterable of commands, not {type(commands).__name__}")


def _shown(command: Runnable) -> str:
    try:
        return str(command if isinstance(command, Command) else Command(command))
    except CommandError:  # a runner of another kind may take other things
        return repr(command)


def _closed() -> ClosedError:
    return ClosedError("the pool is closed")
