"""A worker that speaks the protocol of Bazel's persistent workers, one request at a time or several."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os

from warmshell.coprocess.streams import Log, Outlet
from warmshell.coprocess.worker import Invocation, NotStartedError, Tool, Worker
from warmshell.errors import NotSupported, ShellLost
from warmshell.fdstream import FdReceiveStream, FdSendStream
from warmshell.host import LocalHost
from warmshell.protocol.bazel import Codec, WorkRequest, WorkResponse
from warmshell.shield import shielded

_FLAG = b"--persistent_worker"
_LEAVE_SECONDS = 1.0
_CANCEL_SECONDS = 10.0  # for the response to a cancelled request, after which the worker is ended


class BazelWorker(Worker):
    """One process of a tool that was started with ``--persistent_worker``.

    Args:
        host: what starts it.
        tool: what is started.
        form: ``proto`` or ``json``.
        log: what gets its standard error.
        capacity: how many requests it is given at once (``supports-multiplex-workers``).
        cancellable: whether it knows ``cancel`` (``supports-worker-cancellation``).
    """

    def __init__(
        self, host: LocalHost, tool: Tool, form: str, log: Log, *, capacity: int = 1, cancellable: bool = False
    ) -> None:
        super().__init__()
        self.capacity = capacity
        self._host = host
        self._tool = tool
        self._codec = Codec(form)
        self._log = log
        self._cancellable = cancellable
        self._token = host.new_token()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[WorkResponse]] = {}
        self._spoiled = False
        self._own: tuple[dict[bytes, bytes], bytes] = ({}, b"")
        self._stdin: FdSendStream | None = None
        self._sending = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._errors: Outlet | None = None

    @property
    def usable(self) -> bool:
        return not self._spoiled and self.child is not None and self.child.returncode is None

    def fits(self, invocation: Invocation) -> bool:
        return (dict(invocation.env), invocation.cwd) == self._own

    async def invoke(self, invocation: Invocation) -> int:
        if invocation.streams.source is not None:
            raise NotSupported("a Bazel worker has no standard input to give to a request", command=str(self._tool))
        if self.child is None:
            self._start(invocation)
        number = next(self._numbers) if self.capacity > 1 or self._cancellable else 0
        answer: asyncio.Future[WorkResponse] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            await self._send(number, invocation)
            response = await asyncio.shield(answer)
        except asyncio.CancelledError:
            await shielded(self._cancel(number, answer))
            raise
        except BaseException:
            self._answers.pop(number, None)
            raise
        await invocation.streams.write(1, response.output.encode("utf-8", "surrogateescape"))
        return response.exit_code & 0xFF

    def _start(self, invocation: Invocation) -> None:
        self._own = (dict(invocation.env), invocation.cwd)
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (their_in, our_in), (our_out, their_out), (our_err, their_err) = pipes
        try:
            self.child = self._host.spawn(
                [*self._tool.argv, _FLAG], self._token, stdin=their_in, stdout=their_out, stderr=their_err,
                env=invocation.env, blank=True, cwd=invocation.cwd,
            )  # fmt: skip
        except BaseException:
            self._spoiled = True
            for fd in (our_in, our_out, our_err):
                os.close(fd)
            raise
        finally:
            for fd in (their_in, their_out, their_err):
                os.close(fd)
        self._stdin = FdSendStream(our_in)
        self._errors = Outlet(our_err, 2, self._log)
        self._tasks = [asyncio.ensure_future(self._read(FdReceiveStream(our_out)))]

    async def _send(self, number: int, invocation: Invocation) -> None:
        words = [word.decode("utf-8", "surrogateescape") for word in invocation.argv]
        await self._say(WorkRequest(words, number))

    async def _say(self, request: WorkRequest) -> None:
        """Write a request whole, whoever is cancelled meanwhile: half of one would end the worker for all."""
        try:
            await shielded(self._write(self._codec.request(request)))
        except BrokenPipeError:
            raise self._lost("unknown") from None

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            if self._stdin is None:
                raise NotStartedError
            await self._stdin.send(data)

    async def _read(self, stream: FdReceiveStream) -> None:
        problem = "ended"
        try:
            async for data in stream:
                for response in self._codec.responses(data):
                    self._answered(response)
        except ValueError as error:
            problem = f"broke the protocol: {error}"
        finally:
            stream.close()
            self._spoiled = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(self._lost("yes", problem))
            self._answers.clear()

    def _lost(self, started: str, problem: str = "ended") -> ShellLost:
        self._spoiled = True
        tail = bytes(self._log)[-300:].decode("utf-8", "replace").strip()
        return ShellLost(
            f"the Bazel worker {problem} before its response" + (f": {tail}" if tail else ""),
            started="yes" if started == "yes" else "unknown", command=str(self._tool), location="local:",
        )  # fmt: skip

    def _answered(self, response: WorkResponse) -> None:
        answer = self._answers.pop(response.request_id, None)
        if answer is None:
            raise ValueError(f"a response to request {response.request_id}, which nobody waits for")
        if not answer.done():
            answer.set_result(response)

    async def _cancel(self, number: int, answer: asyncio.Future[WorkResponse]) -> None:
        """Have nobody work on it any more, and its one response arrive, before its id or its worker is used again."""
        if self._cancellable and self.usable and not answer.done():
            with contextlib.suppress(ShellLost, NotStartedError):
                await self._say(WorkRequest(request_id=number, cancel=True))
            await asyncio.wait({answer}, timeout=_CANCEL_SECONDS)
        if answer.done():
            answer.exception()
        elif len(self._answers) <= 1:  # nobody else's work is in it
            await self.aclose()

    async def aclose(self) -> None:
        """Let it end with the end of its input; end it if it does not."""
        leaves = not self._spoiled and not self._answers
        self._spoiled = True
        if self._stdin is not None:
            self._stdin.close()
            self._stdin = None
        if self.child is not None:
            if leaves:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LEAVE_SECONDS):
                        await self.child.wait()
            if self.child.poll() is None:
                await self._host.end([self.child], [self._token], sids=[self.child.pid], grace=0.5)
            await self.child.wait()
            self._host.forget(self.child)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._errors is not None:
            with contextlib.suppress(OSError):
                await self._errors.finish()
