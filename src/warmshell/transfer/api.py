"""The public face of copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from warmshell.transfer.copy import Copy
from warmshell.transfer.options import Copied, Options, Where

if TYPE_CHECKING:
    from warmshell.location import Location

Many = Where | Sequence[Where]


class At(NamedTuple):
    """A path at a location.

    Attributes:
        location: the location.
        path: the path there; relative ones start in its directory.
    """

    location: Location
    path: Any


async def copy(source: Many, destination: Many, **options: Any) -> Copied:
    """Copy files and directories between any two locations, with the destination names of ``cp -r``.

    A file, or a new directory, appears under its final name only when it is whole; a directory that is there already
    takes more, each file whole or as before. What is copied keeps modes, times, links, holes and names of any bytes.

    Args:
        source: a path of this machine, one at a location (``node.path("/data")``), or a list of them.
        destination: the same. Several destinations are served by one reading, at the pace of the slowest.
        **options: those of :class:`~warmshell.transfer.options.Options`.

    Raises:
        CopyError: what was not copied, and why; ``failures`` has an error for each destination. One that fails does
            not spoil the others.
    """
    return await Copy(Options(**options)).run(_many(source), _many(destination))


def _many(where: Many) -> list[Where]:
    return list(where) if isinstance(where, Sequence) and not isinstance(where, str | bytes | At) else [where]


async def copy_local_to_remote(
    src: Where, dst: Any, locations: Sequence[Location], *, read_only: bool = False, **options: Any
) -> Copied:
    """From this machine to a path at each of the locations; the name is that of StreamFlow's connectors."""
    return await copy(src, [At(one, dst) for one in locations], read_only=read_only, **options)


async def copy_remote_to_local(
    src: Any, dst: Where, location: Location, *, read_only: bool = False, **options: Any
) -> Copied:
    """From a location to this machine; the name is that of StreamFlow's connectors."""
    return await copy(At(location, src), dst, read_only=read_only, **options)


async def copy_remote_to_remote(
    src: Any, dst: Any, locations: Sequence[Location], source_location: Location, *, read_only: bool = False,
    **options: Any,
) -> Copied:  # fmt: skip
    """From a location to a path at each of the others; the name is that of StreamFlow's connectors."""
    return await copy(At(source_location, src), [At(one, dst) for one in locations], read_only=read_only, **options)
