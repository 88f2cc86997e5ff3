"""A bounded number of coprocesses of one tool, fed from the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from warmshell.command import DEFAULT_OUTPUT_LIMIT, Command, Result, Stdin, Word, Words, to_bytes
from warmshell.connector.local import default_jobs, workdir_error
from warmshell.coprocess.statistics import CoprocessStatistics, WorkerStatistics
from warmshell.coprocess.streams import Captured, Log
from warmshell.coprocess.worker import Invocation, NotStartedError, Tool, Worker
from warmshell.errors import BusyError, ClosedError, CommandTimeout, NotSupported, ProgramNotFound
from warmshell.host import LocalHost
from warmshell.shield import shielded

Protocol = Literal["fcli", "bazel", "bazel-json"]


class CoprocessPool:
    """Runs a tool again and again without starting it again and again.

    Args:
        tool: the words that start it; those of each request follow them.
        size: how many processes at most; as many as there are CPUs.
        queue: how many requests may wait; more are refused with ``BusyError``.
        idle: seconds after which a process that has nothing to do is let go; ``None``: never.
        max_age: seconds after which a process is replaced, between requests.
        max_requests: after how many requests.
        max_memory: after a request that leaves it with more bytes resident.
        env: variables added to this process's environment.
        env_only: the whole environment instead.
        cwd: where the tool runs by default; the present directory.
        protocol: ``fcli``; ``bazel`` or ``bazel-json`` for a persistent worker of Bazel.
        multiplex: how many requests a Bazel worker is given at once, if it can.
        cancellable: whether a Bazel worker knows ``cancel``.

    A tool that ignores FCLI's variables is recognised, and runs as an ordinary command each time.
    """

    def __init__(
        self, tool: Words, *, size: int | None = None, queue: int = 10_000, idle: float | None = 60.0,
        max_age: float | None = None, max_requests: int | None = None, max_memory: int | None = None,
        env: Mapping[str, str] | None = None, env_only: Mapping[str, str] | None = None, cwd: Word | None = None,
        protocol: Protocol = "fcli", multiplex: int = 1, cancellable: bool = False,
    ) -> None:  # fmt: skip
        command = Command(tool, env=env, env_only=env_only)
        self._tool = Tool(command.argv)
        self._size = size or default_jobs()
        self._multiplex = multiplex if protocol != "fcli" else 1
        self._queue = queue
        self._idle = idle
        self._limits = (max_age, max_requests, max_memory)
        inherited = dict(os.environb) if command.env_only is None else command.env_only
        self._env = {**inherited, **(command.env or {})}
        self._cwd = os.path.abspath(os.getcwdb() if cwd is None else to_bytes(cwd))
        self._protocol = protocol
        self._cancellable = cancellable
        self._host: LocalHost | None = None
        self._directory = ""
        self._workers: list[Worker] = []
        self._background: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(self._size * self._multiplex)
        self._sweeping: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._counts = {"waiting": 0, "served": 0, "started": 0, "recycled": 0, "ordinary": 0}
        self.log = Log()

    async def __aenter__(self) -> Self:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            raise NotSupported(
                "this program ignores SIGCHLD, so that the kernel tells it the status of no process of its own",
                location="local:", hint="signal.signal(signal.SIGCHLD, signal.SIG_DFL)",
            )  # fmt: skip
        self._host = LocalHost(env=self._env, cwd=self._cwd)
        try:
            self._directory = tempfile.mkdtemp(prefix="warmshell-")
            self._host.add_directory(self._directory)
        except BaseException:
            await shielded(self.aclose())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await shielded(self.aclose())

    async def run(
        self, argv: Words = (), *, stdin: Stdin = None, cwd: Word | None = None, env: Mapping[str, str] | None = None,
        env_only: Mapping[str, str] | None = None, key: Hashable = None, timeout: float | None = None,  # noqa: ASYNC109
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
    ) -> Result:  # fmt: skip
        """Give the tool these words.

        Args:
            argv: the words behind the tool's own.
            stdin: what it reads: nothing, bytes, a file, a stream of bytes.
            cwd: where it runs, relative to the pool's directory.
            env: variables added to the pool's environment.
            env_only: the whole environment instead.
            key: requests with the same key are given to the same process if that is free.
            timeout: seconds, after which the process and all that it started are ended.
            output_limit: bytes of each stream kept in memory; more goes to a file.

        Raises:
            BusyError: too many requests wait already.
            ClosedError: the pool is closed.
            CommandTimeout: the time was over.
            ProgramNotFound: there is no such tool.
            ShellLost: the tool broke the protocol.
        """
        words = Command(
            [*self._tool.argv, *argv], stdin=stdin, cwd=cwd, env=env, env_only=env_only, timeout=timeout,
            output_limit=output_limit,
        )  # fmt: skip
        streams, started = Captured(words), time.time()
        try:
            async with asyncio.timeout(timeout) as limit:
                status = await self.call(self._invocation(words, streams, key))
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the coprocess did not answer within {timeout:g} s and was ended"
            raise CommandTimeout(message, result=_result(-1, words, streams, started)) from None
        return _result(status, words, streams, started)

    def _invocation(self, words: Command, streams: Captured, key: Hashable) -> Invocation:
        env = words.env_only if words.env_only is not None else {**self._env, **(words.env or {})}
        cwd = os.path.normpath(os.path.join(self._cwd, words.cwd or b""))
        return Invocation(words.argv[len(self._tool.argv) :], env, cwd, streams, key=key)

    async def call(self, invocation: Invocation) -> int:
        """Have an invocation served; its status, once all its output is where it belongs. Raises as :meth:`run`."""
        if self._host is None:
            raise ClosedError("the pool is not open: use 'async with'")
        if self._slots.locked() and self._counts["waiting"] >= self._queue:
            raise BusyError(f"{self._queue} requests wait for {self._tool} already")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        self._calls.add(task)
        self._counts["waiting"] += 1
        try:
            async with self._slots:
                self._counts["waiting"] -= 1
                try:
                    return await self._serve(invocation)
                finally:
                    self._counts["waiting"] += 1
        finally:
            self._counts["waiting"] -= 1
            self._calls.discard(task)

    async def _serve(self, invocation: Invocation) -> int:
        _check_directory(invocation.cwd, str(self._tool))
        while True:
            worker = self._pick(invocation)
            is_new = worker is None
            if worker is None:
                worker = self._new()
            worker.facts.load += 1
            try:
                status = await worker.invoke(invocation)
            except NotStartedError:  # it ended before it had read a byte of this: another one may have it
                if is_new:
                    raise
                continue
            except FileNotFoundError as error:
                raise self._not_found(error) from error
            finally:
                worker.facts.load -= 1
                self._used(worker, invocation)
            self._counts["served"] += 1
            return status

    def _pick(self, invocation: Invocation) -> Worker | None:
        """A worker that has room and can do it: best one that has the key warm, then the one used last."""
        free = [worker for worker in self._workers if worker.usable and worker.facts.load < worker.capacity]
        fitting = [worker for worker in free if worker.fits(invocation)]
        if fitting:
            return max(fitting, key=lambda one: (invocation.key in one.facts.keys, -one.facts.load, one.facts.used))
        idle = [worker for worker in free if not worker.facts.load]
        if len(self._workers) >= self._size and idle:
            self._retire(min(idle, key=lambda one: one.facts.used))
        return None

    def _new(self) -> Worker:
        assert self._host is not None  # noqa: S101 - for the type checker
        self._counts["started"] += 1
        worker: Worker
        if self._protocol == "fcli":
            from warmshell.coprocess.fcli_worker import FcliWorker

            path = os.path.join(self._directory, str(self._counts["started"]))
            worker = FcliWorker(self._host, self._tool, path, self.log)
        else:
            from warmshell.coprocess.bazel_worker import BazelWorker

            form = "json" if self._protocol == "bazel-json" else "proto"
            worker = BazelWorker(
                self._host, self._tool, form, self.log, capacity=self._multiplex, cancellable=self._cancellable
            )
        self._workers.append(worker)
        return worker

    def _used(self, worker: Worker, invocation: Invocation) -> None:
        """Keep the worker for the next one, or let it go."""
        facts = worker.facts
        facts.requests += 1
        facts.used = time.monotonic()
        facts.remember(invocation.key)
        if facts.load:
            return
        if not worker.usable:
            self._counts["ordinary"] += self._tool.ordinary
            self._retire(worker)
        elif self._is_worn(worker):
            self._counts["recycled"] += 1
            self._retire(worker)
        else:
            self._watch_idle()

    def _is_worn(self, worker: Worker) -> bool:
        age, requests, memory = self._limits
        return (
            (age is not None and time.monotonic() - worker.facts.born >= age)
            or (requests is not None and worker.facts.requests >= requests)
            or (memory is not None and worker.memory() > memory)
        )

    def _retire(self, worker: Worker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            task = asyncio.ensure_future(worker.aclose())
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    def _watch_idle(self) -> None:
        if self._idle is not None and self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(self._idle, self._sweep)

    def _sweep(self) -> None:
        """Let those go that have had nothing to do for long; one that is busy is not idle, however long it takes."""
        self._sweeping = None
        assert self._idle is not None  # noqa: S101 - for the type checker
        latest = time.monotonic() - self._idle
        for worker in self._workers[:]:
            if not worker.facts.load and (worker.facts.used <= latest or not worker.usable):
                self._retire(worker)
        if self._workers:
            self._watch_idle()

    def _not_found(self, error: FileNotFoundError) -> FileNotFoundError:
        name = os.fsdecode(self._tool.argv[0])
        return ProgramNotFound(
            f"there is no program {name!r}", command=str(self._tool), location="local:", errno=error.errno
        )

    @property
    def is_ordinary(self) -> bool:
        """Whether the tool is known to be none that becomes a coprocess."""
        return self._tool.ordinary

    def statistics(self) -> CoprocessStatistics:
        """How it is doing now."""
        now = time.monotonic()
        workers = [
            WorkerStatistics(
                pid=worker.child.pid if worker.child else 0, busy=worker.facts.load, requests=worker.facts.requests,
                age=now - worker.facts.born, since=now - worker.facts.used, memory=worker.memory(),
            )
            for worker in self._workers
        ]  # fmt: skip
        return CoprocessStatistics(workers=workers, is_ordinary=self._tool.ordinary, **self._counts)

    async def aclose(self) -> None:
        """End what runs, let the processes go, leave nothing behind."""
        host, self._host = self._host, None
        if self._sweeping is not None:
            self._sweeping.cancel()
        calls = [task for task in self._calls if task is not asyncio.current_task()]
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for worker in self._workers[:]:
            self._retire(worker)
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        if host is None:
            return
        try:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._directory)
                host.remove_directory(self._directory)
        finally:
            await host.aclose()


def _check_directory(path: bytes, tool: str) -> None:
    """Say that it cannot be entered before anything is started or asked.

    Raises:
        WorkdirError: it cannot.
    """
    try:
        os.stat(path + b"/.")
    except OSError as error:
        raise workdir_error(path, error, tool, "local:") from error


def _result(status: int, command: Command, streams: Captured, started: float) -> Result:
    return Result(
        status, *streams.values(), started=started, ended=time.time(), location="local:", shell="coprocess",
        command=command,
    )  # fmt: skip
