"""A warm shell over any three streams, its output cut into commands (see :mod:`warmshell.protocol.markers`)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from warmshell.command import Command, Result
from warmshell.errors import ConnectError, InputError, NotSupported, OutputError
from warmshell.protocol.markers import INIT, StreamCutter, marker_frame, printf_pipe, quiet_frame
from warmshell.protocol.quoting import quote
from warmshell.protocol.request import TAG, Body, Report, compose, enter, parse_report, start_report
from warmshell.shell.feed import NOTHING
from warmshell.shell.lane import GRACE, Execution, Lane
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.process import Process
    from warmshell.protocol.dialect import Dialect

_START_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_TELL_SECONDS = 2.0  # for the status of a shell to come behind the end of its output


class MarkerLane(Lane):
    """One warm shell over a process that somebody else opens.

    Args:
        lane_id: its name in results.
        dialect: what kind of shell it is.
        location: the name of the location.
        token: the beginning of its commands' tags.
        base: the directory in which it starts.
        open_shell: opens the process.
    """

    def __init__(
        self, lane_id: str, dialect: Dialect, location: str, token: bytes, base: bytes,
        open_shell: Callable[[], Awaitable[Process]],
    ) -> None:  # fmt: skip
        super().__init__(lane_id, dialect, location, token, base)
        self._open_shell = open_shell
        self._process: Process | None = None
        self._cutters = StreamCutter(), StreamCutter()
        self._report: Report | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: list[asyncio.Future[None]] = []  # done at the end of each
        self._stops: list[Callable[[], None]] = []
        self._quiet = False  # the command says nothing on standard error
        self._sent = True
        self._ended = False

    # -- starting ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._process = await self._open_shell()
        self._listen(self._process)
        self._task(self._watch_exit(self._process))
        self.alive = True
        try:
            greeting = INIT + b"export %s;%s 2>/dev/null;unset OLDPWD;" % (TAG, enter(self.base))
            async with asyncio.timeout(_START_SECONDS):
                await self.begin(Command(["true"]), Body(b":", tagged=False), prelude=greeting).done
        except BaseException as error:
            await shielded(self.end(0.0))
            if isinstance(error, Exception):
                shell = b" ".join(self.dialect.argv).decode("utf-8", "replace")
                raise ConnectError(f"the shell {shell!r} does not answer: {error}", location=self.location) from error
            raise

    # -- commands ---------------------------------------------------------------------------------------------------

    def begin(self, command: Command, body: Body, *, keeps_state: bool = False, prelude: bytes = b"") -> Execution:
        data = _stdin_bytes(command)
        execution = self.next_execution(command, keeps_state=keeps_state)
        marker = secrets.token_hex(16).encode()
        for cutter in self._cutters:
            cutter.expect(marker)
        self._report = None
        self._quiet = body.outputs < 2 and not keeps_state and command.is_plain
        if self._quiet:
            frame = quiet_frame(marker)
            request = start_report(frame, execution.seq) + compose(body, frame, execution.seq, execution.tag)
        else:
            request = self._request(execution, body, marker, data)
        self._send(prelude + request, in_lines=body.breaks_line)
        return execution

    def _request(self, execution: Execution, body: Body, marker: bytes, data: bytes) -> bytes:
        command = execution.command
        if data:
            body = _from_file(body, data) if execution.keeps_state else _from_pipe(body, data)
        frame = marker_frame(
            marker, b"" if data else NOTHING,
            None if command.stdout is None else b">|" + quote(command.stdout),
            None if command.stderr is None else b"2>|" + quote(command.stderr),
        )  # fmt: skip
        return compose(body, frame, execution.seq, execution.tag, cwd=command.cwd, base=self.base, acknowledge=True)

    def _send(self, request: bytes, *, in_lines: bool) -> None:
        """Hand it over; of one that is several lines, the shell may carry out a part."""
        assert self._process is not None  # noqa: S101 - for the type checker
        self._sent = in_lines
        with contextlib.suppress(OSError):  # the end of the streams will say so
            size = self._process.stdin.send_some(request)
            if size == len(request):
                self._sent = True
            else:
                self._task(self._send_rest(self._process, request[size:]))

    async def _send_rest(self, process: Process, rest: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            await process.stdin.send(rest)
            self._sent = True

    # -- answers ----------------------------------------------------------------------------------------------------

    def _listen(self, process: Process) -> None:
        for index, stream in enumerate((process.stdout, process.stderr)):
            ended = self.loop.create_future()
            self._streams.append(ended)
            self._stops.append(
                stream.subscribe(partial(self._on_data, index, ended), partial(self._on_stream_end, ended))
            )

    def _on_data(self, index: int, ended: asyncio.Future[None], data: bytes) -> None:
        if ended.done():
            return
        try:
            self._take(index, data)
        except (ValueError, OutputError) as error:
            ended.set_result(None)
            self._settle_with(self.busy, error if isinstance(error, OutputError) else None, str(error))
            self._task(self._kill(GRACE))

    def _on_stream_end(self, ended: asyncio.Future[None]) -> None:
        if not ended.done():
            self.alive = False
            ended.set_result(None)
            self._task(self._on_end())

    def _take(self, index: int, data: bytes) -> None:
        cutter, execution = self._cutters[index], self.busy
        seen = len(cutter.lines)
        pieces = cutter.feed(data)
        if execution is None:
            return
        for piece in pieces:
            execution.captured()[index].feed(piece)
        if index == 0:
            for line in cutter.lines[seen:]:
                self._on_report(execution, parse_report(line))
        self._finish(execution)

    def _on_report(self, execution: Execution, report: Report) -> None:
        if report.seq != execution.seq:
            raise ValueError(f"a report of command {report.seq}")
        if report.event == "started":
            execution.acknowledge()
        else:
            self._report = report

    def _finish(self, execution: Execution) -> None:
        """Settle the command once both streams have come to its end."""
        report = self._report
        if report is None or not (self._quiet or len(self._cutters[1].lines) >= len(self._cutters[0].lines)):
            return
        self.busy = None
        self.idle_since = self.loop.time()
        self.alive = self.alive and not report.retire
        if execution.done.done():
            return
        if report.event == "no-directory":
            execution.done.set_exception(self.no_directory(execution.command))
            return
        stdout, stderr = execution.captured()
        if not execution.acknowledged:
            execution.done.set_exception(self.no_target(execution.command, b""))
            return
        execution.done.set_result(self.result(execution, report.status, stdout.value(), stderr.value()))

    # -- ending -----------------------------------------------------------------------------------------------------

    async def _watch_exit(self, process: Process) -> None:
        """Children may hold the streams of a shell that is gone."""
        with contextlib.suppress(ConnectionError):
            await process.wait()
        await self._on_end()

    async def _on_end(self) -> None:
        """A stream or the process has ended: the shell is gone, or became another program."""
        if self._ended or self._process is None:
            return
        self._ended = True
        self.alive = False
        execution = self.busy
        told = True
        if execution is None or not execution.keeps_state:
            told = await self._tells_its_end(self._process)
            await self._process.kill(GRACE)
        try:
            status = await self._process.wait()
        except ConnectionError as error:
            self._settle_with(execution, None, f"was lost: {error}")
            return
        await self._process.kill(0.0)  # whoever holds the streams still, so that they end
        _, pending = await asyncio.wait(self._streams, timeout=_CLOSE_SECONDS)
        if execution is None or execution.done.done():
            return
        if execution.keeps_state and status < 128:
            stdout, stderr = execution.captured()
            self.busy = None
            execution.done.set_result(self.result(execution, status, stdout.value(), stderr.value()))
        else:
            # All that the shell ever said has been read: had the command begun, it would have said so.
            self._settle_with(execution, None, f"ended with status {status}", all_read=told and not pending)

    @staticmethod
    async def _tells_its_end(process: Process) -> bool:
        """Whether a shell's status comes by itself; if it does not, what the shell said before may be lost as well."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_TELL_SECONDS):
                await process.wait()
                return True
        return False

    def _settle_with(
        self, execution: Execution | None, error: Exception | None, why: str, *, all_read: bool = False
    ) -> None:
        self.alive = False
        if execution is None or execution.done.done():
            return
        started = "yes" if execution.acknowledged else "unknown" if self._sent and not all_read else "no"
        self.busy = None
        execution.done.set_exception(error or self.lost(started, execution.command, why))  # type: ignore[arg-type]

    async def _kill(self, grace: float) -> None:
        self.alive = False
        self._ended = True
        if self._process is not None:
            await self._process.kill(grace)

    async def end(self, grace: float = GRACE) -> Result | None:
        execution = self.busy
        self.give_up(execution)
        await self._kill(grace)
        partial = None if execution is None else self.partial(execution)
        await self._release()
        return partial

    async def aclose(self) -> None:
        if self.busy is None and self._process is not None and not self._ended:
            self.alive = False
            self._ended = True
            await self._process.stdin.aclose()
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._process.wait()
        await self.end()

    async def _release(self) -> None:
        for stop in self._stops:
            stop()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._process is not None:
            await self._process.aclose()

    def _task(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _from_pipe(body: Body, data: bytes) -> Body:
    return Body(b"%s{ %s;}" % (printf_pipe(data), body.text), body.prologue)


def _from_file(body: Body, data: bytes) -> Body:
    """What is behind a pipe runs in a fork, which has no state to change; so the bytes take the way over a file."""
    name = b'"${TMPDIR:-/tmp}/warmshell.%s"' % secrets.token_hex(16).encode()
    remove = b"{ \\command -p rm -f %s||:;} 2>/dev/null" % name
    # Where there is no space for all of it there is to be nothing, so that the command cannot run with a part.
    write = b"(umask 077;%s >%s) 2>/dev/null||%s;" % (printf_pipe(data)[:-1], name, remove)
    return Body(
        b"if %s;then %s;fi <%s" % (remove, body.text, name), body.prologue + write, breaks_line=body.breaks_line
    )


def _stdin_bytes(command: Command) -> bytes:
    """Standard input as bytes: what a shell without channels beside its streams can be given."""
    if command.stdin is None or isinstance(command.stdin, bytes):
        return command.stdin or b""
    if isinstance(command.stdin, Path):
        try:
            return command.stdin.read_bytes()
        except OSError as error:
            raise InputError(f"standard input cannot be read: {error.strerror}", errno=error.errno) from error
    raise NotSupported(
        "a stream cannot be the input of a command in a shell whose state persists, where its framing is markers",
        command=str(command),
        hint="give the bytes, or a file",
    )
