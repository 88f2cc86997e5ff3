"""A warm shell of this machine whose every command writes to pipes of its own (see :mod:`warmshell.protocol.pipes`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from warmshell.child import shell_status
from warmshell.command import Command, Output, Result
from warmshell.errors import ConnectError, OutputError
from warmshell.protocol.request import Body, Report, compose
from warmshell.server.engine import Engine
from warmshell.shell.feed import NOTHING, Feed
from warmshell.shell.lane import GRACE, Execution, Lane
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.child import Child
    from warmshell.errors import Started
    from warmshell.host import LocalHost
    from warmshell.protocol.dialect import Dialect
    from warmshell.shell.watch import Watch

_START_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_LARGEST_STATE = 1 << 30  # bytes that a shell may print of its state


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
        self._engine = Engine(self.loop, self)
        self._child: Child | None = None
        self._feed: Feed | None = None
        self._ready: asyncio.Future[bool] = self.loop.create_future()
        self._ending = False
        self._keeps_state = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- starting ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        try:
            self._spawn()
            await self._greet()
        except OSError as error:
            await shielded(self.end(0.0))
            if isinstance(error, ConnectError):
                raise
            raise ConnectError(f"no shell could be started: {error}", location=self.location) from error
        except BaseException:
            await shielded(self.end(0.0))
            raise
        self.alive = True

    def _spawn(self) -> None:
        stdin, noise = self._engine.open()
        try:
            self._child = self._host.spawn(
                self.dialect.argv, self.token, stdin=stdin, stdout=noise, stderr=noise, blank=self._blank
            )
        finally:
            os.close(stdin)
            os.close(noise)

    async def _greet(self) -> None:
        """Let the shell open its status pipe and wait for its answer."""
        self._engine.greet(self.base, self._blank)
        why = "does not answer"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                if await self._ready:
                    self._engine.greeted()
                    return
                if self._child is not None:
                    why = f"ended with status {shell_status(await self._child.wait())}"
        shell = b" ".join(self.dialect.argv).decode("utf-8", "replace")
        said = self._engine.words.decode("utf-8", "replace").strip()
        raise ConnectError(
            f"the shell {shell!r} {why}" + (f": {said}" if said else ""),
            location=self.location,
            hint="try framing='markers', or another shell",
        )

    def on_ready(self, ready: bool) -> None:
        if not self._ready.done():
            self._ready.set_result(ready)

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
        self._keeps_state = self._keeps_state or keeps_state
        named = command.stdout is not None or command.stderr is not None
        acknowledge = named or keeps_state or (feed is not None and feed.streams)
        if not acknowledge:
            execution.outputs = body.outputs
        if keeps_state:
            prelude = self._engine.keep_state() + prelude
        frame = self._engine.builtin_frame() if execution.outputs < 2 else None
        request = compose(
            body,
            frame or self._engine.frame(stdin, command.stdout, command.stderr),
            execution.seq,
            execution.tag,
            cwd=command.cwd,
            base=self.base,
            acknowledge=acknowledge,
        )
        self._engine.submit(prelude + request if prelude else request)
        self._timer.add(self)
        return execution

    def on_report(self, report: Report) -> None:
        execution = self.busy
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
        self._close_feed()
        stdout, stderr = self._engine.rest(execution.outputs)
        self.busy = None
        self.idle_since = self.loop.time()
        if execution.done.done():  # given up: what it wrote may still be asked for
            with contextlib.suppress(OutputError):
                _join(execution, stdout, stderr)
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
            said = _join(execution, stdout, stderr)[1]  # the watch may have taken some of it already
            words = said if isinstance(said, bytes) else b""
            execution.done.set_exception(self.no_target(command, words + self._engine.last_words()))
            return
        out: bytes | Output = stdout
        err: bytes | Output = stderr
        if execution.stdout is not None or max(len(stdout), len(stderr)) > command.output_limit:
            out, err = _join(execution, stdout, stderr)
        execution.done.set_result(self.result(execution, report.status, out, err))

    def may_write_files(self) -> bool:
        if self._child is None or self._child.returncode is not None:
            return True
        limit, _ = resource.prlimit(self._child.pid, resource.RLIMIT_FSIZE)
        return limit == resource.RLIM_INFINITY or limit > _LARGEST_STATE

    # -- output of long commands ------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Begin to read output as it comes, until the command has ended."""
        if self.busy is not None and not self._engine.watch():
            self._timer.add(self)

    def on_output(self, index: int, data: bytes) -> None:
        execution = self.busy
        if execution is None:
            return
        try:
            execution.captured()[index].feed(data)
        except OutputError as error:
            self._engine.unwatch()
            self._fail(execution, error)

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

    def on_broken(self, why: str) -> None:
        self._task(self._break(why))

    async def _break(self, why: str) -> None:
        self.alive = False
        execution = self.busy
        if execution is not None and not execution.done.done():
            execution.done.set_exception(self.lost("yes", execution.command, why))
        await self.end()

    def on_gone(self) -> None:
        self._task(self._bury())

    async def _bury(self) -> None:
        """The status pipe has ended: the shell is gone, or its process is another program now (``exec``)."""
        self.alive = False
        execution, child = self.busy, self._child
        if child is None or self._ending:
            return
        started = self._has_started()
        if execution is None or not execution.keeps_state:
            await self._end_processes(execution, 0.0 if execution is None else GRACE)
        else:
            self.watch()
        code = await child.wait()
        if execution is not None and not self._ending:
            await self._after_death(execution, code, started)
        self._release()

    async def _after_death(self, execution: Execution, code: int, started: Started) -> None:
        await self._host.end([], [self.token])
        self._timer.discard(self)
        if execution.done.done() or self._ending:
            return
        self._take_rest(execution)
        self.busy = None
        if execution.keeps_state and code >= 0:
            stdout, stderr = execution.captured()
            execution.done.set_result(self.result(execution, code, stdout.value(), stderr.value()))
            return
        why = f"ended with status {code}" if code >= 0 else f"was killed by signal {-code}"
        hint = "too many processes, too little memory, or a command that killed it" if code < 0 else None
        execution.done.set_exception(self.lost(started, execution.command, why, hint))

    def _take_rest(self, execution: Execution) -> None:
        """Take what is left in the pipes."""
        with contextlib.suppress(OutputError):
            for data, capture in zip(self._engine.rest(), execution.captured(), strict=True):
                capture.feed(data)

    def _has_started(self) -> Started:
        execution = self.busy
        if execution is not None and execution.acknowledged:
            return "yes"
        return "no" if self._engine.has_not_read() else "unknown"

    async def end(self, grace: float = GRACE) -> Result | None:
        self.alive = False
        self._ending = True
        execution = self.busy
        self.give_up(execution)
        await self._end_processes(execution, grace)
        partial = None
        if execution is not None and self._engine.is_open:
            self._take_rest(execution)
            partial = self.partial(execution)
        self._timer.discard(self)
        self._release()
        return partial

    async def _end_processes(self, execution: Execution | None, grace: float) -> None:
        child = self._child
        if child is not None and child.returncode is None:
            tags, sids = [self.token], []
            if execution is not None and not execution.keeps_state:
                # The shell's own forks carry its first tag: one that it made while it died is nobody's child, and
                # would open the command's pipe by a number that is another pipe's by then.
                tags = [execution.tag, self.token + b".0"]
            elif execution is not None:
                sids = [child.pid]
            await self._host.end([child], tags, sids=sids, grace=grace)
            await child.wait()
        elif self._keeps_state:
            await self._host.end([], [self.token], grace=grace)

    async def aclose(self) -> None:
        child = self._child
        if self.busy is None and child is not None and child.returncode is None and self._engine.is_open:
            self.alive = False
            self._engine.hang_up()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await child.wait()
        await self.end()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _release(self) -> None:
        """Give back every descriptor."""
        self.alive = False
        self._close_feed()
        if self._engine.is_open and self._child is not None:
            self._host.forget(self._child)
        self._engine.close()

    def _close_feed(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def _task(self, work: Coroutine[object, object, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _join(execution: Execution, stdout: bytes, stderr: bytes) -> tuple[bytes | Output, bytes | Output]:
    captures = execution.captured()
    for capture, rest in zip(captures, (stdout, stderr), strict=True):
        if rest:
            capture.feed(rest)
    return captures[0].value(), captures[1].value()
