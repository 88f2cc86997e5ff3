"""The client's end of a detachable session: it outlives its connections, and nothing of it is lost or comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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
        again: the number of frames that an earlier client may have seen.
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
        self._control_seconds = None if detach.lease is None else detach.lease + 60.0
        self._beats = _BEAT if detach.lease is None else min(_BEAT, detach.lease / 4)
        self.again = 0

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self, archive: bytes, **options: Any) -> None:  # noqa: ARG002 - the delivery contains it
        rest = await self._greet(b"python")
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
        if handshake is None or handshake.done():
            raise ValueError("an answer to nothing")
        if self._epoch is None:
            self._epoch = int(message["epoch"])
            self._received = ReceivedCount(int(message["first"]))
            self._log.close()
            self._log = SentLog(int(message["received"]))
            self.again = int(message["sent"])
        self._log.acknowledge(int(message["received"]))
        for frame in self._log.since(int(message["received"])):
            self._outbox.put(frame)
        self._connected = True
        handshake.set_result(None)

    async def _beat(self) -> None:
        while self.lost is None:
            if self._connected:
                self._ping()
            await asyncio.sleep(self._beats)
            if self._connected and self._loop.time() - self._heard > _SILENCE:
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

    def send_later(self, frame: bytes) -> None:
        if self.lost is not None:
            return
        self._log.append(frame)
        if self._connected:
            self._outbox.put_later(frame)

    async def flushed(self) -> None:
        while self._log.size > _MOST_WAITING and self.lost is None:
            self._acknowledged.clear()
            await self._acknowledged.wait()

    @property
    def unsent(self) -> bool:
        return not self._connected or super().unsent

    # -- listening --------------------------------------------------------------------------------------------------

    def _on_data(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            for kind, number, payload in self._decoder.feed(data):
                self._on_any(kind, number, payload)
        except (ValueError, KeyError, TypeError) as error:
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

    @property
    def count(self) -> int:
        """How many frames were received in the life of the session, the present one included."""
        return self._received.count

    def _owe(self, due: bool) -> None:
        if due:
            self.acknowledge()
        elif not self._owing:
            self._owing = True
            self._loop.call_later(_ACKNOWLEDGE_SECONDS, self._on_owing)

    def _on_owing(self) -> None:
        self._owing = False
        if self.lost is None:
            self.acknowledge()

    def acknowledge(self) -> None:
        """Tell the far end that what has arrived need not be kept any longer."""
        if self._connected and self._received.owed:
            self._outbox.put(self._received.acknowledgement())

    # -- ending -----------------------------------------------------------------------------------------------------

    def _lose(self, why: str) -> None:
        super()._lose(why)
        self._connected = False
        self._acknowledged.set()
        self._log.close()

    async def aclose(self) -> None:
        """End the session and everything in it, also at the far end; where that cannot be reached, its lease does."""
        self._closing = True
        was_lost, connected = self.lost is not None, self._connected
        if self._tasks and not connected:
            await self._stop_tasks()
        with contextlib.suppress(WarmshellError, OSError, TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                if not was_lost:
                    if not connected:
                        await self._connect_again()
                    self._say(end=True)
                    await self._outbox.flushed()
                    await self._process.wait()
        await super().aclose()

    async def _stop_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.wait(self._tasks)

    async def leave(self) -> None:
        """Let the session go on without a client; return when the far end has all that was sent.

        Raises:
            ConnectError: it cannot be reached.
        """
        await self.ask("ping")  # it is answered after everything that was sent before
        self.acknowledge()
        await self._outbox.flushed()
        self._closing = True
        self._lose("the session was left")
        await super().aclose()


def session_for(process: Process, token: str, location: str, reopen: Reopen, lease: float | None) -> Session:
    """A session over a process; a detachable one if there is a lease."""
    if lease is None:
        return Session(process, token, location)
    return DetachableSession(process, token, location, reopen=reopen, detach=Detach(lease))


def lease_of(given: object) -> float | None:
    """Seconds that a session lasts without a connection; ``None``: it is not to outlive one.

    Raises:
        LocationError: it is no number of seconds.
    """
    if given is None or given is False:
        return None
    if given is True:
        return LEASE
    if not isinstance(given, int | float) or not 0 < given < 1e8:
        raise LocationError(f"detach= is True or a number of seconds, not {given!r}")
    return float(given)
