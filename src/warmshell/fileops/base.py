"""What can be done with the files of a location: the contract that paths, copies and fsspec stand on."""

from __future__ import annotations

import stat as bits
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

PIECE = 256 * 1024
"""Bytes of contents in one request: large enough to be quick, small enough not to hold up what else is asked."""

_TYPES = {
    "file": bits.S_IFREG, "directory": bits.S_IFDIR, "symlink": bits.S_IFLNK, "fifo": bits.S_IFIFO,
    "socket": bits.S_IFSOCK, "block": bits.S_IFBLK, "character": bits.S_IFCHR,
}  # fmt: skip
KINDS = {number: kind for kind, number in _TYPES.items()}
"""From the type bits of a mode to the kind of a file."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file; the ``st_…`` names of :class:`os.stat_result` are there too.

    Attributes:
        kind: ``file``, ``directory``, ``symlink``, ``fifo``, ``socket``, ``block``, ``character`` or ``other``.
        mode: permissions, without the type.
        size: bytes.
        mtime_ns: when its contents changed, in nanoseconds since the epoch.
        uid: its owner.
        gid: its group.
        links: how many names it has.
        device: the file system that it is on.
        inode: its number there.
    """

    kind: str
    mode: int
    size: int
    mtime_ns: int
    uid: int
    gid: int
    links: int
    device: int
    inode: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """From the answer to a request, which may hold more."""
        return cls(**{name: answer[name] for name in cls.__slots__})

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == "file"

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == "directory"

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self.kind == "symlink"

    @property
    def st_mode(self) -> int:
        """Type and permissions."""
        return _TYPES.get(self.kind, 0) | self.mode

    @property
    def st_size(self) -> int:
        """Bytes."""
        return self.size

    @property
    def st_mtime(self) -> float:
        """When its contents changed, in seconds since the epoch."""
        return self.mtime_ns / 1e9

    st_mtime_ns = property(lambda self: self.mtime_ns)
    st_uid = property(lambda self: self.uid)
    st_gid = property(lambda self: self.gid)
    st_nlink = property(lambda self: self.links)
    st_dev = property(lambda self: self.device)
    st_ino = property(lambda self: self.inode)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory, and what is known of it (of a link: of the link itself)."""

    name: bytes
    facts: Facts


@dataclass(frozen=True, slots=True)
class Listing:
    """A part of a directory, in the order of the names.

    Attributes:
        entries: the names.
        next: what asks for the following part, or ``None`` if this is the last.
    """

    entries: list[Entry]
    next: bytes | None


@dataclass(frozen=True, slots=True)
class Space:
    """Room of a file system, in bytes."""

    free: int
    total: int


class FileOperations(ABC):
    """Operations on the files of one location.

    Names are bytes, and no byte of them means anything to anybody: none is ever read by a shell. Relative ones start
    in the location's directory. Each operation is one round trip; those that are gathered go together. One that is
    cancelled may still be done. Each raises a :class:`FileError` of its kind (``FileNotFoundError`` …) where the
    system refuses, :class:`BadNameError` for a name with a NUL byte, ``ConnectError`` where the location is lost.

    Attributes:
        location: the name of the location.
    """

    location: str

    # -- what is there ----------------------------------------------------------------------------------------------

    @abstractmethod
    async def stat(self, path: bytes, *, follow: bool = True) -> Facts:
        """What is known of a file; with ``follow``, of what a link leads to."""

    @abstractmethod
    async def exists(self, path: bytes, *, follow: bool = True) -> bool:
        """Whether there is such a file; a link that leads nowhere is there only without ``follow``."""

    @abstractmethod
    async def executable(self, path: bytes) -> bool:
        """Whether the account may execute the file (or enter the directory)."""

    @abstractmethod
    async def list(self, path: bytes, *, after: bytes | None = None, limit: int | None = None) -> Listing:
        """Some names of a directory: those after a name."""

    async def entries(self, path: bytes) -> AsyncIterator[Entry]:
        """All names of a directory, asked for in parts."""
        after = None
        while True:
            listing = await self.list(path, after=after)
            for entry in listing.entries:
                yield entry
            after = listing.next
            if after is None:
                return

    @abstractmethod
    def glob(self, pattern: bytes, root: bytes = b".") -> AsyncIterator[bytes]:
        """Names below ``root`` that match, relative to it, as ``pathlib`` finds them; see :mod:`globbing`.

        They come in the order of their parts, each once, in bounded memory.
        """

    @abstractmethod
    async def readlink(self, path: bytes) -> bytes:
        """Where a link leads."""

    @abstractmethod
    async def realpath(self, path: bytes) -> bytes:
        """The absolute path without links; what is missing at its end stays as it is."""

    @abstractmethod
    async def space(self, path: bytes) -> Space:
        """Room of the file system that holds the path."""

    # -- contents ---------------------------------------------------------------------------------------------------

    @abstractmethod
    async def read(self, path: bytes, offset: int = 0, length: int = PIECE) -> bytes:
        """Bytes of a file; fewer than ``length`` only at its end."""

    @abstractmethod
    def stream(self, path: bytes, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Bytes of a file in pieces, read ahead a little: any size, in bounded memory."""

    @abstractmethod
    async def write(
        self, path: bytes, data: bytes, offset: int = 0, *, create: bool = True, exclusive: bool = False,
        truncate: bool = False, mode: int = 0o666,
    ) -> None:  # fmt: skip
        """Write bytes at an offset.

        Args:
            path: the file.
            data: the bytes.
            offset: where they go.
            create: whether to make the file if it is missing.
            exclusive: whether to fail if it is there.
            truncate: whether to empty it first.
            mode: permissions of a new file, less the umask.
        """

    @abstractmethod
    async def store(self, path: bytes, data: bytes) -> None:
        """Make these few bytes (at most :data:`PIECE`) the contents of a file, in one step.

        A file that is there keeps its permissions, a link is followed, a device or pipe is written to.
        """

    @abstractmethod
    async def duplicate(self, path: bytes, target: bytes) -> None:
        """Copy a file, with its permissions, to a name at the same location, where it appears in one step."""

    @abstractmethod
    async def write_stream(self, path: bytes, pieces: AsyncIterator[bytes], offset: int = 0) -> int:
        """Write pieces one after the other into a file that is there, in bounded memory; how many bytes that were.

        When it is cancelled or fails, no write of it is under way any more.
        """

    @abstractmethod
    async def truncate(self, path: bytes, size: int) -> None:
        """Make a file that long."""

    @abstractmethod
    async def sync(self, path: bytes) -> None:
        """Have the file's contents on the disk."""

    @abstractmethod
    async def checksum(self, path: bytes, algorithm: str = "sha256") -> str:
        """The digest of a file's contents, in hexadecimal: ``md5``, ``sha1``, ``sha224`` … ``sha512``."""

    # -- making, changing, removing ---------------------------------------------------------------------------------

    @abstractmethod
    async def mkdir(
        self, path: bytes, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False
    ) -> None:  # fmt: skip
        """Make a directory; with ``exist_ok`` it may be there already."""

    @abstractmethod
    async def touch(self, path: bytes, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        """Make an empty file, or set the times of one that is there."""

    @abstractmethod
    async def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""

    @abstractmethod
    async def rmtree(self, path: bytes, *, missing_ok: bool = False) -> None:
        """Remove a directory and all in it, or a file; links are removed, never followed.

        A path that ends in ``.``, ``..`` or is ``/`` is refused.
        """

    @abstractmethod
    async def remove(self, path: bytes, *, missing_ok: bool = False) -> None:
        """Remove a file or a link."""

    @abstractmethod
    async def rename(self, path: bytes, target: bytes) -> None:
        """Rename, in one step; a file that has the target's name is replaced."""

    @abstractmethod
    async def symlink(self, path: bytes, target: bytes) -> None:
        """Make ``path`` a link that leads to ``target``."""

    @abstractmethod
    async def link(self, path: bytes, target: bytes) -> None:
        """Make ``path`` another name of the file ``target``."""

    @abstractmethod
    async def chmod(self, path: bytes, mode: int) -> None:
        """Set permissions."""

    @abstractmethod
    async def utime(self, path: bytes, atime_ns: int, mtime_ns: int, *, follow: bool = True) -> None:
        """Set the times of access and of change."""
