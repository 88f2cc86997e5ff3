"""Paths of locations for callers that block: the names of :class:`warmshell.RemotePath`, without ``await``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from warmshell.errors import WarmshellError
from warmshell.path.pure import LocatedPath, Part
from warmshell.path.remote import RemotePath as Awaited

if TYPE_CHECKING:
    from warmshell.fileops import Facts
    from warmshell.path.file import Mode
    from warmshell.path.file import RemoteFile as AwaitedFile
    from warmshell.portal import Portal
    from warmshell.transfer.options import Copied

T = TypeVar("T")


class RemotePath(LocatedPath):
    """A path of a location; see :class:`warmshell.RemotePath`. Made by ``warmshell.blocking.Location.path``."""

    __slots__ = ()

    def _ask(self, work: Callable[[Awaited], Coroutine[Any, Any, T]]) -> T:
        answer: T = self._location.ask(lambda inner: work(Awaited(inner, self._path)))
        return answer

    def _each(self, begin: Callable[[Awaited], AsyncIterator[T]]) -> Iterator[T]:
        """What an asynchronous iterator yields, asked for one by one; leaving it early closes it."""
        found: list[AsyncIterator[T]] = []

        async def following(path: Awaited) -> tuple[bool, T | None]:
            if not found:
                found.append(begin(path))
            try:
                return True, await anext(found[0])
            except StopAsyncIteration:
                return False, None

        async def close(_: Awaited) -> None:
            if found and hasattr(found[0], "aclose"):
                await found[0].aclose()

        try:
            while True:
                there, item = self._ask(following)
                if not there:
                    return
                yield item  # type: ignore[misc]  # it is there
        finally:
            with contextlib.suppress(WarmshellError):  # the location may be closed
                self._ask(close)

    def _here(self, path: Awaited) -> Self:
        return type(self)(self._location, path.pure)

    def _awaited(self, target: LocatedPath | Part) -> Any:
        """What the asynchronous twin takes for a target."""
        return Awaited(target.location.inner, target.pure) if isinstance(target, LocatedPath) else target

    # -- what is there ----------------------------------------------------------------------------------------------

    def stat(self, *, follow_symlinks: bool = True) -> Facts:
        """What is known of it."""
        return self._ask(lambda path: path.stat(follow_symlinks=follow_symlinks))

    def lstat(self) -> Facts:
        """What is known of it, a link itself if it is one."""
        return self._ask(lambda path: path.lstat())

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is there."""
        return self._ask(lambda path: path.exists(follow_symlinks=follow_symlinks))

    def is_file(self) -> bool:
        """Whether it is a regular file, or a link to one."""
        return self._ask(lambda path: path.is_file())

    def is_dir(self) -> bool:
        """Whether it is a directory, or a link to one."""
        return self._ask(lambda path: path.is_dir())

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self._ask(lambda path: path.is_symlink())

    def is_executable(self) -> bool:
        """Whether the account may execute it."""
        return self._ask(lambda path: path.is_executable())

    def size(self) -> int:
        """Bytes of the file."""
        return self._ask(lambda path: path.size())

    def checksum(self, algorithm: str = "sha256") -> str:
        """The digest of its contents, made where it is."""
        return self._ask(lambda path: path.checksum(algorithm))

    def readlink(self) -> Self:
        """Where the link leads."""
        return self._here(self._ask(lambda path: path.readlink()))

    def resolve(self, *, strict: bool = False) -> Self:
        """The absolute path without links."""
        return self._here(self._ask(lambda path: path.resolve(strict=strict)))

    # -- many paths -------------------------------------------------------------------------------------------------

    def iterdir(self) -> Iterator[Self]:
        """What is in the directory."""
        return map(self._here, self._each(lambda path: aiter(path.iterdir())))

    def glob(self, pattern: Part) -> Iterator[Self]:
        """What matches below it; see :meth:`warmshell.RemotePath.glob`."""
        return map(self._here, self._each(lambda path: aiter(path.glob(pattern))))

    def rglob(self, pattern: Part) -> Iterator[Self]:
        """What matches at any depth below it."""
        return map(self._here, self._each(lambda path: aiter(path.rglob(pattern))))

    def walk(self, **options: Any) -> Iterator[tuple[Self, list[str], list[str]]]:
        """Each directory at and below it; see :meth:`warmshell.RemotePath.walk`."""
        for where, directories, others in self._each(lambda path: path.walk(**options)):
            yield self._here(where), directories, others

    # -- contents ---------------------------------------------------------------------------------------------------

    def read_bytes(self) -> bytes:
        """All of its contents."""
        return self._ask(lambda path: path.read_bytes())

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All of its contents as text."""
        return self._ask(lambda path: path.read_text(encoding, errors))

    def write_bytes(self, data: bytes) -> int:
        """Make these its contents, in one step."""
        return self._ask(lambda path: path.write_bytes(data))

    def write_text(self, text: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Make this text its contents, in one step."""
        return self._ask(lambda path: path.write_text(text, encoding, errors))

    def open(self, mode: Mode = "rb") -> RemoteFile:
        """The file, open; see :meth:`warmshell.RemotePath.open`."""

        async def opened(path: Awaited) -> AwaitedFile:
            return await path.open(mode)

        return RemoteFile(self._location.portal, self._ask(opened))

    # -- making, changing, removing ---------------------------------------------------------------------------------

    def mkdir(self, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the directory."""
        self._ask(lambda path: path.mkdir(mode, parents=parents, exist_ok=exist_ok))

    def touch(self, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        """Make an empty file, or set the times of one that is there."""
        self._ask(lambda path: path.touch(mode, exist_ok=exist_ok))

    def symlink_to(self, target: LocatedPath | Part) -> None:
        """Make it a link that leads to the target."""
        self._ask(lambda path: path.symlink_to(self._awaited(target)))

    def hardlink_to(self, target: LocatedPath | Part) -> None:
        """Make it another name of the target."""
        self._ask(lambda path: path.hardlink_to(self._awaited(target)))

    def chmod(self, mode: int) -> None:
        """Set its permissions."""
        self._ask(lambda path: path.chmod(mode))

    def rename(self, target: LocatedPath | Part) -> Self:
        """Rename it; the new path."""
        return self._here(self._ask(lambda path: path.rename(self._awaited(target))))

    replace = rename

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the file or link."""
        self._ask(lambda path: path.unlink(missing_ok=missing_ok))

    def rmdir(self) -> None:
        """Remove the empty directory."""
        self._ask(lambda path: path.rmdir())

    def rmtree(self, *, missing_ok: bool = False) -> None:
        """Remove it with all that is in it."""
        self._ask(lambda path: path.rmtree(missing_ok=missing_ok))

    def copy(self, target: LocatedPath | Part, **options: Any) -> Copied:
        """Copy it to a path of this or another location; see :func:`warmshell.copy`."""
        return self._ask(lambda path: path.copy(self._awaited(target), **options))


class RemoteFile:
    """A file of a location, open; see :class:`warmshell.path.RemoteFile`. Made by :meth:`RemotePath.open`.

    Args:
        portal: the way to the loop.
        file: the asynchronous twin.
    """

    def __init__(self, portal: Portal, file: AwaitedFile) -> None:
        self._portal = portal
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.call(self._file.__aexit__, kind)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._file.closed

    def read(self, size: int = -1) -> bytes:
        """Bytes from where it is."""
        return self._portal.call(self._file.read, size)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer; how many bytes that were."""
        return self._portal.call(self._file.readinto, buffer)

    def readline(self, limit: int = -1) -> bytes:
        """Bytes up to and with the next newline."""
        return self._portal.call(self._file.readline, limit)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go elsewhere; where it is then."""
        return self._portal.call(self._file.seek, offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()

    def write(self, data: bytes) -> int:
        """Add bytes; how many that were."""
        return self._portal.call(self._file.write, data)

    def flush(self) -> None:
        """Send what was written so far."""
        self._portal.call(self._file.flush)

    def close(self) -> None:
        """Close it; what was written appears now."""
        self._portal.call(self._file.aclose)
