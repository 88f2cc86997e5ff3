"""The client's end of a detachable session: it outlives its connections, and nothing of it is lost or comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from warmshell.errors import ConnectError, LocationError, WarmshellError
from warmshell.protocol import frames
from warmshell.protocol.resume import ReceivedCount, SentLog
from warmshell.server import pack
from warmshell.shell.session import LEASE, Gone, Outbox, Session, new_token

if TYPE_CHECKING:
    from warmshell.process import Process

_ALWAYS = 3e8  # the server's own lease: it is the link that watches over a detachable session
_HANDSHAKE_SECONDS = 20.0
_SILENCE = 20.0
_BEAT = 5.0
_ACKNOWLEDGE_SECONDS = 0.25
_FIRST_DELAY, _MOST_DELAY = 0.1, 5.0
_END_SECONDS = 10.0
_MOST_WAITING = 4 * 1024 * 1024  # bytes of standard input that may wait for a connection

SPOOL = 256 * 1024 * 1024
"""Bytes of output that are kept at the far end for a client that is away."""


class SessionLeft(RuntimeWarning):
    """A session could not be told to end: it goes on without a client, until its lease is over."""


def new_session_id() -> str:
    """An id for a session, made by its client."""
    return token_hex(6)


@dataclass(frozen=True, slots=True)
class Detach:
    """How a session outlives its connection.

    Attributes:
        lease: seconds that it lasts without a client; ``None``: until somebody ends it.
        spool: bytes of output that are kept meanwhile; then the commands that write more have to wait.
        session: its id.
    """

    lease: float | None = LEASE
    spool: int = SPOOL
    session: str = field(default_factory=new_session_id)


Reopen = Callable[[bytes], Awaitable["Process"]]
"""Opens a process at the location that runs a line of its shell."""


class DetachableSession(Session):
    """A session that goes on when its connection is cut.

    Args:
        process: its first connection.
        token: what the hello must carry.
        location: the name of the location.
        reopen: makes the next connection.
        detach: how it outlives this one.
        acknowledges: whether what arrives is acknowledged by itself; else by :meth:`acknowledge`.

    Attributes:
        detach_options: how it outlives its connection.
        again: the number of frames that an earlier client may have made use of.
        on_attached: told what the far end says when it is taken over, before anything else arrives.
        on_other: told of frames that are about no subshell, if nothing is acknowledged by itself.
    """

    def __init__(
        self, process: Process, token: str, location: str, *, reopen: Reopen, detach: Detach, acknowledges: bool = True
    ) -> None:
        super().__init__(process, token, location)
        self._reopen = reopen
        self.detach_options = detach
        self._acknowledges = acknowledges
        self._log = SentLog()
        self._received = ReceivedCount()
        self._epoch: int | None = None
        self._handshake: asyncio.Future[None] | None = None
        self._connected = self._closing = self._owing = False
        self._acknowledged = asyncio.Event()
        self._parting: asyncio.Future[None] | None = None
        self._passed = 0
        self._paused = self._delivered = False
        self.on_attached: Callable[[dict[str, Any]], None] = _ignore
        self.on_other: Callable[[], None] = _ignore
        self._on_lease(detach.lease)
        self.again = 0

    def _on_lease(self, lease: float | None) -> None:
        self.detach_options = replace(self.detach_options, lease=lease)
        self._control_seconds = None if lease is None else lease + 60.0
        self._beats = _BEAT if lease is None else min(_BEAT, lease / 4)

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self, archive: bytes, **options: Any) -> None:  # noqa: ARG002 - the delivery contains it
        rest = await self._greet(b"python")
        self._delivered = True
        detach = self.detach_options
        self._outbox.put(pack.delivery({"session": detach.session, "lease": detach.lease, "spool": detach.spool}))
        await self._resume(rest)
        self.facts = await self.ask("start", lease=_ALWAYS, **options)
        self._task(self._beat())

    async def take_over(self) -> None:
        """Become the client of a session that another one began; its line was :func:`pack.attach_line`.

        Raises:
            Gone: there is no such session.
            ConnectError: it cannot be had.
        """
        await self._resume(await self._greet(b"attach"))
        self._delivered = True
        self._task(self._beat())

    async def _resume(self, rest: bytes) -> None:
        """Say what was received, hear the same, and send again what is missing."""
        self._decoder = frames.FrameDecoder()
        self._handshake = self._loop.create_future()
        try:
            known = None if self._epoch is None else self._received.count
            self._say(session=self.detach_options.session, received=known, epoch=self._epoch)
            self._listen(rest)
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                await self._handshake
        except TimeoutError:
            raise ConnectError("the session does not answer", location=self._location) from None
        finally:
            self._handshake = None
            self._paused = False

    def _say(self, **message: Any) -> None:
        self._outbox.put(frames.pack(frames.ATTACH, 0, json.dumps(message).encode()))

    def _on_attach(self, message: dict[str, Any]) -> None:
        handshake = self._handshake
        if "error" in message:
            error = Gone(str(message["error"]), location=self._location)
            if handshake is not None and not handshake.done():
                handshake.set_exception(error)
            else:
                self._lose(error.message)
            return
        if "left" in message:
            if self._parting is not None and not self._parting.done():
                self._parting.set_result(None)
            return
        if handshake is None or handshake.done():
            raise ValueError("an answer to nothing")
        if self._epoch is None:
            self._epoch = int(message["epoch"])
            self._received = ReceivedCount(int(message["first"]))
            self._log.close()
            self._log = SentLog(int(message["received"]))
            self.again = int(message["sent"])
            self._on_lease(message["lease"])
            self.on_attached(message)
        self._log.acknowledge(int(message["received"]))
        for frame in self._log.since(int(message["received"])):
            self._outbox.put(frame)
        self._passed = self._log.end
        self._connected = True
        handshake.set_result(None)

    async def _beat(self) -> None:
        while self.lost is None:
            if self._connected:
                self._ping()
            await asyncio.sleep(self._beats)
            if self._connected and not self._paused and self._loop.time() - self._heard > _SILENCE:
                self._cut("the far end has been silent for too long")

    # -- connections that are cut -----------------------------------------------------------------------------------

    def _on_end(self) -> None:
        self._cut("the connection has ended")

    def _on_broken(self, why: str) -> None:
        self._cut(why)

    def _cut(self, why: str) -> None:
        """The connection is of no use any more: make another."""
        handshake = self._handshake
        if handshake is not None:
            if not handshake.done():
                handshake.set_exception(ConnectError(why, location=self._location))
            return
        if self._connected and self.lost is None:
            self._connected = False
            if self._parting is not None and not self._parting.done():
                self._parting.set_exception(ConnectError(why, location=self._location))
            if not self._closing:
                self._task(self._reconnect(why))

    async def _reconnect(self, why: str) -> None:
        lease = self.detach_options.lease
        until = float("inf") if lease is None else self._loop.time() + lease
        delay = _FIRST_DELAY
        while self.lost is None:
            try:
                await self._connect_again()
            except Gone as error:
                self._lose(f"{why}; {error.message}")
            except (WarmshellError, OSError) as error:
                if self._loop.time() >= until:
                    self._lose(f"{why}; it could not be reached again: {error}")
                    return
                await asyncio.sleep(delay * (0.5 + random.random()))  # noqa: S311 - jitter
                delay = min(2 * delay, _MOST_DELAY)
            else:
                return

    async def _connect_again(self) -> None:
        await self._dispose()
        token = new_token()
        self._process = await self._reopen(pack.attach_line(token, self.detach_options.session))
        self._token = token.encode()
        self._outbox = Outbox(self._process, self._on_broken)
        self._heard = self._loop.time()
        await self._resume(await self._greet(b"attach"))

    async def _dispose(self) -> None:
        """Give up the connection that there was."""
        if self._stop_reading is not None:
            self._stop_reading()
            self._stop_reading = None
        await self._outbox.aclose()
        await self._process.stdin.aclose()
        with contextlib.suppress(WarmshellError, OSError):
            await self._process.aclose()

    # -- talking ----------------------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        if self.lost is not None:
            return
        self._log.append(frame)
        if self._connected:
            self._outbox.put(frame)
            self._passed = self._log.end

    def send_later(self, frame: bytes) -> None:
        if self.lost is not None:
            return
        self._log.append(frame)
        if self._connected:
            self._outbox.put_later(frame)
            self._passed = self._log.end

    async def flushed(self) -> None:
        while self._log.size > _MOST_WAITING and self.lost is None:
            self._acknowledged.clear()
            await self._acknowledged.wait()

    @property
    def unsent(self) -> bool:
        return not self._connected or super().unsent

    @property
    def connected(self) -> bool:
        return self._connected and self.lost is None

    def mark(self) -> int:
        return self._log.end

    def passed(self, mark: int) -> bool:
        return self._passed >= mark

    # -- listening --------------------------------------------------------------------------------------------------

    def _on_data(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            for kind, number, payload in self._decoder.feed(data):
                self._on_any(kind, number, payload)
        except frames.MISUNDERSTOOD as error:
            self._lose(f"the far end sent what is no frame: {error!r}")

    def _on_any(self, kind: int, number: int, payload: bytes) -> None:
        if kind == frames.ACKNOWLEDGE:
            self._log.acknowledge(int.from_bytes(payload, "big"))
            self._acknowledged.set()
        elif kind == frames.ATTACH:
            self._on_attach(json.loads(payload))
        else:
            due = self._received.add(len(payload))
            self._on_frame(kind, number, payload)
            if self._acknowledges:
                self._owe(due)
            elif kind == frames.CONTROL:
                self.on_other()

    @property
    def count(self) -> int:
        """How many frames were received in the life of the session, the present one included."""
        return self._received.count

    def hold(self) -> None:
        """Acknowledge nothing by itself from now on: another client is to get it."""
        self._acknowledges = False

    def pause(self) -> None:
        """Take nothing more for now."""
        if self._stop_reading is not None and self._connected and not self._paused:
            self._paused = True
            self._stop_reading()

    def resume(self) -> None:
        """Take what comes again."""
        if self._paused and self._connected:
            self._paused = False
            self._heard = self._loop.time()
            self._stop_reading = self._process.stdout.subscribe(self._on_data, self._on_end)

    def _owe(self, due: bool) -> None:
        if due:
            self.acknowledge()
        elif not self._owing:
            self._owing = True
            self._loop.call_later(_ACKNOWLEDGE_SECONDS, self._on_owing)

    def _on_owing(self) -> None:
        self._owing = False
        if self.lost is None and self._acknowledges:
            self.acknowledge()

    def acknowledge(self, used: int | None = None) -> None:
        """Tell the far end that what has arrived need not be kept any longer.

        Args:
            used: so many frames of it; all that have arrived.
        """
        if self._connected and used is not None:
            self._outbox.put(frames.pack(frames.ACKNOWLEDGE, 0, frames.COUNT.pack(used)))
        elif self._connected and self._received.owed:
            self._outbox.put(self._received.acknowledgement())

    # -- ending -----------------------------------------------------------------------------------------------------

    def _lose(self, why: str) -> None:
        super()._lose(why)
        self._connected = False
        for waiter in (self._handshake, self._parting):
            if waiter is not None and not waiter.done():
                waiter.set_exception(ConnectError(why, location=self._location))
        self._acknowledged.set()
        self._log.close()

    async def aclose(self) -> None:
        """End the session and everything in it, also at the far end; where that cannot be reached, say so."""
        if self._delivered and not await self.end():
            lease = self.detach_options.lease
            until = "until somebody ends it" if lease is None else f"until nobody has been there for {lease:g} s"
            warnings.warn(
                f"the session {self.detach_options.session} at {self._location} could not be told to end: "
                f"what runs in it goes on {until}",
                SessionLeft, stacklevel=2,
            )  # fmt: skip
        await super().aclose()

    async def end(self) -> bool:
        """Have the far end end the session; whether it is certain to have heard that."""
        self._closing = True
        if self.lost is not None:
            return True
        if self._tasks and not self._connected:
            await self._stop_tasks()
        self.resume()  # or its last words keep the far end from going
        try:
            async with asyncio.timeout(_END_SECONDS):
                if not self._connected:
                    await self._connect_again()
                self._say(end=True)
                await self._outbox.flushed()
                return await self._process.wait() == 0  # of the relay there, not of what carries its streams
        except Gone:
            return True
        except (WarmshellError, OSError, TimeoutError):
            return self.lost is not None

    async def _stop_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def abandon(self) -> None:
        """Let go of the connection, without a word to the far end."""
        self._closing = True
        self._lose("the session was let go")
        await super().aclose()

    async def leave(self, used: int | None = None, lease: float | None = None) -> None:
        """Let the session go on without a client; return when the far end has all that was sent.

        Args:
            used: how many of the frames that have arrived this client has made use of; another gets the others. All.
            lease: another lease than the session has had; ``inf``: none.

        Raises:
            ConnectError: it cannot be reached.
        """
        self._closing = True
        used = self._received.count if used is None else used
        self.resume()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._part(used, {} if lease is None else {"lease": None if lease == float("inf") else lease})
        except asyncio.CancelledError:  # it was not left, and is ended with what it belongs to
            self._parting = None
            self._closing = False
            if not self._connected and self.lost is None:
                self._task(self._reconnect("the connection has ended"))
            raise
        except (WarmshellError, OSError, TimeoutError) as error:
            await self.abandon()
            why = str(error) or "it does not answer"
            name = self.detach_options.session
            raise ConnectError(f"what the session {name} does is not certain: {why}", location=self._location) from None
        await self.abandon()

    async def _part(self, used: int, more: dict[str, Any]) -> None:
        if self.lost is not None:
            raise ConnectError(f"the session is gone: {self.lost}", location=self._location)
        for attempt in (1, 2):
            if not self._connected:
                await self._stop_tasks()
                await self._connect_again()
            self._parting = self._loop.create_future()
            self._say(leave=True, used=used, **more)
            try:
                await self._parting
            except ConnectError:
                if attempt == 2:
                    raise
            else:
                return


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


def session_for(process: Process, token: str, location: str, reopen: Reopen, detach: Detach | None) -> Session:
    """A session over a process; a detachable one, with an id of its own, if it is to outlive it."""
    if detach is None:
        return Session(process, token, location)
    own = Detach(detach.lease, detach.spool)
    return DetachableSession(process, token, location, reopen=reopen, detach=own)


def detach_of(given: object) -> Detach | None:
    """How sessions outlive their connection, as ``detach=`` says it; ``None``: not at all.

    Raises:
        LocationError: it says nothing of the kind.
    """
    if given is None or given is False:
        return None
    if given is True:
        return Detach()
    if isinstance(given, Detach):
        return given
    if not isinstance(given, int | float) or not given > 0 or 1e8 < given < float("inf"):
        raise LocationError(f"detach= is True, or a number of seconds that may be 'inf', not {given!r}")
    return Detach(None if given == float("inf") else float(given))
