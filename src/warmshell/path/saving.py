"""Contents that appear under their name in one step, once they are whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

from warmshell.fileops.base import PIECE
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.fileops import Facts, FileOperations


async def save(files: FileOperations, path: bytes, data: bytes) -> int:
    """Make these the contents of a file; how many bytes that were."""
    if len(data) <= PIECE:
        await files.store(path, data)
        return len(data)

    async def pieces() -> AsyncIterator[bytes]:
        yield data

    async with Saving(files, path) as saving:
        await saving.add(pieces())
    return len(data)


class Saving:
    """Contents of any size, piece by piece; leaving the context without an error gives them their name.

    Args:
        files: of the location.
        path: the name.
        exclusive: whether there may be no such file yet.
    """

    def __init__(self, files: FileOperations, path: bytes, *, exclusive: bool = False) -> None:
        self._files = files
        self._path = self._final = path
        self._exclusive = exclusive
        self._temporary: bytes | None = None
        self._mode: int | None = None
        self._size = 0

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        await self.end(keep=kind is None)

    async def begin(self) -> None:
        """Make a place for them beside the file, or find that it is a device, which is written to."""
        facts = await self._facts()
        if facts is not None and self._exclusive:
            await self._files.write(self._path, b"", exclusive=True)  # it fails as it should
        if facts is not None and not facts.is_file:
            await self._files.write(self._path, b"", create=False)  # fails for a directory
            return
        if facts is not None:
            self._final = await self._files.realpath(self._path)
        temporary = os.path.join(os.path.dirname(self._final), b".warm-" + secrets.token_hex(8).encode())
        mode = 0o666 if facts is None else 0o600
        try:
            await shielded(self._files.write(temporary, b"", exclusive=True, mode=mode))
        except BaseException:
            await shielded(self._discard(temporary))
            raise
        self._temporary = temporary
        self._mode = None if facts is None else facts.mode

    async def _facts(self) -> Facts | None:
        try:
            return await self._files.stat(self._path)
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):
                if (await self._files.stat(self._path, follow=False)).is_symlink:  # its target is made
                    self._final = await self._files.realpath(self._path)
            return None

    async def add(self, pieces: AsyncIterator[bytes]) -> None:
        """Contents that follow those before."""
        self._size += await self._files.write_stream(self._temporary or self._path, pieces, self._size)

    async def end(self, *, keep: bool) -> None:
        """Give them their name, or forget them."""
        temporary, self._temporary = self._temporary, None
        if temporary is None:
            return
        if not keep:
            await shielded(self._discard(temporary))
        elif self._exclusive:
            await self._name_new(temporary)
        else:
            await self._name_again(temporary)

    async def _name_new(self, temporary: bytes) -> None:
        try:
            await self._files.link(self._final, temporary)  # unlike a rename, it replaces nothing
        finally:
            await shielded(self._discard(temporary))

    async def _name_again(self, temporary: bytes) -> None:
        try:
            if self._mode is not None:
                await self._files.chmod(temporary, self._mode)
            await self._files.rename(temporary, self._final)
        except BaseException:
            await shielded(self._discard(temporary))
            raise

    async def _discard(self, temporary: bytes) -> None:
        with contextlib.suppress(OSError):  # the location may be lost: then it is what ends
            await self._files.remove(temporary, missing_ok=True)
