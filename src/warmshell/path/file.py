"""A file of a location, open: read from anywhere by ranged requests, or written as a whole."""

from __future__ import annotations

import asyncio
import errno
import io
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Any, Literal, Self

from warmshell.errors import ClosedError, NotSupported
from warmshell.fileops.base import PIECE
from warmshell.fileops.errors import file_error
from warmshell.path.saving import Saving
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.fileops import FileOperations

Mode = Literal["rb", "wb", "xb", "ab"]

_MOST_AHEAD = 8
_KEPT = 2 * _MOST_AHEAD  # blocks, those on their way among them


class Blocks:
    """Blocks of a file, asked for once each, ahead of whoever reads on and on.

    Args:
        files: of the location.
        path: the file.
    """

    def __init__(self, files: FileOperations, path: bytes) -> None:
        self._files = files
        self._path = path
        self._asked: OrderedDict[int, asyncio.Task[bytes]] = OrderedDict()
        self._ahead = 0
        self._next = 0

    async def get(self, number: int) -> bytes:
        """One block; short or empty at the end of the file."""
        if number == self._next:
            self._ahead = min(max(1, 2 * self._ahead), _MOST_AHEAD)
        elif number != self._next - 1:
            self._ahead = 0
        self._next = number + 1
        task = self._ask(number)
        for later in range(number + 1, number + 1 + self._ahead):
            if not self._is_end(later - 1):
                self._ask(later)
        await asyncio.wait([task])
        if task.cancelled() or task.exception() is not None:
            self._asked.pop(number, None)
        return task.result()

    def _is_end(self, number: int) -> bool:
        """Whether it is known that nothing comes behind this block."""
        task = self._asked.get(number)
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return False
        return len(task.result()) < PIECE

    def _ask(self, number: int) -> asyncio.Task[bytes]:
        task = self._asked.get(number)
        if task is None:
            task = asyncio.ensure_future(self._files.read(self._path, number * PIECE, PIECE))
            self._asked[number] = task
            task.add_done_callback(_looked_at)
        self._asked.move_to_end(number)
        while len(self._asked) > _KEPT:
            _, old = self._asked.popitem(last=False)
            old.cancel()
        return task

    async def aclose(self) -> None:
        """Ask for no more."""
        tasks = list(self._asked.values())
        self._asked.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class RemoteFile:
    """A file of a location, open; ``async with path.open() as file`` or ``file = await path.open()``.

    Reading is by ranged requests, ahead of whoever reads in order. What is written appears under the file's name when
    the file is closed, whole; nothing appears if the context is left by an error. (``ab`` adds at once.)

    Args:
        files: of the location.
        path: the file.
        mode: ``rb``, ``wb``, ``xb`` or ``ab``.

    Raises:
        ValueError: another mode.
    """

    def __init__(self, files: FileOperations, path: bytes, mode: Mode) -> None:
        if mode not in ("rb", "wb", "xb", "ab"):
            raise ValueError(f"mode is 'rb', 'wb', 'xb' or 'ab', not {mode!r}; text: read_text() and write_text()")
        self.mode = mode
        self._files = files
        self._path = path
        self._at = 0
        self._state: Literal["new", "open", "closed"] = "new"
        self._blocks = Blocks(files, path)
        self._saving = Saving(files, path, exclusive=mode == "xb") if mode in ("wb", "xb") else None
        self._waiting: list[bytes] = []
        self._waits = 0

    # -- life -------------------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened().__await__()

    async def _opened(self) -> Self:
        if self._state != "new":
            raise ClosedError("the file was opened before", hint="call open() again")
        if self.mode == "rb":
            facts = await self._files.stat(self._path)
            if facts.is_dir:
                raise file_error(errno.EISDIR, self._path, self._files.location)
        elif self._saving is not None:
            await self._saving.begin()
        else:
            await self._files.write(self._path, b"")
            self._at = (await self._files.stat(self._path)).size
        self._state = "open"
        return self

    async def __aenter__(self) -> Self:
        return await self._opened()

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        await self._close(keep=kind is None)

    @property
    def name(self) -> str:
        """Its path."""
        return os.fsdecode(self._path)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._state == "closed"

    async def aclose(self) -> None:
        """Close it; what was written appears now."""
        await self._close(keep=True)

    async def _close(self, *, keep: bool) -> None:
        if self._state != "open":
            self._state = "closed"
            return
        self._state = "closed"
        await self._blocks.aclose()
        try:
            if keep:
                await self._flush()
        except BaseException:
            keep = False
            raise
        finally:
            if self._saving is not None:
                await (self._saving.end(keep=True) if keep else shielded(self._saving.end(keep=False)))

    def _check(self, *, reads: bool) -> None:
        if self._state != "open":
            raise ClosedError("the file is closed" if self.closed else "the file is not open: use 'async with'")
        if reads != (self.mode == "rb"):
            raise io.UnsupportedOperation("not readable" if reads else "not writable")

    # -- reading ----------------------------------------------------------------------------------------------------

    async def read(self, size: int = -1) -> bytes:
        """Bytes from where it is; fewer than ``size`` only at the end. Without a size: all that follow."""
        self._check(reads=True)
        pieces = []
        while size:
            number, start = divmod(self._at, PIECE)
            block = await self._blocks.get(number)
            piece = block[start:] if size < 0 else block[start : start + size]
            if not piece:
                break
            pieces.append(piece)
            self._at += len(piece)
            size = size if size < 0 else size - len(piece)
        return b"".join(pieces)

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer; how many bytes that were."""
        data = await self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    async def readline(self, limit: int = -1) -> bytes:
        """Bytes up to and with the next newline."""
        self._check(reads=True)
        pieces, left = [], limit
        while left:
            number, start = divmod(self._at, PIECE)
            block = await self._blocks.get(number)
            end = block.find(b"\n", start) + 1 or len(block)
            piece = block[start:end] if left < 0 else block[start : min(end, start + left)]
            if not piece:
                break
            pieces.append(piece)
            self._at += len(piece)
            left = left if left < 0 else left - len(piece)
            if piece.endswith(b"\n"):
                break
        return b"".join(pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def seekable(self) -> bool:
        """Whether :meth:`seek` may be called."""
        return self.mode == "rb"

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere; from the end it asks how long the file is. Where it is then.

        Raises:
            NotSupported: the file is written.
        """
        if self.mode != "rb":
            raise NotSupported("a file that is written cannot seek")
        self._check(reads=True)
        if whence == os.SEEK_CUR:
            offset += self._at
        elif whence == os.SEEK_END:
            offset += (await self._files.stat(self._path)).size
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence is 0, 1 or 2, not {whence!r}")
        if offset < 0:
            raise ValueError(f"there is nothing before the beginning: {offset}")
        self._at = offset
        return offset

    # -- writing ----------------------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> int:
        """Add bytes; how many that were."""
        self._check(reads=False)
        data = bytes(data)
        self._waiting.append(data)
        self._waits += len(data)
        self._at += len(data)
        if self._waits >= _MOST_AHEAD * PIECE:
            await self._flush()
        return len(data)

    async def flush(self) -> None:
        """Send what was written so far."""
        self._check(reads=False)
        await self._flush()

    async def _flush(self) -> None:
        waiting, start = self._waiting, self._at - self._waits
        self._waiting, self._waits = [], 0
        if not waiting:
            return

        async def pieces() -> AsyncIterator[bytes]:
            yield b"".join(waiting)

        if self._saving is not None:
            await self._saving.add(pieces())
        else:
            await self._files.write_stream(self._path, pieces(), start)


def _looked_at(task: asyncio.Task[bytes]) -> None:
    """An error of a block that nobody reads is no mistake."""
    if not task.cancelled():
        task.exception()
