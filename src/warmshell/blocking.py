"""The same without ``async``: every name here does what its asynchronous twin does, and waits for it.

::

    import warmshell.blocking

    with warmshell.blocking.connect("local:") as here:
        print(here.run(["echo", "hello"]).text)

All that is open shares one event loop in a background thread, which ends with the outermost context. Objects may be
used from several threads at once, and also where an asyncio event loop runs, which stands still meanwhile. Ctrl-C, and
every other exception that a signal's handler raises, ends the command that is waited for and then goes on. After
:func:`os.fork`, the child must connect anew.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Self, TypeVar, overload

import warmshell.attached
import warmshell.connector
import warmshell.detached
import warmshell.location
import warmshell.pool
import warmshell.process
import warmshell.shell
from warmshell.command import Command, Result, Words
from warmshell.errors import ClosedError, LocationError
from warmshell.portal import Portal, pulled
from warmshell.process import CHUNK
from warmshell.transfer.blocking import Transfers, copy

if TYPE_CHECKING:
    from warmshell.attached import Earlier, Ended, Piece
    from warmshell.detached import SessionInfo
    from warmshell.path.blocking import RemotePath
    from warmshell.path.pure import Part
    from warmshell.pool.pool import Caps
    from warmshell.pool.runner import Runnable
    from warmshell.pool.statistics import Statistics
    from warmshell.shell.shells import ShellStatistics

P = ParamSpec("P")
T = TypeVar("T")
_Answer = TypeVar("_Answer")

__all__ = [
    "Attached", "Location", "Pool", "Process", "Receiver", "Results", "Sender", "Shell",
    "attach", "connect", "copy", "end_session", "sessions",
]  # fmt: skip


def connect(where: str = "local:", **options: Any) -> Location:
    """A location, warm, as a context manager; see :func:`warmshell.connect`."""
    return Location(warmshell.connector.connect(where, **options))


def attach(session: str, on: str | None = None, **options: Any) -> Attached:
    """The client of a session that was left, as a context manager; see :func:`warmshell.attach`."""
    return Attached(warmshell.detached.attach(session, on, **options))


def sessions(where: str = "local:", **options: Any) -> list[SessionInfo]:
    """The sessions at a location that can outlive their client; see :func:`warmshell.sessions`."""
    return _once(warmshell.detached.sessions, where, **options)


def end_session(session: str, on: str | None = None, **options: Any) -> None:
    """End a session with everything in it; see :func:`warmshell.end_session`."""
    _once(warmshell.detached.end_session, session, on, **options)


def _once(function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    portal = Portal.hold()
    try:
        return portal.call(function, *args, **kwargs)
    finally:
        portal.release()


class _Open(Generic[T]):
    """An asynchronous context entered from a thread that blocks.

    Args:
        make: makes the asynchronous context manager, on the loop's thread.
        what: what it is, for messages.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T, bool | None]], what: str) -> None:
        self._make = make
        self._what = what
        self._portal: Portal | None = None
        self._context: AbstractAsyncContextManager[T, bool | None] | None = None
        self._inner: T | None = None
        self._left = False

    def __enter__(self) -> Self:
        if self._portal is not None or self._left:
            raise ClosedError(f"the {self._what} was entered before", hint="make a new one")
        portal = Portal.hold()
        try:
            portal.call(self._enter)
        except BaseException:
            try:
                if self._inner is not None:  # interrupted when it was there already
                    portal.call(self._leave)
            finally:
                portal.release()
            raise
        self._portal = portal
        return self

    async def _enter(self) -> None:
        self._context = self._make()
        self._inner = await self._context.__aenter__()

    async def _leave(self) -> None:
        if self._context is not None:
            await self._context.__aexit__(None, None, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it with everything that runs in it; see ``aclose`` of the asynchronous twin."""
        portal, self._portal, self._left = self._portal, None, True
        if portal is None or portal.inherited:  # a fork has nothing of it: its parent has
            return
        try:
            portal.call(self._leave)
        finally:
            portal.release()

    def _here(self) -> tuple[Portal, T]:
        if self._portal is None or self._inner is None:
            state = "closed" if self._left else "not open: use 'with'"
            raise ClosedError(f"the {self._what} is {state}")
        return self._portal, self._inner

    def _ask(self, function: Callable[[T], Coroutine[Any, Any, _Answer]]) -> _Answer:
        portal, inner = self._here()
        return portal.call(function, inner)


class Location(_Open[warmshell.location.Location], Transfers):
    """One place where commands run, made by :func:`connect`; a context manager. See :class:`warmshell.Location`."""

    def __init__(self, location: warmshell.location.Location) -> None:
        super().__init__(lambda: location, "location")
        self._location = location

    @property
    def name(self) -> str:
        """The location's name, as results and errors give it."""
        return self._location.name

    def run(self, what: Words | str | Command, **options: Any) -> Result:
        """Run one command, isolated; see :meth:`warmshell.Location.run`.

        ``stdin=`` also takes an iterable of ``bytes``, such as a file or a generator, read by a thread of its own.
        """
        _take_stdin(options)
        return self._ask(lambda inner: inner.run(what, **options))

    def open(self, what: Words | str | Command, **options: Any) -> Process:
        """Start a process of its own, as a context manager; see :meth:`warmshell.Location.open`."""
        _, inner = self._here()
        return Process(lambda: inner.open(what, **options))

    def shell(self, shell: str | None = None) -> Shell:
        """A shell whose state persists, as a context manager; see :meth:`warmshell.Location.shell`."""
        _, inner = self._here()
        return Shell(lambda: inner.shell(shell))

    def detach(self, what: Words | str | Command | None = None, **options: Any) -> str:
        """Leave its session to go on without a client; see :meth:`warmshell.Location.detach`."""
        _take_stdin(options)
        return self._ask(lambda inner: inner.detach(what, **options))

    def sessions(self) -> list[SessionInfo]:
        """The sessions here that can outlive their client; see :func:`warmshell.sessions`."""
        return self._ask(lambda inner: inner.sessions())

    def path(self, *parts: Part) -> RemotePath:
        """A path of this location; see :meth:`warmshell.Location.path`."""
        from warmshell.path.blocking import RemotePath

        return RemotePath(self, *parts)

    @property
    def inner(self) -> warmshell.location.Location:
        """The asynchronous twin."""
        return self._location

    @property
    def portal(self) -> Portal:
        """The way to its loop.

        Raises:
            ClosedError: the location is not open.
        """
        return self._here()[0]

    def ask(self, work: Callable[[warmshell.location.Location], Coroutine[Any, Any, T]]) -> T:
        """Do work with the asynchronous twin, on the loop's thread, and wait for it."""
        return self._ask(work)

    def statistics(self) -> ShellStatistics:
        """How many warm shells there are, and what they do."""
        return self._ask(lambda inner: _now(inner.statistics))

    def __repr__(self) -> str:
        return f"<blocking {self._location!r}>"


class Shell(_Open[warmshell.shell.Shell]):
    """One persistent shell; see :class:`warmshell.Shell`. Made by :meth:`Location.shell` and :meth:`subshell`."""

    def __init__(self, make: Callable[[], warmshell.shell.Shell]) -> None:
        super().__init__(make, "shell")

    @property
    def id(self) -> str:
        """Its name in results."""
        return "" if self._inner is None else self._inner.id

    @property
    def alive(self) -> bool:
        """Whether it can be given commands."""
        return self._portal is not None and self._inner is not None and self._inner.alive

    def run(self, what: Words | str | Command, **options: Any) -> Result:
        """Run one command in this shell; see :meth:`warmshell.Shell.run`."""
        _take_stdin(options)
        return self._ask(lambda inner: inner.run(what, **options))

    def subshell(self) -> Shell:
        """A concurrent shell that starts from a copy of this one's state; see :meth:`warmshell.Shell.subshell`."""
        _, inner = self._here()
        return Shell(inner.subshell)


class Process(_Open[warmshell.process.Process]):
    """A running program; see :class:`warmshell.Process`. Made by :meth:`Location.open`.

    Attributes:
        stdin: what the program reads.
        stdout: what it writes to standard output.
        stderr: what it writes to standard error.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[warmshell.process.Process, bool | None]]) -> None:
        super().__init__(make, "process")

    def __enter__(self) -> Self:
        super().__enter__()
        portal, inner = self._here()
        self.stdin = Sender(portal, inner.stdin)
        self.stdout = Receiver(portal, inner.stdout)
        self.stderr = Receiver(portal, inner.stderr)
        return self

    def wait(self) -> int:
        """The exit status, once the program has ended; Ctrl-C interrupts the wait and leaves the program alone."""
        return self._ask(lambda inner: inner.wait())

    def kill(self, grace: float = 1.0) -> None:
        """End the program and all its descendants."""
        self._ask(lambda inner: inner.kill(grace))


class Attached(_Open[warmshell.attached.Attached]):
    """The client of a session that was left; see :class:`warmshell.Attached`. Made by :func:`attach`."""

    def __init__(self, attached: warmshell.attached.Attached) -> None:
        super().__init__(lambda: attached, "session")
        self._attached = attached
        self.id = attached.id

    @property
    def location(self) -> str:
        """The name of its location."""
        return self._attached.location

    @property
    def commands(self) -> Sequence[Earlier]:
        """What it was given and nobody has fetched."""
        return self._attached.commands

    def pieces(self) -> Results[Piece | Ended]:
        """What its commands write, as it comes; see :meth:`warmshell.Attached.pieces`."""
        portal, inner = self._here()
        return Results(portal, inner.pieces())

    def results(self, **options: Any) -> Results[Ended]:
        """What came of each command; see :meth:`warmshell.Attached.results`."""
        portal, inner = self._here()
        return Results(portal, inner.results(**options))

    def taken(self) -> None:
        """The last piece was made use of, though no more is asked for."""
        self._ask(lambda inner: _now(inner.taken))

    def end(self) -> None:
        """End the session with everything in it."""
        self._ask(lambda inner: inner.end())


class Sender:
    """Bytes given in order; see ``ByteSendStream``."""

    def __init__(self, portal: Portal, stream: warmshell.process.ByteSendStream) -> None:
        self._portal = portal
        self._stream = stream

    def send(self, data: bytes) -> None:
        """Hand over all of ``data``."""
        self._portal.call(self._stream.send, data)

    def close(self) -> None:
        """The end of the stream for the reader: a half-close."""
        self._portal.call(self._stream.aclose)


class Receiver:
    """Bytes that arrive in order; see ``ByteReceiveStream``. Iterating gives pieces as they come."""

    def __init__(self, portal: Portal, stream: warmshell.process.ByteReceiveStream) -> None:
        self._portal = portal
        self._stream = stream

    def receive(self, max_bytes: int = CHUNK) -> bytes:
        """At least one byte and at most ``max_bytes``; ``b""`` at the end of the stream."""
        return self._portal.call(self._stream.receive, max_bytes)

    def read(self) -> bytes:
        """Everything up to the end of the stream, in memory."""
        return self._portal.call(self._stream.read)

    def close(self) -> None:
        """Stop reading. The writer meets a closed pipe."""
        self._portal.call(self._stream.aclose)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.receive():
            yield data


class Pool(_Open[warmshell.pool.Pool]):
    """Runs many commands over many locations; see :class:`warmshell.Pool`.

    Args:
        locations: open locations of this module.
        size: how many commands may run at once.
        per_location: how many of them may run at once at each location.
    """

    def __init__(
        self, locations: Location | Iterable[Location], size: int | None = None, *, per_location: Caps = None
    ) -> None:
        inner = _inner(locations) if isinstance(locations, Location) else [_inner(each) for each in _many(locations)]
        pool = warmshell.pool.Pool(inner, size, per_location=per_location)
        super().__init__(lambda: pool, "pool")
        self._pool = pool

    def run(self, command: Runnable, *, on: str | Location | None = None, **options: Any) -> Result:
        """Run one command as soon as there is a slot for it; see :meth:`warmshell.Pool.run`."""
        _take_stdin(options)
        return self._ask(lambda inner: inner.run(command, on=_inner(on), **options))

    @overload
    def map(
        self, commands: Iterable[Runnable], *, ordered: bool = True, errors: Literal["raise"] = "raise",
        window: int | None = None, on: str | Location | None = None, **options: Any,
    ) -> Results[Result]: ...  # fmt: skip

    @overload
    def map(
        self, commands: Iterable[Runnable], *, ordered: bool = True, errors: Literal["return"],
        window: int | None = None, on: str | Location | None = None, **options: Any,
    ) -> Results[Result | Exception]: ...  # fmt: skip

    def map(
        self, commands: Iterable[Runnable], *, on: str | Location | None = None, **options: Any
    ) -> Results[Any]:  # fmt: skip
        """Run many commands; iterate over what comes of them. See :meth:`warmshell.Pool.map`.

        An iterable that is no sequence is advanced by a thread of its own, so that it may block, and may call this
        module too.
        """
        portal, _ = self._here()
        _take_stdin(options)
        pull = isinstance(commands, Iterable) and not isinstance(commands, Sequence)

        async def start(pool: warmshell.pool.Pool) -> warmshell.pool.Results[Any]:
            return pool.map(pulled(commands) if pull else commands, on=_inner(on), **options)

        return Results(portal, self._ask(start))

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._pool.closed

    def capacity(self, on: str | Location | None = None) -> int:
        """How many commands can run at once; see :meth:`warmshell.Pool.capacity`."""
        return self._ask(lambda inner: _now(inner.capacity, _inner(on)))

    def resize(self, size: int | None = None, *, per_location: Caps = None) -> None:
        """Change the bounds at once; see :meth:`warmshell.Pool.resize`."""
        self._ask(lambda inner: _now(inner.resize, size, per_location=per_location))

    def statistics(self) -> Statistics:
        """What runs, waits and was done, at this moment."""
        return self._ask(lambda inner: _now(inner.statistics))

    def drain(self) -> None:
        """Wait until no command runs and none waits for a slot. The pool stays open."""
        self._ask(lambda inner: inner.drain())


class Results(Generic[T]):
    """What comes of a :meth:`Pool.map` or of a session, as an iterator and a context manager."""

    def __init__(self, portal: Portal, results: warmshell.pool.Results[T] | AsyncGenerator[T]) -> None:
        self._portal = portal
        self._results = results

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        found, item = self._portal.call(_next, self._results)
        if not found:
            raise StopIteration
        return item  # type: ignore[return-value]  # it was found

    def close(self) -> None:
        """Cancel what runs and return when it has ended; no more results come."""
        self._portal.call(self._results.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _next(results: AsyncIterator[T]) -> tuple[bool, T | None]:
    try:
        return True, await anext(results)
    except StopAsyncIteration:
        return False, None


async def _now(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What is no coroutine, on the loop's thread nevertheless."""
    return function(*args, **kwargs)


def _inner(where: Any) -> Any:
    """The asynchronous twin of a location; names and the like stay what they are."""
    if isinstance(where, warmshell.location.Location):
        raise LocationError(f"an asynchronous location cannot be used by blocking calls: {where!r}")
    if isinstance(where, Location):
        return where._here()[1]  # noqa: SLF001 - of this module
    return where


def _many(locations: object) -> Iterable[Any]:
    if isinstance(locations, str | bytes) or not isinstance(locations, Iterable):
        raise LocationError(f"a pool takes locations, not {locations!r}", hint="connect() first")
    return locations


def _take_stdin(options: dict[str, Any]) -> None:
    stdin = options.get("stdin")
    if isinstance(stdin, Iterable) and not isinstance(
        stdin, bytes | bytearray | memoryview | str | PathLike | AsyncIterable
    ):
        options["stdin"] = pulled(stdin)
