"""Offers a tool of ours as a persistent worker of Bazel: any number of requests at once, each with one response."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from warmshell.command import Command
from warmshell.coprocess.pool import CoprocessPool
from warmshell.errors import WarmshellError
from warmshell.protocol.bazel import Codec, WorkRequest, WorkResponse


class BazelServer:
    """Reads requests from descriptor 0 and writes responses to descriptor 1.

    Args:
        tool: the words that start the tool.
        form: ``proto`` or ``json``.
        jobs: the most processes of the tool at once; the number of CPUs by default.
    """

    def __init__(self, tool: Sequence[str], form: str, jobs: int | None) -> None:
        self._pool = CoprocessPool(tool, size=jobs, idle=None)
        self._codec = Codec(form)
        self._working: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[int] = set()
        self._writing = asyncio.Lock()

    async def run(self) -> int:
        """Serve until the requests end; what is under way then is ended."""
        from warmshell.cli.sources import read_some

        async with self._pool:
            try:
                while data := await read_some(0, "standard input"):
                    for request in self._codec.requests(data):
                        self._take(request)
            except ValueError as error:
                raise WarmshellError(f"what came on standard input is no request of Bazel: {error}") from error
            finally:
                for task in self._working.values():
                    task.cancel()
                await asyncio.gather(*self._working.values(), return_exceptions=True)
        return 0

    def _take(self, request: WorkRequest) -> None:
        number = request.request_id
        if request.cancel:
            if number in self._working:  # else its response is on its way, or was
                self._cancelled.add(number)
                self._working[number].cancel()
            return
        task = asyncio.ensure_future(self._work(request))
        self._working[number] = task

    async def _work(self, request: WorkRequest) -> None:
        number = request.request_id
        try:
            response = await self._response(request)
        except asyncio.CancelledError:
            if number not in self._cancelled:  # not by a request: we are ending
                raise
            self._cancelled.discard(number)
            response = WorkResponse(request_id=number, was_cancelled=True)
        del self._working[number]  # from here on a wish to cancel comes too late
        async with self._writing:
            await asyncio.to_thread(_write, self._codec.response(response))

    async def _response(self, request: WorkRequest) -> WorkResponse:
        words = Command(["tool", *request.arguments]).argv[1:]
        try:
            result = await self._pool.run(words, cwd=request.sandbox_dir or None)
        except WarmshellError as error:
            return WorkResponse(1, str(error), request.request_id)
        output = (result.stdout + result.stderr).decode("utf-8", "replace")
        return WorkResponse(result.returncode, output, request.request_id)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
