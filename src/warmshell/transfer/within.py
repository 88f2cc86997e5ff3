"""Copies within one location: done there, nothing is sent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from warmshell.errors import CopyError
from warmshell.shield import shielded
from warmshell.transfer import scripts
from warmshell.transfer.destination import Plan, Step
from warmshell.transfer.options import Options, Source
from warmshell.transfer.site import Site, remove, site_of

if TYPE_CHECKING:
    from warmshell.location import Location


def is_same(one: Location, other: Location) -> bool:
    """Whether both are the same place, so that files can be copied there without being sent."""
    return one is other or _machine(one) == _machine(other)


def _machine(location: Location) -> object:
    """What places have in common that are the same; an ssh configuration may give one name to two hosts."""
    from warmshell.connector.local import LocalPlace

    place = location.place.itself
    if isinstance(place, LocalPlace):
        return "this machine"
    url, options = place.address
    return (url, sorted((name, str(value)) for name, value in options.items())) if url else place


async def copy_within(sources: Sequence[Source], location: Location, plan: Plan, options: Options) -> None:
    """Copy or link sources where they are.

    Raises:
        CopyError: one of them could not be; those before it are there.
    """
    site = await site_of(location)
    for source, step in zip(sources, plan.steps, strict=True):
        await _one(source, location, plan, step, site, options)


async def _one(
    source: Source, location: Location, plan: Plan, step: Step, site: Site, options: Options
) -> None:  # fmt: skip
    name = b".warm-" + secrets.token_hex(6).encode()
    how = b"link" if options.read_only else b"copy"
    copy = site.copy(owner=options.owner, dereference=options.dereference)
    words = [b"sh", b"-c", scripts.locally(copy, site.move).encode(), b"sh", _absolute(source), plan.directory]
    words += [name, how, step.source, step.target, step.action.encode()]
    try:
        result = await location.run(words)
    except BaseException:
        await shielded(remove(location, plan.directory, name))
        raise
    if result.returncode:
        said = result.stderr[-2000:].decode("utf-8", "replace").strip()
        if result.returncode > 128:
            await shielded(remove(location, plan.directory, name))
        raise CopyError(said or f"it ended with status {result.returncode}", location=location.name)


def _absolute(source: Source) -> bytes:
    """The source's directory, also where the destination's location begins elsewhere on this machine."""
    from warmshell.connector.local import LocalPlace

    place = source.location.place.itself
    return os.path.join(place.host.cwd, source.directory) if isinstance(place, LocalPlace) else source.directory
