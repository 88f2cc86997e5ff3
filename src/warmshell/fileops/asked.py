"""File operations as requests: to a session server, or to its very functions in threads of this machine."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from warmshell.errors import WarmshellError
from warmshell.fileops.base import PIECE, Entry, Facts, FileOperations, Listing, Space
from warmshell.fileops.errors import BadNameError, checked, file_error
from warmshell.shell.session import Refused

Ask = Callable[..., Awaitable[Any]]
"""Sends one request by its name, and returns the answer; see :mod:`warmshell.server.files`."""

_MOST_ASKED = 256  # requests on their way: a session server keeps no more than a thousand waiting
_MOST_CONTENTS = 16  # of them with contents, which the far end holds until they have been dealt with
_AHEAD = 8  # pieces of contents on their way at once, so that a distance costs no time

_WITH_CONTENTS = ("read", "write", "store")

PATHLIB = {"deep_files": sys.version_info >= (3, 13), "dangling": sys.version_info >= (3, 13)}
"""What ``pathlib`` of this Python finds that others do not."""


class AskedFiles(FileOperations):
    """Operations that are asked for.

    Args:
        ask: sends a request.
        location: the name of the location.
    """

    def __init__(self, ask: Ask, location: str) -> None:
        self._ask_far = ask
        self.location = location
        self._room = asyncio.Semaphore(_MOST_ASKED)
        self._room_for_contents = asyncio.Semaphore(_MOST_CONTENTS)

    async def _ask(self, op: str, path: bytes, target: bytes | None = None, **arguments: Any) -> Any:
        """One request about a path.

        Raises:
            FileError: the far system refuses.
            BadNameError: no file can have such a name.
            ConnectError: the location is lost.
        """
        arguments["path"] = checked(path).decode("latin-1")
        if target is not None:
            arguments["target"] = checked(target).decode("latin-1")
        async with self._room_for_contents if op in _WITH_CONTENTS else self._room:
            try:
                return await self._ask_far(op, **arguments)
            except Refused as error:
                raise self._refused(error, path, target) from None
            except OSError as error:
                if isinstance(error, WarmshellError):  # the location is lost
                    raise
                words = None if error.errno else str(error)
                raise file_error(error.errno, path, self.location, target=target, words=words) from None

    def _refused(self, error: Refused, path: bytes, target: bytes | None) -> Exception:
        if error.errno is not None:
            return file_error(error.errno, path, self.location, target=target)
        if error.kind == "ValueError":
            return BadNameError(error.reason, location=self.location)
        return file_error(None, path, self.location, target=target, words=error.reason)

    # -- what is there ----------------------------------------------------------------------------------------------

    async def stat(self, path: bytes, *, follow: bool = True) -> Facts:
        return Facts.of(await self._ask("stat_path", path, follow=follow))

    async def exists(self, path: bytes, *, follow: bool = True) -> bool:
        return bool(await self._ask("exists", path, follow=follow))

    async def executable(self, path: bytes) -> bool:
        return bool(await self._ask("executable", path))

    async def list(self, path: bytes, *, after: bytes | None = None, limit: int | None = None) -> Listing:
        start = None if after is None else after.decode("latin-1")
        answer = await self._ask("list", path, after=start, limit=limit, patient=True)
        entries = [Entry(entry["name"].encode("latin-1"), Facts.of(entry)) for entry in answer["entries"]]
        return Listing(entries, _next(answer))

    async def glob(self, pattern: bytes, root: bytes = b".") -> AsyncIterator[bytes]:
        text, after = checked(pattern).decode("latin-1"), None
        while True:
            answer = await self._ask("glob", root, None, pattern=text, after=after, patient=True, **PATHLIB)
            for name in answer["names"]:
                yield name.encode("latin-1")
            after = answer["next"]
            if after is None:
                return

    async def readlink(self, path: bytes) -> bytes:
        return _name(await self._ask("readlink", path))

    async def realpath(self, path: bytes) -> bytes:
        return _name(await self._ask("realpath", path))

    async def space(self, path: bytes) -> Space:
        return Space(**await self._ask("space", path))

    # -- contents ---------------------------------------------------------------------------------------------------

    async def read(self, path: bytes, offset: int = 0, length: int = PIECE) -> bytes:
        if length <= PIECE:
            return bytes((await self._ask("read", path, offset=offset, length=length))["data"])
        return b"".join([piece async for piece in self.stream(path, offset, length)])

    async def stream(self, path: bytes, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        end = None if length is None else offset + length
        asked: deque[tuple[int, asyncio.Task[Any]]] = deque()
        ahead = 1  # the first piece tells whether there is more
        try:
            while True:
                while len(asked) < ahead and (end is None or offset < end):
                    size = PIECE if end is None else min(PIECE, end - offset)
                    asked.append((size, asyncio.ensure_future(self._ask("read", path, offset=offset, length=size))))
                    offset += size
                if not asked:
                    return
                _, task = asked.popleft()
                answer = await task
                if answer["data"]:
                    yield answer["data"]
                if answer["end"]:
                    return
                ahead = _AHEAD
        finally:
            await _settle(task for _, task in asked)

    async def write(
        self, path: bytes, data: bytes, offset: int = 0, *, create: bool = True, exclusive: bool = False,
        truncate: bool = False, mode: int = 0o666,
    ) -> None:  # fmt: skip
        await self._ask(
            "write", path, data=data[:PIECE], offset=offset, create=create, exclusive=exclusive, truncate=truncate,
            mode=mode,
        )  # fmt: skip
        if len(data) > PIECE:
            await self.write_stream(path, _pieces(data[PIECE:]), offset + PIECE)

    async def store(self, path: bytes, data: bytes) -> None:
        await self._ask("store", path, data=data)

    async def duplicate(self, path: bytes, target: bytes) -> None:
        await self._ask("duplicate", path, target, patient=True)

    async def write_stream(self, path: bytes, pieces: AsyncIterator[bytes], offset: int = 0) -> int:
        start = offset
        under_way: deque[asyncio.Task[Any]] = deque()
        try:
            async for piece in pieces:
                for at in range(0, len(piece), PIECE):
                    data = piece[at : at + PIECE]
                    if len(under_way) == _AHEAD:
                        await _result(under_way)
                    under_way.append(
                        asyncio.ensure_future(self._ask("write", path, data=data, offset=offset, create=False))
                    )
                    offset += len(data)
            while under_way:
                await _result(under_way)
        finally:
            await _settle(under_way, wait=True)
        return offset - start

    async def truncate(self, path: bytes, size: int) -> None:
        await self._ask("truncate", path, size=size)

    async def sync(self, path: bytes) -> None:
        await self._ask("sync", path, patient=True)

    async def checksum(self, path: bytes, algorithm: str = "sha256") -> str:
        return str((await self._ask("checksum", path, algorithm=algorithm, patient=True))["digest"])

    # -- making, changing, removing ---------------------------------------------------------------------------------

    async def mkdir(
        self, path: bytes, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False
    ) -> None:  # fmt: skip
        await self._ask("mkdir", path, mode=mode, parents=parents, exist_ok=exist_ok)

    async def touch(self, path: bytes, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        await self._ask("touch", path, mode=mode, exist_ok=exist_ok)

    async def rmdir(self, path: bytes) -> None:
        await self._ask("rmdir", path)

    async def rmtree(self, path: bytes, *, missing_ok: bool = False) -> None:
        await self._ask("rmtree", path, missing_ok=missing_ok, patient=True)

    async def remove(self, path: bytes, *, missing_ok: bool = False) -> None:
        await self._ask("remove", path, missing_ok=missing_ok)

    async def rename(self, path: bytes, target: bytes) -> None:
        await self._ask("rename", path, target)

    async def symlink(self, path: bytes, target: bytes) -> None:
        await self._ask("symlink", path, target)

    async def link(self, path: bytes, target: bytes) -> None:
        await self._ask("link", path, target)

    async def chmod(self, path: bytes, mode: int) -> None:
        await self._ask("chmod", path, mode=mode)

    async def utime(self, path: bytes, atime_ns: int, mtime_ns: int, *, follow: bool = True) -> None:
        await self._ask("utime", path, atime_ns=atime_ns, mtime_ns=mtime_ns, follow=follow)


def ask_here(base: bytes) -> Ask:
    """Requests answered by threads of this process.

    Args:
        base: where relative names start.
    """
    from warmshell.server.files import OPERATIONS

    start = base.decode("latin-1")

    async def ask(op: str, *, patient: bool = False, **request: Any) -> Any:  # noqa: ARG001 - threads are patient
        request["base"] = start
        try:
            return await asyncio.to_thread(OPERATIONS[op], request)
        except ValueError as error:
            raise BadNameError(str(error)) from None

    return ask


def _name(text: str) -> bytes:
    return text.encode("latin-1")


def _next(answer: dict[str, Any]) -> bytes | None:
    return None if answer["next"] is None else _name(answer["next"])


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _result(under_way: deque[asyncio.Task[Any]]) -> None:
    """The outcome of the oldest; whoever is cancelled here does not cancel it."""
    await asyncio.wait([under_way[0]])
    under_way.popleft().result()


async def _settle(tasks: Any, *, wait: bool = False) -> None:
    """Let go of requests that nobody needs any more; with ``wait``, once they have been answered."""
    left = list(tasks)
    if not wait:
        for task in left:
            task.cancel()
    if left:
        await asyncio.wait(left)
        for task in left:
            if not task.cancelled():
                task.exception()
