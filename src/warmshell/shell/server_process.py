"""A process of its own at the far end of a session: its streams share the session's connection."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from warmshell.command import Command
from warmshell.errors import (
    BusyError,
    ClosedError,
    ConnectError,
    ShellLost,
    WorkdirError,
    WorkdirNotADirectory,
    WorkdirNotFound,
)
from warmshell.process import CHUNK, ByteReceiveStream, ByteSendStream, Process
from warmshell.protocol import frames, line
from warmshell.protocol.quoting import quote
from warmshell.protocol.remote import RemoteCommand
from warmshell.shell.diagnose import program_not_found, too_long_for
from warmshell.shell.server_lane import InputCredit, Window
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.errors import Started
    from warmshell.shell.session import Session

_PIECE = 64 * 1024
_KILLED = 128 + 9
_END_SECONDS = 8.0  # beyond the grace, for an answer from the far end


class ServerProcess(Process):
    """A process of the session server. Made by :func:`open_process`.

    Args:
        session: the session.
        location: the name of the location, for errors.
        command: what is run, for errors.

    Attributes:
        number: its number in the session.
    """

    def __init__(self, session: Session, location: str, command: Command) -> None:
        self.number = session.next_process()
        self._session = session
        self._location = location
        self._command = command
        loop = asyncio.get_running_loop()
        self._began: asyncio.Future[None] = loop.create_future()
        self._status: asyncio.Future[int] = loop.create_future()
        self._killed = self._closed = False
        self.stdin: ServerSendStream = ServerSendStream(session, self._say)
        self.stdout: ServerReceiveStream = ServerReceiveStream(session, lambda more: self._allow(0, more))
        self.stderr: ServerReceiveStream = ServerReceiveStream(session, lambda more: self._allow(1, more))

    def _say(self, kind: int, data: bytes = b"") -> None:
        if self._session.lost is None:
            self._session.send(frames.pack_numbered(kind, self.number, 0, data))

    def _allow(self, index: int, more: int) -> None:
        if self._session.lost is None:
            self._session.send(frames.pack_numbered(frames.CREDIT, self.number, index, frames.NUMBER.pack(more)))

    async def start(self, remote: RemoteCommand, options: dict[str, Any]) -> None:
        """Have it started.

        Raises:
            ProgramNotFound: there is no such program.
            WorkdirError: its directory cannot be entered.
            CommandTooLong: no frame can hold it.
            ConnectError: it cannot be started.
            ShellLost: the session was lost.
        """
        if self._session.lost is not None:
            raise ShellLost(
                f"the session is gone: {self._session.lost}", started="no", command=str(self._command),
                location=self._location,
            )  # fmt: skip
        try:
            frame = frames.pack_open(self.number, json.dumps(options).encode(), remote.encode())
        except ValueError as error:
            problem = too_long_for("one frame", self._command, self._location, error)
            _fail(self._status, problem)  # there is nothing to be ended
            raise problem from None
        self._session.attach(self.number, self)
        self._session.send(frame)
        await asyncio.shield(self._began)

    # -- what the far end tells -------------------------------------------------------------------------------------

    def on_frame(self, kind: int, payload: bytes) -> None:
        """A frame about it."""
        data = payload[frames.NUMBER.size :]
        if kind == frames.STDOUT:
            self.stdout.feed(data)
        elif kind == frames.STDERR:
            self.stderr.feed(data)
        elif kind == frames.CREDIT:
            self.stdin.grant(frames.NUMBER.unpack(data)[0])
        elif kind == frames.END_OF_INPUT:
            self.stdin.refuse()
        elif kind == frames.STARTED:
            _resolve(self._began, None)
        elif kind == frames.RESULT:
            self._on_result(json.loads(data))

    def _on_result(self, outcome: dict[str, Any]) -> None:
        if "status" in outcome:
            for stream, size in zip((self.stdout, self.stderr), outcome.get("written", ()), strict=False):
                stream.expect(int(size))
            _resolve(self._status, int(outcome["status"]))
            return
        error = self._why(outcome)
        for waiter in (self._began, self._status):
            _fail(waiter, error)
        self.stdin.refuse()

    def _why(self, outcome: dict[str, Any]) -> Exception:
        """Why it could not be started."""
        if "no_program" in outcome:
            return program_not_found(self._command, self._location)
        number = int(next(iter(outcome.values())))
        said, where = os.strerror(number), {"command": str(self._command), "location": self._location}
        if "no_directory" in outcome:
            kinds = {errno.ENOENT: WorkdirNotFound, errno.ENOTDIR: WorkdirNotADirectory}
            name = (self._command.cwd or b"").decode("utf-8", "replace")
            text = f"the working directory {name!r} cannot be entered: {said}"
            return kinds.get(number, WorkdirError)(text, errno=number, **where)
        return ConnectError(f"the process cannot be started: {said}", errno=number, **where)

    def on_lost(self, why: str) -> None:
        """The session is gone."""
        began = self._began.done() and not self._began.cancelled() and self._began.exception() is None
        started: Started = "yes" if began else "unknown"
        lost = ShellLost(
            f"the connection was lost while the command ran: {why}", started=started, command=str(self._command),
            location=self._location,
        )  # fmt: skip
        _fail(self._began, lost)
        if self._killed:
            _resolve(self._status, _KILLED)
        _fail(self._status, lost)
        self.stdin.refuse()
        for stream in (self.stdout, self.stderr):
            stream.feed(b"")

    # -- what the caller asks for -----------------------------------------------------------------------------------

    async def wait(self) -> int:
        return await asyncio.shield(self._status)

    async def kill(self, grace: float = 1.0) -> None:
        self._killed = True
        try:
            async with asyncio.timeout(_END_SECONDS + grace):
                await self._session.ask("end_process", process=self.number, grace=grace)
                await asyncio.wait([self._status])
        except (ConnectError, TimeoutError):  # the far end has noticed that it is alone, or will
            _resolve(self._status, _KILLED)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        for stream in (self.stdout, self.stderr):
            await stream.aclose()
        try:
            if not self._status.done():
                await self.kill()
        finally:
            self.stdin.close()
            self._say(frames.ACK)
            self._session.detach(self.number)


def _resolve(waiter: asyncio.Future[Any], value: object) -> None:
    if not waiter.done():
        waiter.set_result(value)


def _fail(waiter: asyncio.Future[Any], error: Exception) -> None:
    if not waiter.done():
        waiter.set_exception(error)
        waiter.exception()  # that nobody waits for it is no mistake


class ServerReceiveStream(ByteReceiveStream):
    """What a process writes, as far as it was allowed to be sent.

    Args:
        session: which carries it.
        allow: allows the far end to send so many bytes more.
    """

    def __init__(self, session: Session, allow: Callable[[int], None]) -> None:
        self._window = Window(session, asyncio.get_running_loop().time)
        self._allow = allow
        self._pieces: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = self._closed = False
        self._received = self._expected = 0
        self._settling: asyncio.Future[None] | None = None

    def expect(self, size: int) -> None:
        """The process has ended, and had written so many bytes by then."""
        self._expected = size

    async def settled(self) -> None:
        while self._received < self._expected and not self._ended and not self._closed:
            self._settling = asyncio.get_running_loop().create_future()
            try:
                await self._settling
            finally:
                self._settling = None

    def feed(self, data: bytes) -> None:
        """Bytes from the far end; none: the end."""
        self._received += len(data)
        if data and not self._closed:
            self._pieces.append(data)
        elif data:  # nobody wants it any more, but the far end is not to wait
            self._took(len(data))
        else:
            self._ended = True
        self._wake()

    def _wake(self) -> None:
        for waiter in (self._waiter, self._settling):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _took(self, size: int) -> None:
        more = self._window.consumed(size)
        if more:
            self._allow(more)

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        if self._waiter is not None:
            raise BusyError("another task is reading this stream already")
        while not self._pieces and not self._closed and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._closed:
            raise ClosedError("the stream is closed")
        return self._take(max_bytes) if self._pieces else b""

    def _take(self, most: int) -> bytes:
        piece = self._pieces.popleft()
        if len(piece) > most:
            self._pieces.appendleft(piece[most:])
            piece = piece[:most]
        self._took(len(piece))
        return piece

    def rest(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        if data:
            self._took(len(data))
        return data

    async def aclose(self) -> None:
        self._closed = True
        self.rest()
        self._wake()


class ServerSendStream(ByteSendStream):
    """What a process reads, as far as the far end takes it.

    Args:
        session: which carries it.
        say: sends a frame about the process.
    """

    def __init__(self, session: Session, say: Callable[[int, bytes], None]) -> None:
        self._session = session
        self._say = say
        self._credit = InputCredit()
        self._closed = self._refused = self._sending = False

    def grant(self, size: int) -> None:
        """The far end takes so many more."""
        self._credit.grant(size)

    def refuse(self) -> None:
        """Nobody reads it any more."""
        self._refused = True
        self._credit.close()

    def _check(self) -> None:
        if self._sending:
            raise BusyError("another task is sending on this stream already")
        if self._closed:
            raise ClosedError("the stream is closed")
        if self._refused:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    async def send(self, data: bytes) -> None:
        self._check()
        self._sending = True
        try:
            view = memoryview(data)
            while view:
                room = await self._credit.take(min(len(view), _PIECE))
                if room == 0:
                    self._sending = False
                    self._check()
                self._say(frames.INPUT, bytes(view[:room]))
                view = view[room:]
                await self._session.flushed()
        finally:
            self._sending = False

    async def aclose(self) -> None:
        if not self._closed and not self._refused:
            self._say(frames.END_OF_INPUT, b"")
        self.close()

    def close(self) -> None:
        """Send nothing more; a task that waits to gets ``ClosedError``."""
        self._closed = True
        self._credit.close()


async def open_process(
    session: Session, location: str, command: Command, token: str, size: tuple[int, int] | None
) -> ServerProcess:
    """Start a process of its own.

    Args:
        session: the session.
        location: the name of the location, for errors.
        command: what to run.
        token: what marks everything that the session starts.
        size: rows and columns of its terminal, if it is to have one.

    Raises:
        ProgramNotFound: there is no such program.
        WorkdirError: its directory cannot be entered.
        ConnectError: it cannot be started.
        ShellLost: the session was lost.
    """
    process = ServerProcess(session, location, command)
    options: dict[str, Any] = {"pty": size} if size is not None else {}
    if command.env_only is not None:
        options["only"] = True
    try:
        await process.start(_remote(command, f"{token}.p.{process.number}.0"), options)
    except BaseException:
        await shielded(process.aclose())
        raise
    return process


def _remote(command: Command, tag: str) -> RemoteCommand:
    env = {**(command.env_only or {}), **(command.env or {})}
    if command.user is None:
        return RemoteCommand(
            0, command.argv, command.script, cwd=command.cwd, env=env or None, stdin="stream"
        )  # fmt: skip
    # What it is given stands on no command line: a constant reader gets it as one line.
    first = line.line(command.argv, command.script, env, tag.encode())
    return RemoteCommand(0, script=become(command.user), cwd=command.cwd, stdin="stream", data=first)


def become(user: str) -> bytes:
    """A script that runs the reader of :mod:`warmshell.protocol.line` as another account."""
    name, reader = quote(user.encode("utf-8", "surrogateescape")), quote(line.READER)
    return b"command -v sudo>/dev/null&&exec sudo -n -u %s -- sh -c %s;exec doas -n -u %s sh -c %s" % (
        name, reader, name, reader,
    )  # fmt: skip
