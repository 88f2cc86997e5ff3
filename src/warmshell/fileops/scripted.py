"""File operations by the tools of a POSIX system, for locations without a Python; see :mod:`scripts`."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from warmshell.errors import NotSupported
from warmshell.fileops import answers, scripts
from warmshell.fileops.asked import PATHLIB
from warmshell.fileops.base import PIECE, Entry, Facts, FileOperations, Listing, Space
from warmshell.fileops.errors import BadNameError, checked, file_error
from warmshell.protocol.globbing import Pattern, Walk

if TYPE_CHECKING:
    from warmshell.command import Result
    from warmshell.location import Location

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
_LISTED_AT_ONCE = 64  # directories of a walk in one script
_MOST_WRITTEN = 256 * 1024  # bytes that go through a warm shell; more gets a process of its own


class ScriptedFiles(FileOperations):
    """Operations that are scripts for the location's shells.

    Args:
        place: the location.
    """

    def __init__(self, place: Location) -> None:
        self._place = place
        self.location = place.name

    async def _run(
        self, text: bytes, path: bytes, target: bytes | None = None, stdin: bytes | None = None
    ) -> Result:  # fmt: skip
        """Run a script about a path.

        Raises:
            FileError: it failed.
        """
        result = await self._try(text, path, target, stdin)
        if result.returncode:
            raise self._failed(result, path, target)
        return result

    async def _try(
        self, text: bytes, path: bytes, target: bytes | None = None, stdin: bytes | None = None
    ) -> Result:  # fmt: skip
        checked(path)
        whole = scripts.script(text, path, None if target is None else checked(target))
        return await self._place.run(_text(whole), stdin=stdin)

    def _failed(self, result: Result, path: bytes, target: bytes | None = None) -> Exception:
        number = answers.errno_of(result.returncode, result.stderr)
        if number == errno.ENOSYS or result.returncode == 127:
            said = result.stderr[-200:].decode("utf-8", "replace").strip()
            return NotSupported(f"a program for this is missing there: {said}", location=self.location)
        said = result.stderr[-500:].decode("utf-8", "replace").strip()
        words = said or f"status {result.returncode}"
        return file_error(number, path, self.location, target=target, words=None if number else words)

    # -- what is there ----------------------------------------------------------------------------------------------

    async def stat(self, path: bytes, *, follow: bool = True) -> Facts:
        result = await self._run(scripts.STAT if follow else scripts.LSTAT, path)
        return answers.parse_facts(result.stdout)

    async def exists(self, path: bytes, *, follow: bool = True) -> bool:
        result = await self._try(scripts.EXISTS if follow else scripts.LEXISTS, path)
        if result.returncode and answers.errno_of(result.returncode, result.stderr) not in _ABSENT:
            raise self._failed(result, path)
        return result.returncode == 0

    async def executable(self, path: bytes) -> bool:
        return (await self._try(scripts.EXECUTABLE, path)).returncode == 0

    async def list(self, path: bytes, *, after: bytes | None = None, limit: int | None = None) -> Listing:
        output = (await self._run(scripts.LIST, path)).stdout
        entries = [e for e in answers.parse_entries(output) if after is None or e.name > after]
        entries.sort(key=_name)
        if limit is None or len(entries) <= limit:
            return Listing(entries, None)
        return Listing(entries[:limit], entries[limit - 1].name)

    async def glob(self, pattern: bytes, root: bytes = b".") -> AsyncIterator[bytes]:
        try:
            walk = Walk(Pattern(checked(pattern), **PATHLIB))
        except ValueError as error:
            raise BadNameError(str(error)) from None
        while True:
            for found in walk.found():
                yield found
            if walk.done:
                return
            await self._list_for(walk, checked(root))

    async def _list_for(self, walk: Walk, root: bytes) -> None:
        """The next directories of a walk, several in one round trip."""
        wants = walk.wanted(_LISTED_AT_ONCE)
        asked = [(os.path.join(root, want.path) if want.path else root, want.names) for want in wants]
        result = await self._place.run(_text(scripts.walk(asked)))
        output, at = result.stdout, 0
        for want in wants:
            entries = []
            while item := output[at : (end := output.index(b"\0", at))]:
                entries.append((item[1:], chr(item[0])))
                at = end + 1
            at += 1
            want.entries = entries

    async def readlink(self, path: bytes) -> bytes:
        return (await self._run(scripts.READLINK, path)).stdout

    async def realpath(self, path: bytes) -> bytes:
        found = (await self._run(scripts.REALPATH, path)).stdout
        return b"/" + found.lstrip(b"/")  # POSIX lets a system keep two slashes at the beginning

    async def space(self, path: bytes) -> Space:
        return answers.parse_space((await self._run(scripts.SPACE, path)).stdout)

    # -- contents ---------------------------------------------------------------------------------------------------

    async def read(self, path: bytes, offset: int = 0, length: int = PIECE) -> bytes:
        if length <= 0:
            return b""
        text, skipped = scripts.read(offset, length)
        return (await self._run(text, path)).stdout[skipped : skipped + length]

    async def stream(self, path: bytes, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        text, skip = scripts.read(offset, length)
        whole = scripts.script(text, checked(path))
        left = length
        async with self._place.open(_text(whole)) as process:
            said = asyncio.ensure_future(process.stderr.read())
            try:
                async for data in process.stdout:
                    piece, skip = data[skip:], max(0, skip - len(data))
                    piece = piece if left is None else piece[:left]
                    left = None if left is None else left - len(piece)
                    if piece:
                        yield piece
                status, stderr = await process.wait(), await said
            finally:
                said.cancel()
            if status:
                number = answers.errno_of(status, stderr)
                words = None if number else stderr[-500:].decode("utf-8", "replace").strip() or f"status {status}"
                raise file_error(number, path, self.location, words=words)

    async def write(
        self, path: bytes, data: bytes, offset: int = 0, *, create: bool = True, exclusive: bool = False,
        truncate: bool = False, mode: int = 0o666,
    ) -> None:  # fmt: skip
        text = scripts.write(offset, create=create, exclusive=exclusive, truncate=truncate, mode=mode)
        await self._run(text, path, stdin=data)

    async def store(self, path: bytes, data: bytes) -> None:
        await self._run(scripts.store(secrets.token_hex(8)), path, stdin=data)

    async def duplicate(self, path: bytes, target: bytes) -> None:
        await self._run(scripts.duplicate(secrets.token_hex(8)), path, target)

    async def write_stream(self, path: bytes, pieces: AsyncIterator[bytes], offset: int = 0) -> int:
        size = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for piece in pieces:
                size += len(piece)
                yield piece

        text = scripts.write(offset, create=False, exclusive=False, truncate=False, mode=0o666)
        result = await self._place.run(_text(scripts.script(text, checked(path))), stdin=counted())
        if result.returncode:
            raise self._failed(result, path)
        return size

    async def truncate(self, path: bytes, size: int) -> None:
        await self._run(scripts.truncate(size), path)

    async def sync(self, path: bytes) -> None:
        await self._run(scripts.SYNC, path)

    async def checksum(self, path: bytes, algorithm: str = "sha256") -> str:
        if algorithm not in _ALGORITHMS:
            raise BadNameError(f"no such algorithm: {algorithm!r}; there are {', '.join(_ALGORITHMS)}")
        return (await self._run(scripts.checksum(algorithm), path)).text.split(maxsplit=1)[0]

    # -- making, changing, removing ---------------------------------------------------------------------------------

    async def mkdir(
        self, path: bytes, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False
    ) -> None:  # fmt: skip
        above = os.path.dirname(path.rstrip(b"/")) if parents else None
        await self._run(scripts.mkdir(mode, above=above, exist_ok=exist_ok), path)

    async def touch(self, path: bytes, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        await self._run(scripts.touch(mode, exist_ok=exist_ok), path)

    async def rmdir(self, path: bytes) -> None:
        await self._run(scripts.RMDIR, path)

    async def rmtree(self, path: bytes, *, missing_ok: bool = False) -> None:
        name = checked(path).rstrip(b"/")  # behind a slash, a link would be followed
        if os.path.basename(name) in (b"", b".", b".."):
            raise file_error(errno.EINVAL, path, self.location)
        await self._run(scripts.rmtree(missing_ok=missing_ok), name)

    async def remove(self, path: bytes, *, missing_ok: bool = False) -> None:
        await self._run(scripts.remove(missing_ok=missing_ok), path)

    async def rename(self, path: bytes, target: bytes) -> None:
        await self._run(scripts.RENAME, path, target)

    async def symlink(self, path: bytes, target: bytes) -> None:
        await self._run(scripts.symlink(checked(target)), path)

    async def link(self, path: bytes, target: bytes) -> None:
        await self._run(scripts.LINK, path, target)

    async def chmod(self, path: bytes, mode: int) -> None:
        await self._run(scripts.chmod(mode), path)

    async def utime(self, path: bytes, atime_ns: int, mtime_ns: int, *, follow: bool = True) -> None:
        await self._run(scripts.utime(atime_ns, mtime_ns, follow=follow), path)


def _text(script: bytes) -> str:
    return script.decode("utf-8", "surrogateescape")


def _name(entry: Entry) -> bytes:
    return entry.name
