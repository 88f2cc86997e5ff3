"""A warm shell at the far end of a session: one subshell, driven by the session server there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from warmshell.command import Command, Result
from warmshell.errors import ConnectError, InputError, OutputError
from warmshell.protocol import frames
from warmshell.protocol.dialect import of_kind
from warmshell.protocol.remote import RemoteCommand
from warmshell.protocol.request import Body
from warmshell.shell.diagnose import too_long_for
from warmshell.shell.lane import GRACE, Execution, Lane

if TYPE_CHECKING:
    from warmshell.errors import Started
    from warmshell.protocol.dialect import Dialect
    from warmshell.shell.session import Session

_INLINE = 256 * 1024  # bytes of standard input that travel with the command
_PIECE = 64 * 1024
_MOST_CREDIT = 16 * 1024 * 1024
_LEAST_CREDIT = 64 * 1024
_SHARED_SECONDS = 0.5  # for so long after a command of another subshell, more of them are expected
_END_SECONDS = 15.0


class Traffic(Protocol):
    """What a session knows of all of its subshells.

    Attributes:
        commands: how many commands were sent so far.
        round_trip: the shortest that an answer took, in seconds.
    """

    commands: int
    round_trip: float


class ServerLane(Lane):
    """One subshell of a session.

    Args:
        lane_id: its name in results.
        dialect: what kind of shell it is.
        location: the name of the location.
        session: the session that it belongs to.
        shell: which shell to start.
        blank: whether its environment is empty.
        copy_of: the subshell whose state it starts with.
    """

    def __init__(
        self,
        lane_id: str,
        dialect: Dialect,
        location: str,
        session: Session,
        shell: str,
        *,
        blank: bool = False,
        copy_of: int | None = None,
    ) -> None:
        super().__init__(lane_id, dialect, location, b"", b"/")
        self._session = session
        self._shell = shell
        self._blank = blank
        self._copy_of = copy_of
        self._number = -1
        self._window = Window(session, self.loop.time)
        self._input: InputCredit | None = None  # of a command whose input flows
        self._mark = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        copied: dict[str, Any] = {} if self._copy_of is None else {"copy_of": self._copy_of}
        answer = await self._session.ask("create_subshell", shell=self._shell, blank=self._blank, **copied)
        self._number = int(answer["subshell"])
        self.dialect = of_kind(str(answer.get("dialect", self.dialect.name)), self.dialect.argv)
        self.alive = True
        self._session.attach(self._number, self)

    async def copy(self, lane_id: str) -> ServerLane:
        lane = ServerLane(
            lane_id, self.dialect, self.location, self._session, self._shell, blank=self._blank, copy_of=self._number
        )
        await lane.start()
        return lane

    # -- commands ---------------------------------------------------------------------------------------------------

    def body(self, command: Command) -> Body:  # noqa: ARG002 - the server makes the shell text
        return _NO_BODY

    def begin(
        self,
        command: Command,
        body: Body,
        *,
        keeps_state: bool = False,
        prelude: bytes = b"",  # noqa: ARG002 - the server writes the state
        keeps_time: bool = False,
    ) -> Execution:
        """Hand over a command; see :meth:`Lane.begin`.

        Args:
            command: what to run.
            body: the command as shell text.
            keeps_state: whether it runs in the shell itself.
            prelude: nothing.
            keeps_time: whether the server ends it when its time is over: nobody else will be there.
        """
        data, source = _input(command)
        execution = self.next_execution(command, keeps_state=keeps_state)
        try:
            if command.is_plain and not (keeps_state or keeps_time):
                frame = frames.pack_words(self._number, execution.seq, command.argv)
            else:
                stdin = "none" if command.stdin is None else "bytes" if source is None else "stream"
                remote = self._remote(execution, body, stdin, data)
                remote.timeout = command.timeout if keeps_time else None
                frame = frames.pack(frames.RUN, self._number, remote.encode())
        except ValueError as error:
            self.busy = None  # the shell is there for the next command
            raise too_long_for("one frame", command, self.location, error) from None
        self._hand_over(frame)
        if source is not None:
            self._input = InputCredit()
            self._task(self._feed(execution, source, self._input))
        return execution

    def _hand_over(self, frame: bytes) -> None:
        self._session.commands += 1
        self._window.begin()
        self._session.send(frame)
        self._mark = self._session.mark()

    def _remote(self, execution: Execution, body: Body, stdin: str, data: bytes) -> RemoteCommand:
        command, keeps_state = execution.command, execution.keeps_state
        env = command.env if command.env_only is None else {**command.env_only, **(command.env or {})}
        return RemoteCommand(
            execution.seq,
            () if keeps_state else command.argv,
            body.text if keeps_state else command.script,
            keeps_state=keeps_state,
            cwd=command.cwd,
            env=None if keeps_state else env,
            stdin=stdin,
            data=data,
            stdout=command.stdout,
            stderr=command.stderr,
        )

    async def _feed(self, execution: Execution, source: AsyncIterator[bytes], credit: InputCredit) -> None:
        try:
            async for chunk in source:
                view = memoryview(chunk)
                while view:
                    room = await credit.take(min(len(view), _PIECE))
                    if room == 0 or self.busy is not execution:
                        return
                    self._send(frames.INPUT, execution, bytes(view[:room]))
                    view = view[room:]
                    await self._session.flushed()
            self._send(frames.END_OF_INPUT, execution)
        except Exception as error:  # noqa: BLE001 - whatever the caller's source raises is the caller's to see
            if not execution.done.done():
                execution.done.set_exception(error)
            await self.end()

    def _send(self, kind: int, execution: Execution, data: bytes = b"") -> None:
        self._session.send(frames.pack_numbered(kind, self._number, execution.seq, data))

    # -- answers ----------------------------------------------------------------------------------------------------

    def on_frame(self, kind: int, payload: bytes) -> None:
        execution = self.busy
        (seq,) = frames.NUMBER.unpack_from(payload)
        if execution is None or seq != execution.seq:
            return
        if kind == frames.ENDED:
            self._on_ended(execution, payload[4], payload[5:])
        elif kind in (frames.STDOUT, frames.STDERR):
            self._on_output(execution, kind - frames.STDOUT, payload[4:])
        elif kind == frames.RESULT:
            self._on_result(execution, _outcome(payload[4:]))
        elif kind == frames.STARTED:
            execution.acknowledge()
        elif kind == frames.CREDIT and self._input is not None:
            self._input.grant(frames.GRANT.unpack(payload)[1])

    def _on_output(self, execution: Execution, index: int, data: bytes) -> None:
        if not execution.acknowledged:
            execution.acknowledge()
        try:
            execution.captured()[index].feed(data)
        except OutputError as error:
            if not execution.done.done():
                execution.done.set_exception(error)
            self._task(self._end_quietly())
            return
        more = self._window.consumed(len(data))
        if more:
            self._send(frames.CREDIT, execution, frames.NUMBER.pack(more))

    def _on_ended(self, execution: Execution, status: int, rest: bytes) -> None:
        """It has ended as nearly all do, and this is the last of its standard output."""
        self._on_idle()
        done = execution.done
        waited = not done.done()
        if waited and execution.stdout is None and len(rest) <= execution.command.output_limit:
            done.set_result(self.result(execution, status, rest, b""))
            return
        stdout, stderr = execution.captured()
        try:
            stdout.feed(rest)  # also where it is being ended, since this is what it had written until then
        except OutputError as error:
            if waited:
                done.set_exception(error)
        else:
            if waited:
                done.set_result(self.result(execution, status, stdout.value(), stderr.value()))

    def _on_idle(self) -> None:
        self.busy = None
        self.idle_since = self.loop.time()
        self._session.round_trip = min(self._session.round_trip, self.idle_since - self._window.began)
        self._close_input()

    def _on_result(self, execution: Execution, outcome: dict[str, Any]) -> None:
        self._on_idle()
        self.alive = self.alive and not outcome.get("retire", False)
        done = execution.done
        if done.done():
            return
        stdout, stderr = execution.captured()
        command = execution.command
        if "no_directory" in outcome:
            done.set_exception(self.no_directory(command))
        elif "no_target" in outcome:
            done.set_exception(self.no_target(command, str(outcome["no_target"]).encode()))
        elif "lost" in outcome:
            self.alive = False
            done.set_exception(self.lost(outcome.get("started", "unknown"), command, str(outcome["lost"])))
        elif "shell_ended" in outcome:
            self.alive = False
            done.set_result(self.result(execution, int(outcome["shell_ended"]), stdout.value(), stderr.value()))
        else:
            self.alive = self.alive and "killed" not in outcome
            done.set_result(self.result(execution, int(outcome["status"]), stdout.value(), stderr.value()))

    def _close_input(self) -> None:
        credit, self._input = self._input, None
        if credit is not None:
            credit.close()

    def on_lost(self, why: str) -> None:
        self.alive = False
        self._close_input()
        execution, self.busy = self.busy, None
        if execution is None or execution.done.done():
            return
        started: Started = "yes" if execution.acknowledged else "unknown"
        if not self._session.passed(self._mark):
            started = "no"
        execution.done.set_exception(self.lost(started, execution.command, f"was lost: {why}"))

    # -- ending -----------------------------------------------------------------------------------------------------

    async def _end_quietly(self) -> None:
        await self.end()

    async def end(self, grace: float = GRACE) -> Result | None:
        was_alive, self.alive = self.alive, False
        execution = self.busy
        self.give_up(execution)
        if self._number >= 0 and self._session.lost is None and (was_alive or execution is not None):
            with contextlib.suppress(ConnectError, TimeoutError):
                async with asyncio.timeout(_END_SECONDS + grace):
                    await self._session.ask("delete_subshell", subshell=self._number, grace=grace)
        self._session.detach(self._number)
        self.busy = None
        return None if execution is None else self.partial(execution)

    async def aclose(self) -> None:
        if self._number >= 0 and self._session.connected:
            await self.end()
        elif self._number >= 0:  # nobody can say when that will be heard
            self.alive = False
            if self._session.lost is None:
                self._session.tell("delete_subshell", subshell=self._number, grace=GRACE)
            self.give_up(self.busy)
            self._session.detach(self._number)
            self.busy = None
        self._number = -1
        for task in [task for task in self._tasks if task is not asyncio.current_task()]:
            task.cancel()
            await asyncio.wait([task])

    def _task(self, work: Coroutine[object, object, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_NO_BODY = Body(b"")
_ENDS = {"status", "no_directory", "no_target", "lost", "shell_ended"}


def _outcome(data: bytes) -> dict[str, Any]:
    """What a command has come to.

    Raises:
        ValueError: it does not say so.
    """
    outcome = json.loads(data)
    if not isinstance(outcome, dict) or not _ENDS & outcome.keys() or not _is_typed(outcome):
        raise ValueError(f"a result without an end: {data[:100]!r}")
    return outcome


def _is_typed(outcome: dict[str, Any]) -> bool:
    if outcome.get("started", "unknown") not in ("no", "unknown", "yes"):
        return False
    return all(isinstance(outcome.get(name, 0), int) for name in ("status", "shell_ended"))


class Window:
    """How much output of a command may be on its way.

    What is on its way beyond what the link itself holds waits in buffers, where the frames of all other subshells wait
    behind it. So a window is kept to a few times the rate at which output comes times the shortest round trip, and to
    less as long as others run commands on the same session.

    Args:
        session: where other subshells run commands, and which knows the round trip.
        clock: the time in seconds.

    Attributes:
        began: when the command was sent.
    """

    def __init__(self, session: Traffic, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """A new command: the server starts with the initial credit."""
        self._size = frames.INITIAL_CREDIT
        self._unreported = 0
        self.began = self._since = self._clock()
        self._rate = 0.0
        self._commands = self._session.commands
        self._shared_until = 0.0

    def consumed(self, size: int) -> int:
        """So many bytes were taken; how many more the server may send."""
        self._unreported += size
        if self._unreported < self._size // 2:
            return 0
        now = self._clock()
        rate = self._unreported / max(now - self._since, 1e-6)
        self._rate = rate if not self._rate else 0.75 * self._rate + 0.25 * rate
        self._since = now
        more = max(0, self._unreported + self._wanted(now) - self._size)
        self._size += more - self._unreported
        self._unreported = 0
        return more

    def _wanted(self, now: float) -> int:
        """The size that it ought to have."""
        if self._session.commands != self._commands:
            self._commands = self._session.commands
            self._shared_until = now + _SHARED_SECONDS
        held = self._rate * self._session.round_trip
        shared = now < self._shared_until
        enough = max(2 * held, _LEAST_CREDIT) if shared else max(4 * held, 2 * frames.INITIAL_CREDIT)
        return round(min(enough, 2 * self._size, _MOST_CREDIT))


class InputCredit:
    """How many bytes of standard input the server takes now."""

    def __init__(self) -> None:
        self._room = frames.INITIAL_CREDIT
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def grant(self, size: int) -> None:
        """The server takes so many more."""
        self._room += size
        self._wake()

    def close(self) -> None:
        """The command has ended: it takes nothing more."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self, wanted: int) -> int:
        """Up to so many bytes' room; 0 when the command has ended."""
        while self._room <= 0 and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._closed:
            return 0
        taken = min(wanted, self._room)
        self._room -= taken
        return taken


def _input(command: Command) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """Standard input that travels with the command, or the source that it streams from."""
    stdin = command.stdin
    if stdin is None:
        return b"", None
    if isinstance(stdin, bytes | bytearray | memoryview):
        data = bytes(stdin)
        return (data, None) if len(data) <= _INLINE else (b"", _pieces(data))
    if isinstance(stdin, AsyncIterable):
        return b"", stdin.__aiter__()
    return b"", _file(Path(stdin))


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _file(path: Path) -> AsyncIterator[bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(
            f"standard input cannot be read from {str(path)!r}: {error.strerror}", errno=error.errno
        ) from error
    return _read(fd)


async def _read(fd: int) -> AsyncIterator[bytes]:
    try:
        while data := await asyncio.to_thread(os.read, fd, _PIECE):
            yield data
    finally:
        os.close(fd)
