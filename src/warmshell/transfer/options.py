"""What a copy is asked to do, and what came of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from warmshell.errors import CopyError
from warmshell.transfer.destination import Kind, Path
from warmshell.transfer.progress import Callback

if TYPE_CHECKING:
    from warmshell.location import Location


@runtime_checkable
class Remote(Protocol):
    """A path at a location, such as ``node.path("/data")``; its bytes are those of its ``path``, or its own."""

    @property
    def location(self) -> Any:
        """Its location."""


Where = str | bytes | os.PathLike[str] | os.PathLike[bytes] | Remote
"""A path of this machine, or one at a location."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a copy is asked to do.

    Attributes:
        recursive: directories are copied; without it, they are refused.
        dereference: links are followed, so that what they lead to is copied.
        owner: owners are kept where the account may give files away, and set-user-id bits.
        compress: what goes to and from other machines is packed by zstd, where both ends have it.
        read_only: at the same location, a symbolic link to the source will do.
        resume: of a file that is not copied whole, what has arrived stays, and the next copy goes on from there.
        direct: from a location straight to another one.
        progress: is told how far the copy is.
    """

    recursive: bool = True
    dereference: bool = False
    owner: bool = False
    compress: bool = False
    read_only: bool = False
    resume: bool = False
    direct: bool | Sequence[str] = False
    progress: Callback | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """A path at a location."""

    location: Location
    path: bytes

    def __str__(self) -> str:
        return f"{self.location.name}:{os.fsdecode(self.path)}"

    @property
    def parts(self) -> Path:
        """Its parts."""
        return Path.of(self.path)


@dataclass(frozen=True, slots=True)
class Source:
    """A source, looked at.

    Attributes:
        location: where it is.
        directory: the directory that holds it there.
        sent: its name there; empty for the contents of ``directory``.
        name: the name that it goes by: that of a link, where what it leads to is sent.
        kind: what it is.
    """

    location: Location
    directory: bytes
    sent: bytes
    name: bytes
    kind: Kind


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Attributes:
        size: bytes of contents that were sent; what is copied within a location is not counted.
        files: files, links and the like that were sent.
        seconds: how long it took.
        targets: the final paths, by destination.
    """

    size: int
    files: int
    seconds: float
    targets: dict[str, list[bytes]]


def path_of(where: Where) -> bytes:
    """The bytes of a path.

    Raises:
        CopyError: it is none.
    """
    given: Any = getattr(where, "path", where) if isinstance(where, Remote) else where
    if isinstance(given, str):
        given = given.encode("utf-8", "surrogateescape")
    path = bytes(given) if hasattr(given, "__bytes__") else os.fsencode(given)
    if not path or b"\0" in path:
        raise CopyError("an empty path" if not path else f"a path with a NUL byte: {path!r}", errno=errno.EINVAL)
    return path
