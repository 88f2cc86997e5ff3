"""The client's end of a session: one process at the far end, any number of subshells (see ``docs/protocol.md``)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from warmshell.errors import ConnectError, WarmshellError
from warmshell.protocol import frames

if TYPE_CHECKING:
    from warmshell.process import Process

_HELLO_SECONDS = 30.0
_CONTROL_SECONDS = 60.0
_CLOSE_SECONDS = 5.0
_LEAST_ROOM = 4096  # bytes that any system passes to a program (POSIX)
_ENVIRONMENT = 32 * 1024  # bytes that the far environment may take itself
_LATER_SECONDS = 0.05
_FIRST_BEAT = 0.05  # seconds to the second ping; the first meets a server that is busy with its start
_FAR = 1.0  # seconds of a round trip, as long as none was measured
_NOISE = 64 * 1024  # bytes of banners and start-up files before the hello

LEASE = 30.0
"""Seconds without a word from the other side after which each side takes it for dead."""


class NoPython(ConnectError):
    """There is no Python at the far end: the stream is a plain ``sh`` now."""


class Gone(ConnectError):
    """There is no such session at the far end, or no more."""


class Refused(ConnectError):
    """The far end cannot do what it was asked for; the session goes on.

    Attributes:
        kind: what is wrong, in a word.
        reason: what is wrong, in a sentence.
        errno: the far system's number for it, or ``None``.
    """

    def __init__(self, problem: dict[str, Any], location: str) -> None:
        self.kind = str(problem.get("kind"))
        self.reason = str(problem.get("message", problem))
        text = f"the session server refused: {self.reason}"
        super().__init__(text, location=location, errno=problem.get("errno"))


class Subshell(Protocol):
    """What is told of the frames for one subshell."""

    def on_frame(self, kind: int, payload: bytes) -> None:
        """A frame for it."""

    def on_lost(self, why: str) -> None:
        """The session is gone."""


class Session:
    """One session over a process that somebody else opened.

    Args:
        process: its streams.
        token: what the hello must carry.
        location: the name of the location, for errors.

    Attributes:
        python: the version of the far Python.
        facts: what the server tells of its place.
        lost: why the session is gone, or ``None``.
        commands: how many commands were sent to it so far.
        round_trip: the shortest time that it took to answer, in seconds.
    """

    def __init__(self, process: Process, token: str, location: str) -> None:
        self._process = process
        self._token = token.encode()
        self._location = location
        self._loop = asyncio.get_running_loop()
        self._decoder = frames.FrameDecoder()
        self._outbox = Outbox(process, self._on_broken)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._asked = 0
        self._subshells: dict[int, Subshell] = {}
        # Begun by chance: an earlier client of the same session may have some.
        self._processes = itertools.count(frames.FIRST_PROCESS + secrets.randbelow(frames.FIRST_PROCESS // 2))
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop_reading: Callable[[], None] | None = None
        self._heard = self._loop.time()
        self.python = ""
        self.facts: dict[str, Any] = {}
        self.lost: str | None = None
        self.commands = 0
        self.round_trip = _FAR
        self._control_seconds: float | None = _CONTROL_SECONDS
        self._pinged = (0, 0.0)  # number and time of the last sign of life

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self, archive: bytes, **options: Any) -> None:
        """Greet the far end, send it the server and start it.

        Args:
            archive: what ``warmshell.server.pack`` makes.
            **options: of the ``start`` request.

        Raises:
            NoPython: there is none; the process is a plain ``sh`` now.
            ConnectError: the far end says something else, or nothing.
        """
        rest = await self._greet(b"python")
        self._outbox.put(len(archive).to_bytes(4, "big") + archive)
        self._listen(rest)
        self.facts = await self.ask("start", lease=LEASE, **options)
        self._task(self._beat())

    @property
    def room(self) -> int:
        """Bytes that the words of a command and the variables added for it may take at the far end."""
        return max(_LEAST_ROOM, int(self.facts.get("arg_max", 0)) - _ENVIRONMENT)

    async def _greet(self, wanted: bytes) -> bytes:
        """Have the far end say what it is; what came after its hello."""
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                kind, rest = await self._hello()
        except TimeoutError:
            raise ConnectError("the far end does not answer", location=self._location) from None
        if kind == b"sh":
            raise NoPython("there is no Python 3.8 or later at the far end", location=self._location)
        if kind != wanted:
            raise Gone("the session has ended at the far end, or never was", location=self._location)
        return rest

    def _listen(self, rest: bytes) -> None:
        """Take what comes from now on, after what has come already."""
        self._stop_reading = self._process.stdout.subscribe(self._on_data, self._on_end)
        self._task(self._drain_stderr(self._process))
        if rest:
            self._on_data(rest)

    async def _hello(self) -> tuple[bytes, bytes]:
        """The kind of the far end, and what came after its hello."""
        seen = b""
        mark = b"warmshell-hello " + self._token + b" "
        while len(seen) < _NOISE:
            data = await self._process.stdout.receive()
            if not data:
                break
            seen += data
            at = seen.find(mark)
            end = seen.find(b"\n", at) if at >= 0 else -1
            if end >= 0:
                words = seen[at + len(mark) : end].split()
                self.python = words[1].decode("ascii", "replace") if len(words) > 1 else ""
                return words[0] if words else b"", seen[end + 1 :]
        said = (seen[-300:] + self._process.stderr.rest()[-300:]).decode("utf-8", "replace").strip()
        raise ConnectError(
            "the far end did not start a session" + (f"; it said: {said}" if said else ""), location=self._location
        )

    async def _drain_stderr(self, process: Process) -> None:
        with contextlib.suppress(WarmshellError, OSError):
            async for _ in process.stderr:
                pass

    async def _beat(self) -> None:
        """Let the server know that this client lives, and notice when the server does not."""
        pause = _FIRST_BEAT
        self._ping()
        while self.lost is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LEASE / 4)
            if self._loop.time() - self._heard > LEASE:
                self._on_broken("the far end has been silent for too long")
                return
            self._ping()

    def _ping(self) -> None:
        """Say that this client lives; the answer tells how far the server is."""
        self._asked += 1
        self._pinged = (self._asked, self._loop.time())
        self._control({"id": self._asked, "op": "ping"})

    async def aclose(self) -> None:
        """End the session and everything in it."""
        self._lose("the session was closed")
        if self._stop_reading is not None:
            self._stop_reading()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._outbox.aclose()
        await self._process.stdin.aclose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._process.wait()
        await self._process.aclose()

    # -- talking ----------------------------------------------------------------------------------------------------

    async def ask(self, op: str, *, patient: bool = False, **arguments: Any) -> Any:
        """One request on the control channel.

        Args:
            op: what is asked for.
            patient: whether it may take as long as it likes.
            **arguments: its own; ``data`` may be bytes.

        Raises:
            Refused: the server cannot do that.
            ConnectError: the session is gone.
        """
        if self.lost is not None:
            raise ConnectError(f"the session is gone: {self.lost}", location=self._location)
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = self._loop.create_future()
        self._control({"id": number, "op": op, **arguments})
        try:
            async with asyncio.timeout(None if patient else self._control_seconds):
                return await answer
        except TimeoutError:
            raise ConnectError(f"the session server did not answer {op!r}", location=self._location) from None
        finally:
            self._answers.pop(number, None)

    def _control(self, message: dict[str, Any]) -> None:
        data = message.pop("data", None)
        text = json.dumps(message).encode()
        self.send(frames.pack(frames.CONTROL, 0, text) if data is None else frames.pack_attached(text, data))

    def send(self, frame: bytes) -> None:
        """Send one frame, in order, without waiting."""
        self._outbox.put(frame)

    def send_later(self, frame: bytes) -> None:
        """Send one frame, in order, together with the next one or a moment later: nobody waits for it."""
        self._outbox.put_later(frame)

    async def flushed(self) -> None:
        """Return when what was sent is out: back-pressure for those that send much."""
        await self._outbox.flushed()

    @property
    def unsent(self) -> bool:
        """Whether something waits to go out."""
        return self._outbox.pending > 0

    @property
    def connected(self) -> bool:
        """Whether what is sent goes out now."""
        return self.lost is None

    def mark(self) -> int:
        """A mark behind what was sent last, for :meth:`passed`."""
        return self._outbox.total

    def passed(self, mark: int) -> bool:
        """Whether all that was sent before the mark may have left this process; what has not cannot have arrived."""
        return self._outbox.begun >= mark

    def tell(self, op: str, **arguments: Any) -> None:
        """A request on the control channel whose answer nobody waits for."""
        self._asked += 1
        self._control({"id": self._asked, "op": op, **arguments})

    def next_process(self) -> int:
        """A number for a process of its own."""
        return next(self._processes)

    def attach(self, number: int, subshell: Subshell) -> None:
        """Have the frames for a subshell given to it, and the loss of the session, which may have come already."""
        if self.lost is not None:
            subshell.on_lost(self.lost)
        else:
            self._subshells[number] = subshell

    def detach(self, number: int) -> None:
        """The subshell is gone."""
        self._subshells.pop(number, None)

    # -- listening --------------------------------------------------------------------------------------------------

    def _on_data(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            for kind, number, payload in self._decoder.feed(data):
                self._on_frame(kind, number, payload)
        except frames.MISUNDERSTOOD as error:
            self._on_broken(f"the far end sent what is no frame: {error!r}")

    def _on_frame(self, kind: int, number: int, payload: bytes) -> None:
        if kind == frames.CONTROL:
            self._on_control(json.loads(payload))
        elif kind == frames.ATTACHED:
            text, data = frames.split_attached(payload)
            message = json.loads(text)
            message["ok"]["data"] = data
            self._on_control(message)
        elif number in self._subshells:
            self._subshells[number].on_frame(kind, payload)

    def _on_control(self, message: dict[str, Any]) -> None:
        if message.get("id") == self._pinged[0]:
            self.round_trip = min(self.round_trip, self._loop.time() - self._pinged[1])
        answer = self._answers.get(message.get("id", -1))  # who has asked takes it out, or hears of the loss
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(Refused(message["error"], self._location))
        else:
            answer.set_result(message.get("ok"))

    def _on_end(self) -> None:
        self._lose("the connection has ended")

    def _on_broken(self, why: str) -> None:
        if self.lost is None:
            self._lose(why)
            self._task(self._kill())

    async def _kill(self) -> None:
        await self._process.kill(0.0)

    def _lose(self, why: str) -> None:
        if self.lost is not None:
            return
        self.lost = why
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectError(f"the session is gone: {why}", location=self._location))
        for subshell in list(self._subshells.values()):
            subshell.on_lost(why)
        self._subshells.clear()

    def _task(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Outbox:
    """Frames on their way out: written at once where the stream takes them, else in order by a task.

    Args:
        process: whose standard input they go to.
        on_broken: told when it takes no more.

    Attributes:
        pending: bytes that wait.
        total: bytes that were ever given to it.
        begun: as many of them were handed on, or are about to be.
    """

    def __init__(self, process: Process, on_broken: Callable[[str], None]) -> None:
        self._stream = process.stdin
        self._on_broken = on_broken
        self._waiting: list[bytes] = []
        self._later: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.pending = self.total = self.begun = 0

    def put_later(self, data: bytes) -> None:
        """Send the bytes with the next that are sent, or a moment later: each write wakes four processes on the way."""
        self._later.append(data)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LATER_SECONDS, self._put_now)

    def _put_now(self) -> None:
        self._timer = None
        if self._later:
            self.put(b"")

    def put(self, data: bytes) -> None:
        """Send the bytes after all others."""
        if self._later:
            data = b"".join((*self._later, data))
            self._later.clear()
        self.total += len(data)
        if self._task is None:
            try:
                sent = self._stream.send_some(data)
            except OSError:
                self._on_broken("the connection is broken")
                return
            self.begun += sent
            if sent == len(data):
                return
            data = data[sent:]
            self._task = asyncio.ensure_future(self._write())
        self._waiting.append(data)
        self.pending += len(data)

    async def _write(self) -> None:
        try:
            while self._waiting:
                chunk = b"".join(self._waiting)
                self._waiting.clear()
                self.begun += len(chunk)
                await self._stream.send(chunk)
                self.pending -= len(chunk)
        except (OSError, WarmshellError):
            self._on_broken("the connection is broken")
        finally:
            self._task = None

    async def flushed(self) -> None:
        """Return when everything is out, or will never be."""
        if self._later:
            self.put(b"")
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def new_token() -> str:
    """A token for a hello."""
    return secrets.token_hex(8)
