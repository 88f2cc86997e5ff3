"""A file of :class:`~warmshell.integrations.fsspec.WarmshellFileSystem`, open, for callers that block."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from typing import Any

from fsspec.asyn import sync
from fsspec.spec import AbstractBufferedFile

from warmshell.errors import ClosedError
from warmshell.fileops.errors import file_error
from warmshell.path.saving import Saving


class WarmshellFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """Read by ranges; written beside its name, which it gets when it is closed, or committed.

    A ``with`` that is left by an error leaves nothing under the name.

    Args:
        fs: its file system.
        path: its name there.
        mode: ``rb``, ``wb``, ``xb`` or ``ab``.
        **options: of fsspec.
    """

    def __init__(self, fs: Any, path: str, mode: str = "rb", **options: Any) -> None:
        self._saving: Saving | None = None
        self._closed: bool = True  # until all is well
        if mode == "rb" and fs.info(path)["type"] == "directory":
            raise file_error(errno.EISDIR, fs._name(path), fs.location)  # noqa: SLF001 - its own file system
        if mode == "xb" and fs.exists(path):
            raise file_error(errno.EEXIST, fs._name(path), fs.location)  # noqa: SLF001
        super().__init__(fs, path, mode, **options)
        if mode == "ab":
            self._start = self._sync(self._end_of_file)
            self.loc = self._start

    def _sync(self, function: Any, *args: Any) -> Any:
        return sync(self.fs.loop, function, *args)

    async def _end_of_file(self) -> int:
        files, name = await self.fs._files(), self.fs._name(self.path)  # noqa: SLF001
        await files.write(name, b"")
        return int((await files.stat(name)).size)

    def _initiate_upload(self) -> None:
        if self.mode != "ab":
            self._sync(self._begin)

    async def _begin(self) -> None:
        files, name = await self.fs._files(), self.fs._name(self.path)  # noqa: SLF001
        await self.fs._make_room(files, name)  # noqa: SLF001
        self._saving = Saving(files, name, exclusive=self.mode == "xb")
        await self._saving.begin()

    def _upload_chunk(self, final: bool = False) -> bool:
        try:
            self._sync(self._add, self.buffer.getvalue())
            if final and self.autocommit:
                self.commit()
        except BaseException:
            self.discard()
            raise
        return True

    async def _add(self, data: bytes) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            if data:
                yield data

        if self._saving is not None:
            await self._saving.add(pieces())
        else:
            files, name = await self.fs._files(), self.fs._name(self.path)  # noqa: SLF001
            self._start += await files.write_stream(name, pieces(), self._start)

    def commit(self) -> None:
        """Give what was written its name."""
        self._end(keep=True)

    def discard(self) -> None:
        """Forget what was written."""
        self._end(keep=False)

    def _end(self, *, keep: bool) -> None:
        saving, self._saving = self._saving, None
        if saving is not None:
            self._sync(_end, saving, keep)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and self.mode in ("wb", "xb") and not self._closed:
            self.discard()
            self._closed = True
        self.close()

    def write(self, data: Any) -> int:
        """Add bytes; how many that were.

        Raises:
            ClosedError: the file is closed.
        """
        if self._closed:
            raise ClosedError("the file is closed")
        return int(super().write(data))


async def _end(saving: Saving, keep: bool) -> None:
    await saving.end(keep=keep)
