"""Which files of a location are also files of the one around it, so that what is copied need not be sent.

A container's directory may be one of the machine that it runs on, by another path there. It is taken for the same one
only where that is certain: the same kernel says so, by its tables of mounts and by the numbers of the directory; and
whoever acts there is the same user, in the same user namespace, with the same rights over files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from warmshell.errors import WarmshellError
from warmshell.protocol.quoting import quote_all
from warmshell.transfer.destination import Path, Plan, inside
from warmshell.transfer.mounts import Mount, elsewhere, join, one_mount, table
from warmshell.transfer.options import Source
from warmshell.transfer.scripts import WORLD
from warmshell.transfer.within import is_same

if TYPE_CHECKING:
    from warmshell.location import Location

_RIGHTS = 0b11011  # CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID: what a copy may come to need
_OVERRIDE = 0b10  # CAP_DAC_OVERRIDE: permissions do not matter
_DEPTH = 8  # places inside of each other
_MOST = 32  # paths that are tried around


@dataclass(frozen=True, slots=True)
class World:
    """What a location says of itself.

    Attributes:
        kernel: which kernel, started when, and which user namespace.
        user: its user and group.
        groups: its further groups.
        rights: what it may do with files whatever their permissions say.
        mounts: what it sees mounted.
        seen: for each directory that was asked for its path without links, and its numbers; empty if there is none.
    """

    kernel: bytes
    user: bytes
    groups: frozenset[bytes]
    rights: int
    mounts: list[Mount]
    seen: list[tuple[bytes, bytes]]

    def acts_as(self, other: World) -> bool:
        """Whether what the other does to files could as well be done by this one."""
        if (self.kernel, self.user, self.rights) != (other.kernel, other.user, other.rights):
            return False
        return bool(self.rights & _OVERRIDE) or self.groups == other.groups


async def _ask(location: Location, directories: Sequence[bytes]) -> World | None:
    """What a location says of itself and of directories; ``None`` if it cannot say it."""
    script = b"set -- " + quote_all(directories) + WORLD.encode()
    try:
        result = await location.run(script.decode("utf-8", "surrogateescape"))
        boot, namespace, user, groups, rights, mounts, *seen = result.stdout.split(b"\0")[:-1]
        pairs = list(zip(seen[::2], seen[1::2], strict=True))
        own = int(rights, 16) & _RIGHTS
    except (WarmshellError, OSError, ValueError):
        return None
    return World(boot + namespace, user, frozenset(groups.split()), own, table(mounts), pairs)


@dataclass(frozen=True, slots=True)
class Tree:
    """Some names in a directory of a location, with everything below; or all of the directory.

    Attributes:
        location: the location.
        directory: the directory.
        names: the names; none: all of it.
        writing: whether they are to be written.
    """

    location: Location
    directory: bytes
    names: tuple[bytes, ...]
    writing: bool

    def mount(self, world: World, number: int) -> Mount | None:
        """The one mount that all of it is on, and may be written on if it has to be.

        Args:
            world: what the location says.
            number: which of the directories that it was asked for is that of this tree.
        """
        path, numbers = world.seen[number]
        if not path or not numbers:
            return None
        mount = one_mount(world.mounts, path, [join(path, name) for name in self.names])
        return None if mount is None or mount.mapped or (self.writing and not mount.writable) else mount

    async def around(self) -> Tree | None:
        """The same files at the location around this one, if they certainly are the same."""
        outer = await self.location.place.surroundings()
        if outer is None:
            return None
        here, there = await asyncio.gather(_ask(self.location, [self.directory]), _ask(outer, []))
        if here is None or there is None or not there.acts_as(here):
            return None
        mount = self.mount(here, 0)
        if mount is None or mount.point == b"/":  # what it is made of is its own, even where it can be seen
            return None
        tried = elsewhere(mount, here.seen[0][0], there.mounts)[:_MOST]
        found = await _ask(outer, tried) if tried else None
        for number, (path, numbers) in enumerate([] if found is None else found.seen):
            tree = replace(self, location=outer, directory=path)
            if found is not None and numbers == here.seen[0][1] and tree.mount(found, number) is not None:
                return tree
        return None


async def _surroundings(location: Location) -> list[Location]:
    """A location, and those around it."""
    line = [location]
    while len(line) < _DEPTH and (outer := await line[-1].place.surroundings()) is not None:
        line.append(outer)
    return line


async def _outwards(tree: Tree) -> list[Tree]:
    """A tree, and the same one at the locations around, as far as it certainly is."""
    line = [tree]
    while len(line) < _DEPTH and (outer := await line[-1].around()) is not None:
        line.append(outer)
    return line


@dataclass(frozen=True, slots=True)
class Meeting:
    """What is to be done at one location instead of being sent.

    Attributes:
        location: where.
        sources: what is copied, as it is seen there.
        plan: where it goes there.
        link: whether a link will do.
    """

    location: Location
    sources: list[Source]
    plan: Plan
    link: bool = False


class Shared:
    """The sources of a copy, by the locations where they can be had.

    Args:
        sources: names of one directory.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)
        self._trees: list[Tree] = []
        self._near: list[Location] = []

    async def look(self, locations: Sequence[Location]) -> None:
        """Find out where the sources can be had, as far as that is anywhere near one of the locations."""
        ours = await _surroundings(self._sources[0].location)
        for location in locations:
            theirs = await _surroundings(location)
            if not is_same(ours[0], location) and any(is_same(one, other) for one in ours for other in theirs):
                self._near.append(location)
        if self._near:
            self._trees = await _outwards(self._tree())

    def at(self, location: Location) -> list[Source] | None:
        """The sources as they are seen at a location."""
        if is_same(self._sources[0].location, location):
            return self._sources
        for tree in self._trees[1:]:
            if is_same(tree.location, location):
                return self._seen(tree)
        return None

    async def meet(self, location: Location, plan: Plan) -> Meeting | None:
        """Where both the sources and a destination can be had, if there is such a place."""
        if location not in self._near:
            return None
        whole = any(step.target == b"." for step in plan.steps)
        names = () if whole else tuple(step.target for step in plan.steps)
        for target in (await _outwards(Tree(location, plan.directory, names, writing=True)))[1:]:
            for tree in self._trees:
                if is_same(tree.location, target.location) and (sources := self._seen(tree)) is not None:
                    return Meeting(target.location, sources, as_seen(plan, sources, target.directory))
        return None

    def _tree(self) -> Tree:
        first = self._sources[0]
        if self._is_one_directory:  # which may be what is mounted
            return Tree(first.location, inside(first.directory, first.sent), (), writing=False)
        return Tree(first.location, first.directory, tuple(each.sent for each in self._sources), writing=False)

    @property
    def _is_one_directory(self) -> bool:
        return len(self._sources) == 1 and self._sources[0].kind == "directory"

    def _seen(self, tree: Tree) -> list[Source] | None:
        """The sources as they are seen at a tree."""
        if tree.location is self._sources[0].location:
            return self._sources
        if not self._is_one_directory:
            return [replace(each, location=tree.location, directory=tree.directory) for each in self._sources]
        whole = Path.of(tree.directory)
        if not whole.base:
            return None
        return [replace(self._sources[0], location=tree.location, directory=whole.directory, sent=whole.base)]


def as_seen(plan: Plan, sources: Sequence[Source], directory: bytes | None = None) -> Plan:
    """A plan for the same sources by other names, at the same directory by another path."""
    steps = tuple(replace(step, source=source.sent) for source, step in zip(sources, plan.steps, strict=True))
    return Plan(plan.directory if directory is None else directory, steps)
