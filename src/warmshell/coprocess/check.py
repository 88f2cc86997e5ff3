"""Tests anybody's coprocess, in whatever language: what docs/fcli.md asks for, one look after the other."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from warmshell.command import Command, Word
from warmshell.coprocess.fcli_worker import FcliWorker
from warmshell.coprocess.streams import Captured, Log
from warmshell.coprocess.worker import Invocation, NotStartedError, Tool
from warmshell.errors import ShellLost
from warmshell.host import LocalHost
from warmshell.protocol import fcli
from warmshell.protocol.fcli import Request

_SECONDS = 20.0
_ODD_TEXT = b'it\'s "quoted" \\u0022 \\ {"argv":["x"]},\ttab\nnew line \xc3\xa9'
_Said = tuple[int, bytes, bytes]


@dataclass(frozen=True)
class Finding:
    """What one look found.

    Attributes:
        name: what was looked at.
        problem: what is wrong, or ``None``.
        skipped: why it was not looked at, or ``None``.
    """

    name: str
    problem: str | None = None
    skipped: str | None = None


class _SkipError(Exception):
    pass


class Checker:
    """Looks at one tool.

    Args:
        tool: the words that start it.
        words: those of an invocation that always says the same.
        stdin: what it reads.
    """

    def __init__(self, tool: Sequence[Word], words: Sequence[Word] = (), stdin: bytes = b"") -> None:
        self._command = Command([*tool, *words], stdin=stdin)
        self._count = len(tool)
        self._cold: _Said = (0, b"", b"")
        self._features: frozenset[str] | None = None

    async def run(self) -> AsyncIterator[Finding]:
        """What each look found."""
        for name, look in self._looks():
            try:
                async with asyncio.timeout(_SECONDS):
                    problem = await look()
            except _SkipError as reason:
                yield Finding(name, skipped=str(reason))
            except TimeoutError:
                yield Finding(name, f"no answer within {_SECONDS:g} s")
            except (ShellLost, OSError) as error:
                yield Finding(name, str(error))
            except NotStartedError:
                yield Finding(name, "it ended before it read the request")
            else:
                yield Finding(name, problem)

    def _looks(self) -> list[tuple[str, Callable[[], Awaitable[str | None]]]]:
        return [
            ("without the variables it is an ordinary command", self._ordinary),
            ("the first request, with the streams it was started with", self._first),
            ("it answers as a coprocess and lives on", self._lives),
            ("a second request does the same", self._second),
            ("a request that arrives in pieces", self._pieces),
            ("the request flush", lambda: self._simple("flush")),
            ("the request version", self._version),
            ("the request echo", self._echo),
            ("the requests cd and env", self._surroundings),
            ("a request that nobody knows has a status other than 0, and a next one", self._unknown),
            ("it lets go of the streams that it was started with", self._lets_go),
            ("it ends with the end of its requests", self._ends),
            ("the child of another client is an ordinary command", self._another),
        ]

    def _invocation(self) -> tuple[Invocation, Captured]:
        streams = Captured(self._command)
        return Invocation(self._command.argv[self._count :], dict(os.environb), os.getcwdb(), streams), streams

    @asynccontextmanager
    async def _worker(self, *, started: bool = True, ordinary: bool = False) -> AsyncIterator[FcliWorker]:
        host = LocalHost()
        tool = Tool(self._command.argv[: self._count], ordinary=ordinary)
        try:
            with tempfile.TemporaryDirectory(prefix="warmshell-") as directory:
                worker = FcliWorker(host, tool, os.path.join(directory, "check"), Log())
                try:
                    if started:
                        await self._said(worker)
                        if not worker.usable:
                            raise _SkipError("it is no coprocess")
                        self._features = worker.features
                    yield worker
                finally:
                    await worker.aclose()
        finally:
            await host.aclose()

    async def _said(self, worker: FcliWorker) -> _Said:
        invocation, streams = self._invocation()
        status = await worker.invoke(invocation)
        stdout, stderr = streams.values()
        return status, bytes(stdout if isinstance(stdout, bytes) else stdout.read()), _bytes(stderr)

    def _differs(self, said: _Said) -> str | None:
        for what, cold, warm in zip(("status", "stdout", "stderr"), self._cold, said, strict=True):
            if cold != warm:
                return f"{what} is {warm!r}, as an ordinary command {cold!r}"
        return None

    async def _ordinary(self) -> str | None:
        async with self._worker(started=False, ordinary=True) as worker:
            self._cold = await self._said(worker)
        return None

    async def _first(self) -> str | None:
        async with self._worker(started=False) as worker:
            return self._differs(await self._said(worker))

    async def _lives(self) -> str | None:
        async with self._worker(started=False) as worker:
            await self._said(worker)
            return None if worker.usable else "it ended, or did not answer: it runs as an ordinary command"

    async def _second(self) -> str | None:
        async with self._worker() as worker:
            invocation, _ = self._invocation()
            if not worker.fits(invocation):
                raise _SkipError("it does not announce streams: it reads input once only")
            for _ in range(2):
                if problem := self._differs(await self._said(worker)):
                    return problem
        return None

    async def _pieces(self) -> str | None:
        async with self._worker() as worker:
            response = await worker.ask(Request("echo", text=b"x" * 3000), piece=7)
            return None if response.status == 0 or self._lacks("echo") else f"status {response.status}"

    def _lacks(self, feature: str) -> bool:
        return feature not in (self._features or ())

    def _need(self, feature: str) -> None:
        if self._lacks(feature):
            raise _SkipError("it does not announce it")

    async def _simple(self, kind: str) -> str | None:
        async with self._worker() as worker:
            self._need(kind)
            response = await worker.ask(Request(kind))
            return None if response.status == 0 else f"status {response.status}"

    async def _version(self) -> str | None:
        async with self._worker() as worker:
            self._need("version")
            response = await worker.ask(Request("version"))
            if response.status or response.version != fcli.VERSION or response.features != self._features:
                return f"it answered {response}"
        return None

    async def _echo(self) -> str | None:
        async with self._worker() as worker:
            self._need("echo")
            for text in (b"", b"plain", _ODD_TEXT, _ODD_TEXT * 50):
                response = await worker.ask(Request("echo", text=text))
                if response.status or response.echo != text:
                    return f"{text[:60]!r} came back as {(response.echo or b'')[:60]!r}"
        return None

    async def _surroundings(self) -> str | None:
        async with self._worker() as worker:
            self._need("cd")
            self._need("env")
            there = (await worker.ask(Request("cd", text=b"/"))).status
            nowhere = (await worker.ask(Request("cd", text=b"/no/such/directory"))).status
            env = (await worker.ask(Request("env", env={b"FCLI_CHECK": b"a b", b"FCLI_NONE": None}))).status
            if there or env or not nowhere:
                return f"status {there} of cd /, {nowhere} of a directory that is not there, {env} of env"
        return None

    async def _unknown(self) -> str | None:
        async with self._worker() as worker:
            if self._features is not None and not self._features:
                raise _SkipError("it announces nothing")
            response = await worker.ask_raw(b'{"what":"is this"}\n')
            if response.status == 0:
                return "status 0"
            return self._differs(await self._said(worker)) if not self._lacks("streams") else None

    async def _lets_go(self) -> str | None:
        async with self._worker() as worker:
            self._need("streams")
            return None if await worker.let_go(_SECONDS / 4) else "it still holds them after its first response"

    async def _ends(self) -> str | None:
        async with self._worker() as worker:
            return None if await worker.leaves(_SECONDS / 4) else "it is still there some seconds later"

    async def _another(self) -> str | None:
        if not self._features:
            raise _SkipError("it announces nothing")
        command = [b"sh", b"-c", b'"$@"; exit $?', b"sh", *self._command.argv[: self._count]]
        nested = Checker(command, self._command.argv[self._count :], self._command.stdin or b"")  # type: ignore[arg-type]
        async with nested._worker(started=False) as worker:
            said = await nested._said(worker)
            if worker.usable:
                return "it became one, although FCLI_CLIENT_PID names another process than its parent"
            return self._differs(said)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else value.read()  # type: ignore[attr-defined]
