"""A session of asyncssh as a process: three byte streams and a status."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal

import asyncssh

from warmshell.connector.far.in_turn import InTurn
from warmshell.connector.far.received import Received
from warmshell.errors import ClosedError
from warmshell.process import Process

_AHEAD = 256 * 1024  # bytes kept for a slow reader, and for a slow connection
_PIECE = 64 * 1024
_CLOSE_SECONDS = 1.0
_KILLED = 128 + signal.SIGKILL
_UNKNOWN = 255  # the status of a session that ended without one, as the OpenSSH client has it


class Session(asyncssh.SSHClientSession[bytes]):
    """What asyncssh tells of a session.

    Attributes:
        channel: its channel, once there is one.
        status: how its program ended; ``None``: not that anybody knows.
        ended: set with it when the session is over.
        writable: waits while much is still to be sent.
    """

    channel: asyncssh.SSHClientChannel[bytes]

    def __init__(self) -> None:
        self.stdout = Received(self._flow)
        self.stderr = Received(self._flow)
        self.status: int | None = None
        self.ended = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self._paused = self._resuming = False

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.channel = chan
        chan.set_write_buffer_limits(high=_AHEAD)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        (self.stdout if datatype is None else self.stderr).feed(data)
        self._flow()

    def _flow(self) -> None:
        """The far end waits while nobody reads; a channel has one window for both streams."""
        if self._resuming:
            return
        full = max(self.stdout.size, self.stderr.size) > _AHEAD
        if full and not self._paused:
            self._paused = True
            self.channel.pause_reading()
        elif self._paused and not full:
            self._paused = False
            asyncio.get_running_loop().call_soon(self._resume)  # not inside the reader's turn: it feeds this

    def _resume(self) -> None:
        if self._paused:
            return
        # All that the channel holds at once: it lets the far end send a whole window more for any piece that is taken,
        # however much it still holds.
        self._resuming = True
        self.channel.resume_reading()
        self._resuming = False
        self._flow()

    def eof_received(self) -> bool:
        self.stdout.end()
        self.stderr.end()
        return True  # standard input stays open

    def exit_status_received(self, status: int) -> None:
        self.status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002
        self.status = _signal_status(signal)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - that it ended is all that matters
        self.finish()

    def finish(self) -> None:
        """Nothing more will come of it."""
        self.ended.set()
        self.writable.set()
        self.eof_received()


class Sent(InTurn):
    """What a session is to read."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    async def _give(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            await self._session.writable.wait()
            self._write(data[start : start + _PIECE])

    def _write(self, data: bytes) -> None:
        if self._closed:
            raise ClosedError("the stream is closed")
        if self._session.ended.is_set():
            raise BrokenPipeError(errno.EPIPE, "the session has ended")
        self._session.channel.write(data)

    def send_some(self, data: bytes) -> int:
        if self._sending or self._closed or not self._session.writable.is_set():
            return 0
        self._write(data[:_PIECE])
        return min(len(data), _PIECE)

    async def _end(self) -> None:
        self._session.channel.write_eof()


class SessionProcess(Process):
    """The near end of a session; what the far end started there, others end."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.stdin = Sent(session)
        self.stdout = session.stdout
        self.stderr = session.stderr

    @property
    def lost(self) -> bool:
        """Whether it ended without a status: not by itself."""
        return self._session.ended.is_set() and self._session.status is None

    async def wait(self) -> int:
        await self._session.ended.wait()
        return _UNKNOWN if self._session.status is None else self._session.status

    async def kill(self, grace: float = 1.0) -> None:  # noqa: ARG002 - there is nobody to be asked
        session = self._session
        if session.ended.is_set():
            return
        session.channel.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):  # then the host takes another session
                await session.ended.wait()
        if session.status is None:
            session.status = _KILLED
        session.finish()

    async def aclose(self) -> None:
        await self.kill()
        await self.stdin.aclose()
        await self.stdout.aclose()
        await self.stderr.aclose()


def _signal_status(name: str) -> int:
    number = getattr(signal, f"SIG{name}", None)
    return 128 + number if isinstance(number, signal.Signals) else _UNKNOWN
