"""A client for a session that another client has left: what its commands write, and what came of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from warmshell.command import DEFAULT_OUTPUT_LIMIT, Result
from warmshell.errors import (
    BusyError,
    ClosedError,
    CommandTimeout,
    ConnectError,
    OutputError,
    ShellLost,
    WarmshellError,
    WorkdirError,
)
from warmshell.protocol import frames
from warmshell.remembered import forget
from warmshell.server import pack
from warmshell.shell.capture import Capture
from warmshell.shell.detachable import Detach, DetachableSession
from warmshell.shell.server_lane import Window
from warmshell.shell.session import new_token
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.connector.place import Place

    Key = tuple[int, int]

_MOST_WAITING = 1024 * 1024  # bytes that have arrived and nobody has asked for
_ACKNOWLEDGE = 64 * 1024  # bytes after which the far end is told that they were made use of
_FRAME = 100  # bytes that a piece costs beside its own
_SIGN = 250  # bytes that a sign of life takes in the spool


@dataclass(frozen=True, slots=True)
class Earlier:
    """A command that the session was given before this client came.

    Attributes:
        text: its words, shortened.
        began: when it was given to the session, in seconds since the epoch.
        running: whether it had not ended when this client came.
        missed: bytes of its standard output and standard error that an earlier client took; they do not come again.
    """

    text: str
    began: float
    running: bool
    missed: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes that a command wrote.

    Attributes:
        command: which.
        stream: 1 for standard output, 2 for standard error.
        data: the bytes.
        again: whether an earlier client may have been given them already.
    """

    command: Earlier
    stream: int
    data: bytes
    again: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a command.

    Attributes:
        command: which.
        result: what came of it; with the output only where it was asked for as a whole.
        error: why there is no result.
        again: whether an earlier client may have been given this already.
    """

    command: Earlier
    result: Result | None
    error: WarmshellError | None
    again: bool

    def check(self) -> Result:
        """The result, if it succeeded.

        Raises:
            WarmshellError: there is none, or its status is not 0.
        """
        if self.error is not None or self.result is None:
            raise self.error or ClosedError("there is no result")
        return self.result.check()


class Attached:
    """This client of a session, as an asynchronous context manager; made by :func:`warmshell.attach`.

    The client that was there before, if any, is told that it is no more. Leaving the context leaves the session to
    itself again, unless all that it was given has ended and was fetched: then it is ended.

    Attributes:
        id: the id of the session.
        commands: what it was given and nobody has fetched.
    """

    def __init__(self, place: Place, session: str) -> None:
        self.id = session
        self.commands: Sequence[Earlier] = ()
        self._place = place
        self._session: DetachableSession | None = None
        self._open: dict[Key, Earlier] = {}
        self._waiting: deque[tuple[int, Key, int, bytes]] = deque()
        self._windows: dict[Key, Window] = {}
        self._size = 0
        self._arrived = asyncio.Event()
        self._used = self._told = 0
        self._untold = 0
        self._spool = 0
        self._firsts: dict[Key, int] = {}  # of running commands whose output was taken but is not acknowledged
        self._handed: tuple[int, Key, Piece | Ended] | None = None
        self._iterating = self._leaving = False

    @property
    def location(self) -> str:
        """The name of its location."""
        return self._place.name

    async def __aenter__(self) -> Self:
        if self._session is not None:
            raise BusyError("the session is attached already")
        await self._place.reach()
        try:
            token = new_token()
            process = await self._place.reopen(pack.attach_line(token, self.id))
            session = self._session = DetachableSession(
                process, token, self.location, reopen=self._place.reopen, detach=Detach(session=self.id),
                acknowledges=False,
            )  # fmt: skip
            session.on_attached = self._on_attached
            session.on_other = self._on_other
            await session.take_over()
        except BaseException:
            await shielded(self._abandon())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await shielded(self._leave())

    async def _abandon(self) -> None:
        if self._session is not None:
            await self._session.abandon()
        await self._place.aclose()

    async def _leave(self) -> None:
        session = self._session
        self._leaving = True
        try:
            if session is None or session.lost is not None:
                return
            if self.commands and not self._open:
                await self._end(session)
            else:
                await session.leave(self._used)
        finally:
            await self._abandon()

    async def end(self) -> None:
        """End the session with everything in it: TERM, a second, KILL.

        Raises:
            ConnectError: it could not be told so.
        """
        self._leaving = True
        if self._session is not None and self._session.lost is None:
            await self._end(self._session)

    async def _end(self, session: DetachableSession) -> None:
        if not await session.end():
            raise ConnectError(f"the session {self.id} could not be told to end", location=self.location)
        forget(self.id)
        await session.abandon()

    # -- what arrives -----------------------------------------------------------------------------------------------

    def _on_attached(self, message: dict[str, Any]) -> None:
        session = self._session
        assert session is not None  # noqa: S101 - for the type checker
        self._used = self._told = session.count
        self._spool = int(message["spool"])
        for known in message["commands"]:
            missed = int(known["taken"][0]), int(known["taken"][1])
            command = Earlier(str(known["command"]), float(known["began"]), bool(known["running"]), missed)
            self._open[int(known["subshell"]), int(known["seq"])] = command
        self.commands = tuple(self._open.values())
        for subshell in {key[0] for key in self._open}:
            session.attach(subshell, _Ear(self, subshell))

    def on_frame(self, subshell: int, kind: int, payload: bytes) -> None:
        """A frame for a subshell."""
        key = subshell, frames.NUMBER.unpack_from(payload)[0]
        session = self._session
        known = key in self._open and kind in (frames.STDOUT, frames.STDERR, frames.RESULT)
        if session is None or not known or self._leaving:
            return
        self._waiting.append((session.count, key, kind, payload[4:]))
        self._size += len(payload) + _FRAME
        if self._size > _MOST_WAITING:
            session.pause()
        self._arrived.set()

    def _on_other(self) -> None:
        """A sign of life: if nothing else waits to be acknowledged, they are not to fill the spool."""
        session = self._session
        if session is None or self._waiting or self._handed is not None or self._leaving:
            return
        if self._firsts and (session.count - self._used) * _SIGN > self._spool // 2:
            self._firsts.clear()
        if not self._firsts:
            self._acknowledge(session.count)

    def on_lost(self) -> None:
        """The session is gone for this client."""
        self._arrived.set()

    # -- what is asked for ------------------------------------------------------------------------------------------

    async def pieces(self) -> AsyncGenerator[Piece | Ended]:
        """What the commands write from the first byte that no client has acknowledged, as it comes, until all ended.

        What was handed out is acknowledged when the next is asked for: what this client was not done with when it is
        killed is handed out again to the next one.

        Raises:
            ConnectError: the session is gone, or another client has taken it over.
        """
        async for handed in self._events():
            self._handed = handed
            yield handed[2]
            self.taken()

    def taken(self) -> None:
        """The last piece was made use of, though no more is asked for."""
        handed, self._handed = self._handed, None
        if handed is not None:
            self._on_used(*handed)

    async def results(self, *, output_limit: int = DEFAULT_OUTPUT_LIMIT) -> AsyncGenerator[Ended]:
        """What came of each command, with its output, in the order in which they end.

        Output of commands that run is acknowledged with their results, so that another client would get all of it,
        unless so much of it comes that the session could not keep it.

        Args:
            output_limit: bytes of each stream that are kept in memory; more goes to a file.

        Raises:
            ConnectError: the session is gone, or another client has taken it over.
            OutputError: the output cannot be kept.
        """
        captures: dict[Key, tuple[Capture, Capture]] = {}
        held = 0
        async for number, key, event in self._events():
            both = captures.setdefault(key, (Capture(output_limit), Capture(output_limit)))
            if isinstance(event, Piece):
                both[event.stream - 1].feed(event.data)
                held += len(event.data)
                if held > self._spool // 2:
                    held = 0
                    self._firsts.clear()
                else:
                    self._firsts.setdefault(key, number)
                self._grant(key, len(event.data))
                self._acknowledge(number)
            else:
                self._handed = number, key, event
                yield _with_output(event, both)
                del captures[key]
                self.taken()

    async def _events(self) -> AsyncIterator[tuple[int, Key, Piece | Ended]]:
        session = self._session
        if session is None or self._iterating:
            raise BusyError("the session is not attached, or somebody asks for its output already")
        self._iterating = True
        try:
            while self._open:
                while not self._waiting:
                    if session.lost is not None:
                        raise ConnectError(f"the session {self.id} is gone: {session.lost}", location=self.location)
                    self._arrived.clear()
                    await self._arrived.wait()
                number, key, kind, data = self._waiting.popleft()
                self._size -= len(data) + 4 + _FRAME
                if self._size < _MOST_WAITING // 2:
                    session.resume()
                yield number, key, self._event(session, number, key, kind, data)
        finally:
            self._iterating = False

    def _event(self, session: DetachableSession, number: int, key: Key, kind: int, data: bytes) -> Piece | Ended:
        command, again = self._open[key], number <= session.again
        if kind != frames.RESULT:
            return Piece(command, kind - frames.STDOUT + 1, data, again)
        result = Result(
            -1, started=command.began, ended=time.time(), location=self.location, shell=self.id, command=command.text
        )
        error = _outcome(json.loads(data), result)
        return Ended(command, result if error is None else None, error, again)

    def _on_used(self, number: int, key: Key, event: Piece | Ended) -> None:
        """Whoever asked is done with it."""
        if isinstance(event, Ended):
            self._firsts.pop(key, None)
            self._close(key)
        else:
            self._grant(key, len(event.data))
            self._untold += len(event.data)
        now = isinstance(event, Ended) or not self._waiting or self._untold > _ACKNOWLEDGE
        self._acknowledge(number, now=now)

    def _close(self, key: Key) -> None:
        del self._open[key]
        self._windows.pop(key, None)
        if self._session is not None:
            self._session.send_later(frames.pack_numbered(frames.ACK, *key))

    def _grant(self, key: Key, size: int) -> None:
        session = self._session
        if session is None or session.lost is not None:
            return
        if key not in self._windows:
            self._windows[key] = Window(session, asyncio.get_running_loop().time)
        more = self._windows[key].consumed(size)
        if more:
            session.send(frames.pack_numbered(frames.CREDIT, *key, frames.NUMBER.pack(more)))

    def _acknowledge(self, used: int, *, now: bool = True) -> None:
        self._used = max(self._used, min([used, *[first - 1 for first in self._firsts.values()]]))
        if now and self._used > self._told and self._session is not None:
            self._told, self._untold = self._used, 0
            self._session.acknowledge(self._used)


class _Ear:
    """Hears what comes for one subshell."""

    def __init__(self, attached: Attached, subshell: int) -> None:
        self._attached = attached
        self._subshell = subshell

    def on_frame(self, kind: int, payload: bytes) -> None:
        self._attached.on_frame(self._subshell, kind, payload)

    def on_lost(self, _why: str) -> None:
        self._attached.on_lost()


def _with_output(ended: Ended, captures: tuple[Capture, Capture]) -> Ended:
    stdout, stderr = (capture.value() for capture in captures)
    bare, error = ended.result, ended.error
    if isinstance(error, CommandTimeout):
        error.result = _filled(error.result, stdout, stderr)
    return Ended(ended.command, None if bare is None else _filled(bare, stdout, stderr), error, ended.again)


def _filled(bare: Result, stdout: Any, stderr: Any) -> Result:
    return Result(
        bare.returncode, stdout, stderr, started=bare.started, ended=bare.ended, location=bare.location,
        shell=bare.shell, command=bare.command,
    )  # fmt: skip


def _outcome(outcome: dict[str, Any], result: Result) -> WarmshellError | None:
    """Give the result its status; else why it has none."""
    about: dict[str, Any] = {"command": result.command, "location": result.location}
    if "no_directory" in outcome:
        return WorkdirError("the working directory cannot be entered", **about)
    if "no_target" in outcome:
        return OutputError(f"the target of its output cannot be opened: {outcome['no_target']}", **about)
    if "lost" in outcome:
        return ShellLost(f"its shell {outcome['lost']}", started=outcome.get("started", "unknown"), **about)
    result.returncode = int(outcome["status"] if "status" in outcome else outcome["shell_ended"])
    if outcome.get("timeout"):
        return CommandTimeout("the command did not end in time; it and its descendants were ended", result=result)
    return None
