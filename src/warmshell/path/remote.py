"""A path of a location, with the names of ``pathlib``, to be awaited."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from warmshell.fileops.errors import BadNameError
from warmshell.path.pure import LocatedPath, Part, text_of
from warmshell.path.saving import save

if TYPE_CHECKING:
    from warmshell.fileops import Facts, FileOperations
    from warmshell.location import Location
    from warmshell.path.file import Mode, RemoteFile
    from warmshell.transfer.options import Copied

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Paths:
    """Paths as they are found: to be gone through with ``async for``, or awaited for a list."""

    def __init__(self, found: AsyncIterator[RemotePath]) -> None:
        self._found = found

    def __aiter__(self) -> AsyncIterator[RemotePath]:
        return self._found

    def __await__(self) -> Generator[Any, None, list[RemotePath]]:
        return self._all().__await__()

    async def _all(self) -> list[RemotePath]:
        return [path async for path in self._found]


class RemotePath(LocatedPath):
    """A path of a location.

    Made by :meth:`warmshell.Location.path`. Names may hold any byte; in text those that are not UTF-8 are surrogate
    escapes. No name is ever read by a shell. Relative paths start in the location's directory. The methods raise what
    ``pathlib``'s raise (``FileNotFoundError`` …), each error also being a :class:`warmshell.WarmshellError`.

    Args:
        location: where it is.
        *parts: joined with slashes.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __init__(self, location: Location, *parts: Part) -> None: ...

    @property
    def location(self) -> Location:
        """Where it is."""
        found: Location = self._location
        return found

    @property
    def _files(self) -> FileOperations:
        return self.location.files

    # -- what is there ----------------------------------------------------------------------------------------------

    async def stat(self, *, follow_symlinks: bool = True) -> Facts:
        """What is known of it; the result has the ``st_…`` names too."""
        return await self._files.stat(bytes(self), follow=follow_symlinks)

    async def lstat(self) -> Facts:
        """What is known of it, a link itself if it is one."""
        return await self.stat(follow_symlinks=False)

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is there; a link that leads nowhere is so only without ``follow_symlinks``."""
        return await self._files.exists(bytes(self), follow=follow_symlinks)

    async def _is(self, kind: str, *, follow: bool = True) -> bool:
        try:
            return (await self._files.stat(bytes(self), follow=follow)).kind == kind
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return False

    async def is_file(self) -> bool:
        """Whether it is a regular file, or a link to one."""
        return await self._is("file")

    async def is_dir(self) -> bool:
        """Whether it is a directory, or a link to one."""
        return await self._is("directory")

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return await self._is("symlink", follow=False)

    async def is_executable(self) -> bool:
        """Whether the account may execute it (or enter it, if it is a directory)."""
        return await self._files.executable(bytes(self))

    async def size(self) -> int:
        """Bytes of the file."""
        return (await self.stat()).size

    async def checksum(self, algorithm: str = "sha256") -> str:
        """The digest of its contents in hexadecimal, made where it is: ``sha1``, ``sha256``, ``md5`` …"""
        return await self._files.checksum(bytes(self), algorithm)

    async def readlink(self) -> RemotePath:
        """Where the link leads, as it says."""
        return RemotePath(self.location, await self._files.readlink(bytes(self)))

    async def resolve(self, *, strict: bool = False) -> RemotePath:
        """The absolute path without links and ``..``.

        Args:
            strict: whether it must be there.
        """
        found = RemotePath(self.location, await self._files.realpath(bytes(self)))
        if strict:
            await found.lstat()
        return found

    # -- many paths -------------------------------------------------------------------------------------------------

    def iterdir(self) -> Paths:
        """What is in the directory, in the order of the names."""
        return Paths(self._iterdir())

    async def _iterdir(self) -> AsyncIterator[RemotePath]:
        async for entry in self._files.entries(bytes(self)):
            yield self / entry.name

    def glob(self, pattern: Part) -> Paths:
        """What matches below it, as ``pathlib`` of this Python finds it, in the order of the parts and each once.

        Hidden names match like all others, ``**`` is any depth of directories, no links among them.

        Raises:
            ValueError: the pattern is empty, or has ``**`` within a name.
            NotImplementedError: it is absolute.
        """
        text = text_of(pattern)
        if text.startswith("/"):
            raise NotImplementedError("patterns are relative")
        return Paths(self._glob(_pattern(text)))

    def rglob(self, pattern: Part) -> Paths:
        """What matches at any depth below it; see :meth:`glob`."""
        text = text_of(pattern)
        if text.startswith("/"):
            raise NotImplementedError("patterns are relative")
        return Paths(self._glob(_pattern(f"**/{text}")))

    async def _glob(self, pattern: bytes) -> AsyncIterator[RemotePath]:
        async for name in self._files.glob(pattern, bytes(self)):
            yield self / name

    async def walk(
        self, *, top_down: bool = True, on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> AsyncIterator[tuple[RemotePath, list[str], list[str]]]:  # fmt: skip
        """Each directory at and below it, with the names of directories and of all else in it, in their order.

        Args:
            top_down: whether a directory comes before those in it; then names taken out of the list are not entered.
            on_error: told of directories that cannot be listed, which are left out.
            follow_symlinks: whether links to directories are entered; without, they are among the other names.
        """
        try:
            directories, others = await self._sorted_out(follow=follow_symlinks)
        except OSError as error:
            if on_error is not None:
                on_error(error)
            return
        if top_down:
            yield self, directories, others
        for name in list(directories):
            below = (self / name).walk(top_down=top_down, on_error=on_error, follow_symlinks=follow_symlinks)
            async for found in below:
                yield found
        if not top_down:
            yield self, directories, others

    async def _sorted_out(self, *, follow: bool) -> tuple[list[str], list[str]]:
        directories: list[str] = []
        others: list[str] = []
        async for entry in self._files.entries(bytes(self)):
            there = entry.facts.is_dir or (
                follow and entry.facts.is_symlink and await (self / entry.name).is_dir()
            )  # fmt: skip
            (directories if there else others).append(text_of(entry.name))
        return directories, others

    # -- contents ---------------------------------------------------------------------------------------------------

    async def read_bytes(self) -> bytes:
        """All of its contents."""
        return b"".join([piece async for piece in self._files.stream(bytes(self))])

    async def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All of its contents as text, nothing stripped, line ends as they are."""
        return (await self.read_bytes()).decode(encoding, errors)

    async def write_bytes(self, data: bytes) -> int:
        """Make these its contents, in one step: others see the old ones or the new ones, and nothing between.

        A file that is there keeps its permissions; a link is followed; a device or pipe is written to.

        Returns:
            How many bytes that were.
        """
        return await save(self._files, bytes(self), data)

    async def write_text(self, text: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Make this text its contents, in one step; how many bytes that were."""
        return await self.write_bytes(text.encode(encoding, errors))

    def open(self, mode: Mode = "rb") -> RemoteFile:
        """The file, open: ``async with path.open() as file``.

        Args:
            mode: ``rb``: to read, from anywhere; ``wb``: its contents, which appear when it is closed; ``xb``: the
                same, for a file that is not there yet; ``ab``: to add at its end.
        """
        from warmshell.path.file import RemoteFile

        return RemoteFile(self._files, bytes(self), mode)

    # -- making, changing, removing ---------------------------------------------------------------------------------

    async def mkdir(self, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the directory."""
        await self._files.mkdir(bytes(self), mode, parents=parents, exist_ok=exist_ok)

    async def touch(self, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        """Make an empty file, or set the times of one that is there."""
        await self._files.touch(bytes(self), mode, exist_ok=exist_ok)

    async def symlink_to(self, target: LocatedPath | Part) -> None:
        """Make it a link that leads to the target."""
        await self._files.symlink(bytes(self), self._name_of(target))

    async def hardlink_to(self, target: LocatedPath | Part) -> None:
        """Make it another name of the target."""
        await self._files.link(bytes(self), self._name_of(target))

    async def chmod(self, mode: int) -> None:
        """Set its permissions."""
        await self._files.chmod(bytes(self), mode)

    async def rename(self, target: LocatedPath | Part) -> RemotePath:
        """Rename it, in one step; a file that has the target's name is replaced.

        Returns:
            The new path.
        """
        await self._files.rename(bytes(self), self._name_of(target))
        return RemotePath(self.location, self._name_of(target))

    async def replace(self, target: LocatedPath | Part) -> RemotePath:
        """The same as :meth:`rename`, as on every POSIX system."""
        return await self.rename(target)

    async def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the file or link."""
        await self._files.remove(bytes(self), missing_ok=missing_ok)

    async def rmdir(self) -> None:
        """Remove the empty directory."""
        await self._files.rmdir(bytes(self))

    async def rmtree(self, *, missing_ok: bool = False) -> None:
        """Remove it with all that is in it; links are removed, never followed."""
        await self._files.rmtree(bytes(self), missing_ok=missing_ok)

    async def copy(self, target: LocatedPath | Part, **options: Any) -> Copied:
        """Copy it to a path of this or another location; see :func:`warmshell.copy`."""
        from warmshell.transfer.api import copy

        where = target if isinstance(target, LocatedPath) else RemotePath(self.location, target)
        return await copy(self, where, **options)

    def _name_of(self, target: LocatedPath | Part) -> bytes:
        """The bytes of a target at the same location.

        Raises:
            BadNameError: it is elsewhere.
        """
        if isinstance(target, LocatedPath):
            if not self.is_at(target):
                raise BadNameError(f"{target!r} is at another location than {self!r}")
            return bytes(target)
        if isinstance(target, PurePosixPath | str):
            return bytes(RemotePath(self.location, target)) if isinstance(target, PurePosixPath) else _encoded(target)
        return target


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadNameError(f"no file can have this name: {text[:80]!a}") from None


def _pattern(text: str) -> bytes:
    from warmshell.protocol.globbing import Pattern

    encoded = _encoded(text)
    Pattern(encoded)
    return encoded
