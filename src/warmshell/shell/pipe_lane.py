"""A warm shell of this machine whose every command writes to pipes of its own (see :mod:`warmshell.protocol.pipes`)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import struct
import termios
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from warmshell.child import shell_status
from warmshell.command import Command, Output, Result
from warmshell.errors import ConnectError, OutputError
from warmshell.protocol import pipes
from warmshell.protocol.quoting import quote
from warmshell.protocol.request import TAG, Body, Report, compose, enter, parse_report
from warmshell.shell.capture import Capture
from warmshell.shell.feed import NOTHING, Feed
from warmshell.shell.lane import GRACE, Execution, Lane
from warmshell.shell.output_pipe import OutputPipe

if TYPE_CHECKING:
    from warmshell.child import Child
    from warmshell.errors import Started
    from warmshell.host import LocalHost
    from warmshell.protocol.dialect import Dialect
    from warmshell.shell.watch import Watch

_READ = 64 * 1024
_START_SECONDS = 20.0
_CLOSE_SECONDS = 2.0


class PipeLane(Lane):
    """One warm shell, its status pipe, and the two pipes that its commands write to.

    Args:
        lane_id: its name in results.
        dialect: what kind of shell to start.
        location: the name of the location.
        host: starts and ends processes.
        watch: tells when a running command's output should be read as it comes.
        blank: whether the shell starts with an empty environment.
    """

    own_pipes = True

    def __init__(
        self,
        lane_id: str,
        dialect: Dialect,
        location: str,
        host: LocalHost,
        watch: Watch,
        *,
        blank: bool = False,
    ) -> None:
        super().__init__(lane_id, dialect, location, host.new_token(), host.cwd)
        self._host = host
        self._timer = watch
        self._blank = blank
        self._child: Child | None = None
        self._stdin = self._status = self._noise = -1
        self._unsent = b""
        self._last_size = 0
        self._lines = b""
        self._words = b""
        self._feed: Feed | None = None
        self._ready: asyncio.Future[None] | None = None
        self._greeted = False
        self._poll: select.epoll | None = None
        self._watching = False
        self._ending = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- starting ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        status_writer = -1
        try:
            self._out, self._err = OutputPipe(), OutputPipe()
            self._status, status_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._spawn()
            await self._greet(status_writer)
        except (OSError, TimeoutError) as error:
            await self.end(0.0)
            if isinstance(error, ConnectError):
                raise
            raise ConnectError(f"no shell could be started: {error}", location=self.location) from error
        except BaseException:
            await asyncio.shield(self.end(0.0))
            raise
        finally:
            if status_writer >= 0:
                os.close(status_writer)
        self.alive = True

    def _spawn(self) -> None:
        stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
        self._noise, noise = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._noise, False)
        try:
            self._child = self._host.spawn(
                self.dialect.argv, self.token, stdin=stdin, stdout=noise, stderr=noise, blank=self._blank
            )
        finally:
            os.close(stdin)
            os.close(noise)
        self.loop.add_reader(self._noise, self._on_noise)
        self.loop.add_reader(self._status, self._on_status)

    async def _greet(self, status_writer: int) -> None:
        """Let the shell open its status pipe and wait for its answer."""
        assert self._child is not None  # noqa: S101 - for the type checker
        clean = b"PWD OLDPWD SHLVL" if self._blank else b"OLDPWD"
        greeting = b"%sexport %s;%s 2>/dev/null;unset %s;\\echo 0 0 >&9\n" % (
            pipes.init(os.getpid(), status_writer), TAG, enter(self.base), clean,
        )  # fmt: skip
        self._ready = self.loop.create_future()
        os.write(self._stdin, greeting)
        why = "does not answer"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await self._ready
                if self._greeted:
                    return
                why = f"ended with status {shell_status(await self._child.wait())}"
        shell = b" ".join(self.dialect.argv).decode("utf-8", "replace")
        said = self._words.decode("utf-8", "replace").strip()
        raise ConnectError(
            f"the shell {shell!r} {why}" + (f": {said}" if said else ""), location=self.location,
            hint="try framing='markers', or another shell",
        )  # fmt: skip

    # -- commands ---------------------------------------------------------------------------------------------------

    def begin(self, command: Command, body: Body, *, keeps_state: bool = False, prelude: bytes = b"") -> Execution:
        feed = None
        stdin = NOTHING
        if command.stdin is not None:
            feed = Feed(command)
            stdin = feed.redirection
        try:
            execution = self.next_execution(command, keeps_state=keeps_state)
        except BaseException:
            if feed is not None:
                feed.close()
            raise
        self._feed = feed
        named = command.stdout is not None or command.stderr is not None
        frame = pipes.pipe_frame(
            stdin, _target(b">", command.stdout, self._out), _target(b"2>", command.stderr, self._err)
        )
        request = prelude + compose(
            body, frame, execution.seq, execution.tag, cwd=command.cwd, base=self.base,
            acknowledge=named or keeps_state or (feed is not None and feed.streams),
        )  # fmt: skip
        self._last_size = len(request)
        self._send(request)
        self._timer.add(self)
        return execution

    def _send(self, data: bytes) -> None:
        """Write without waiting; what the pipe does not take is written when the shell has read."""
        try:
            written = os.write(self._stdin, data)
        except BlockingIOError:
            written = 0
        except BrokenPipeError:
            written = len(data)  # the end of the status pipe will say that the shell is gone
        self._unsent = data[written:]
        if self._unsent:
            self.loop.add_writer(self._stdin, self._on_writable)

    def _on_writable(self) -> None:
        self.loop.remove_writer(self._stdin)
        self._send(self._unsent)

    # -- reports ----------------------------------------------------------------------------------------------------

    def _on_status(self) -> None:
        try:
            data = os.read(self._status, 4096)
        except BlockingIOError:
            return
        if not data:
            self.loop.remove_reader(self._status)
            self._task(self._bury())
            return
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            try:
                self._on_report(parse_report(line))
            except ValueError as error:
                self._task(self._break(f"reported what no command of its own ended with: {error}"))
                return

    def _on_ready(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def _on_report(self, report: Report) -> None:
        execution = self.busy
        if report.seq == 0 and self._ready is not None:
            self._greeted = True
            self._on_ready()
            return
        if execution is None or report.seq != execution.seq:
            raise ValueError(f"number {report.seq}")
        if report.event == "started":
            execution.acknowledge()
            if self._feed is not None:
                self._feed.opened(self._on_source_error)
            return
        if report.retire:
            self.alive = False
        self._complete(execution, report)

    def _complete(self, execution: Execution, report: Report) -> None:
        self._timer.discard(self)
        if self._watching:
            self._unwatch()
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        stdout, out_held = self._out.drain()
        stderr, err_held = self._err.drain()
        if out_held:
            self._out = self._renew(self._out)
        if err_held:
            self._err = self._renew(self._err)
        self.busy = None
        self.idle_since = self.loop.time()
        if execution.done.done():
            return
        try:
            self._settle(execution, report, stdout, stderr)
        except OutputError as error:
            execution.done.set_exception(error)

    def _settle(self, execution: Execution, report: Report, stdout: bytes, stderr: bytes) -> None:
        command = execution.command
        if report.event == "no-directory":
            execution.done.set_exception(self.no_directory(command))
            return
        if (command.stdout or command.stderr) and not execution.acknowledged:
            self._on_noise()
            execution.done.set_exception(self.no_target(command, stderr + self._words))
            return
        out: bytes | Output = stdout
        err: bytes | Output = stderr
        if execution.stdout is not None or max(len(stdout), len(stderr)) > command.output_limit:
            out, err = _join(execution, stdout, stderr)
        execution.done.set_result(self.result(execution, report.status, out, err))

    def _renew(self, pipe: OutputPipe) -> OutputPipe:
        """Give up a pipe that a background child still holds, so that nothing of it reaches a later result."""
        os.close(pipe.fd)  # which takes it out of the epoll set too
        new = OutputPipe()
        if self._poll is not None:
            self._poll.register(new.fd, select.EPOLLIN | select.EPOLLET)
        return new

    # -- output of long commands ------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Begin to read output as it comes, until the command has ended."""
        if self.busy is None or self._watching or self._status < 0:
            return
        if self._poll is None:
            # Edges, not levels: a pipe without a writer at the moment is at its end again and again.
            self._poll = select.epoll()
            for pipe in (self._out, self._err):
                self._poll.register(pipe.fd, select.EPOLLIN | select.EPOLLET)
        self._watching = True
        self.loop.add_reader(self._poll.fileno(), self._on_output)

    def _unwatch(self) -> None:
        self._watching = False
        if self._poll is not None:
            self.loop.remove_reader(self._poll.fileno())

    def _on_output(self) -> None:
        if self._poll is not None:
            self._poll.poll(0)
            self._read_output()

    def _read_output(self) -> None:
        execution = self.busy
        if execution is None or not self._watching:
            return
        more = False
        try:
            for pipe, capture in zip((self._out, self._err), execution.captured(), strict=True):
                pieces, rest = pipe.some()
                more = more or rest
                for piece in pieces:
                    capture.feed(piece)
        except OutputError as error:
            self._fail(execution, error)
            return
        if more:
            self.loop.call_soon(self._read_output)

    def _on_source_error(self, error: BaseException) -> None:
        if self.busy is not None:
            self._fail(self.busy, error)

    def _fail(self, execution: Execution, error: BaseException) -> None:
        """End the command, and with it the shell, because of something at this side."""
        if not execution.done.done():
            execution.done.set_exception(error)
        self._task(self._end_quietly())

    # -- ending -----------------------------------------------------------------------------------------------------

    async def _end_quietly(self) -> None:
        await self.end()

    async def _break(self, why: str) -> None:
        execution = self.busy
        await self.end()
        if execution is not None and not execution.done.done():
            execution.done.set_exception(self.lost("yes", execution.command, why))

    async def _bury(self) -> None:
        """The status pipe has ended: the shell is gone, or its process is another program now (``exec``)."""
        self.alive = False
        execution = self.busy
        started = self._has_started()
        child = self._child
        if child is None or self._ending:
            return
        if execution is None or not execution.keeps_state:
            await self._end_processes(execution, 0.0 if execution is None else GRACE)
        code = await child.wait()
        if execution is not None and not self._ending:
            await self._after_death(execution, code, started)
        self._release()

    async def _after_death(self, execution: Execution, code: int, started: Started) -> None:
        await self._host.end([], [self.token])
        self._timer.discard(self)
        self.watch_rest(execution)
        self.busy = None
        if execution.done.done():
            return
        if execution.keeps_state and code >= 0:
            stdout, stderr = execution.captured()
            execution.done.set_result(self.result(execution, code, stdout.value(), stderr.value()))
            return
        why = f"ended with status {code}" if code >= 0 else f"was killed by signal {-code}"
        hint = "ulimit -u, memory or a command that killed it" if code < 0 else None
        execution.done.set_exception(self.lost(started, execution.command, why, hint))

    def watch_rest(self, execution: Execution) -> None:
        """Take what is left in the pipes."""
        with contextlib.suppress(OutputError):
            for pipe, capture in zip((self._out, self._err), execution.captured(), strict=True):
                capture.feed(pipe.drain()[0])

    def _has_started(self) -> Started:
        execution = self.busy
        if execution is not None and execution.acknowledged:
            return "yes"
        if self._unsent:
            return "no"  # the shell never had the whole request, and so has run nothing of it
        unread = _unread(self._stdin)
        return "no" if unread is not None and unread >= self._last_size > 0 else "unknown"

    async def end(self, grace: float = GRACE) -> Result | None:
        self.alive = False
        self._ending = True
        execution = self.busy
        await self._end_processes(execution, grace)
        partial = None
        if execution is not None and self._status >= 0:
            self.watch_rest(execution)
            partial = self.partial(execution)
        self._timer.discard(self)
        self._release()
        return partial

    async def _end_processes(self, execution: Execution | None, grace: float) -> None:
        child = self._child
        if child is not None and child.returncode is None:
            tag = execution.tag if execution is not None and not execution.keeps_state else self.token
            sids = [child.pid] if execution is not None and execution.keeps_state else []
            await self._host.end([child], [tag], sids=sids, grace=grace)
            await child.wait()

    async def aclose(self) -> None:
        child = self._child
        if self.busy is None and child is not None and child.returncode is None:
            self.alive = False
            self.loop.remove_reader(self._status)
            os.close(self._stdin)
            self._stdin = -1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await child.wait()
        await self.end()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _release(self) -> None:
        """Give back every descriptor."""
        self.alive = False
        if self._watching:
            self._unwatch()
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        if self._poll is not None:
            self._poll.close()
            self._poll = None
        if self._status < 0:
            return
        if self._stdin >= 0:
            self.loop.remove_writer(self._stdin)
            os.close(self._stdin)
        for fd in (self._status, self._noise):
            if fd >= 0:
                self.loop.remove_reader(fd)
                os.close(fd)
        self._stdin = self._status = self._noise = -1
        os.close(self._out.fd)
        os.close(self._err.fd)
        if self._child is not None:
            self._host.forget(self._child)

    def _task(self, work: Coroutine[object, object, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_noise(self) -> None:
        """What the shell says of its own accord: kept short, for error messages."""
        try:
            data = os.read(self._noise, _READ)
        except (BlockingIOError, OSError):
            return
        if not data:  # nobody has it open any more: at the start, a sign that the shell has ended
            self.loop.remove_reader(self._noise)
            self._on_ready()
        self._words = (self._words + data)[-1000:]


def _target(operator: bytes, path: bytes | None, pipe: OutputPipe) -> bytes:
    return operator + pipe.path if path is None else operator + b"|" + quote(path)


def _join(execution: Execution, stdout: bytes, stderr: bytes) -> tuple[bytes | Output, bytes | Output]:
    captures: tuple[Capture, Capture] = execution.captured()
    for capture, rest in zip(captures, (stdout, stderr), strict=True):
        if rest:
            capture.feed(rest)
    return captures[0].value(), captures[1].value()


def _unread(fd: int) -> int | None:
    """How many bytes written to a pipe nobody has read yet."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])
    except OSError:
        return None
