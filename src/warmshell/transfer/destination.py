"""Where a copy goes: the rules of ``cp -r`` for names, as pure functions (``docs/transfer.md`` has the table)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["missing", "file", "directory", "link", "other"]
Action = Literal["new", "replace", "merge"]


class Refused(Exception):
    """The destination cannot take the source; the text says why.

    Args:
        why: what is wrong.
        number: the system's number for it.
    """

    def __init__(self, why: str, number: int) -> None:
        super().__init__(why)
        self.number = number


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands at a path.

    Attributes:
        kind: what it is itself.
        leads_to: what a link leads to in the end; the same as ``kind`` for everything else.
        real: where a link to something that is no directory leads to.
    """

    kind: Kind
    leads_to: Kind
    real: bytes = b""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, or leads to one."""
        return self.leads_to == "directory"


@dataclass(frozen=True, slots=True)
class Path:
    """A path as a caller gave it.

    Attributes:
        directory: everything before its last part; ``.`` if there is nothing.
        base: its last part; empty for what has no name of its own: ``/``, ``.``, ``..``, ``a/.``.
        slash: whether it ends in a slash, which only a directory may.
    """

    directory: bytes
    base: bytes
    slash: bool

    @classmethod
    def of(cls, path: bytes) -> Path:
        """The parts of a path."""
        bare = path.rstrip(b"/")
        head, slash, base = bare.rpartition(b"/")
        if base in (b"", b".", b".."):
            return cls(plain(bare or b"/"), b"", slash=True)
        return cls(plain(head) if head else b"/" if slash else b".", base, slash=path.endswith(b"/"))

    @property
    def whole(self) -> bytes:
        """The path without its slash at the end."""
        return inside(self.directory, self.base)


@dataclass(frozen=True, slots=True)
class Step:
    """One source's part of a copy to one destination.

    Attributes:
        source: its name in what is sent; empty for the contents of a directory that has no name of its own.
        target: the name that it gets, in the directory of the plan; ``.`` is that directory itself.
        action: whether that name is new, replaced, or a directory that takes more.
    """

    source: bytes
    target: bytes
    action: Action


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen at one destination.

    Attributes:
        directory: where it happens: what arrives is put together there, and gets its names there.
        steps: one for each source.
    """

    directory: bytes
    steps: tuple[Step, ...]

    @property
    def targets(self) -> list[bytes]:
        """The paths that the sources get."""
        return [self.directory if step.target == b"." else inside(self.directory, step.target) for step in self.steps]


def plain(path: bytes) -> bytes:
    """The path in a form that no program takes for an option."""
    return path if path.startswith((b"/", b"./")) or path in (b".", b"") else b"./" + path


def inside(directory: bytes, name: bytes) -> bytes:
    """The path of a name in a directory."""
    if not name:
        return directory
    return name if directory == b"." else os.path.join(directory, name)


def plan(
    sources: Sequence[tuple[bytes, Kind]], path: Path, there: Seen, within: Sequence[Seen], *, several: bool = False
) -> Plan:
    """What a copy to this destination does.

    Args:
        sources: the name of each, and what it is.
        path: the destination.
        there: what stands at it.
        within: what stands at each source's name within it.
        several: whether there are more sources than these.

    Raises:
        Refused: ``cp -r`` would refuse it, too.
    """
    if (several or len(sources) > 1) and not there.is_directory:
        raise Refused("several sources need a directory as their destination", errno.ENOTDIR)
    if there.is_directory:
        return _into(sources, path.whole, within)
    name, kind = sources[0]
    if path.slash and not (kind == "directory" and there.kind == "missing"):
        raise Refused("it is no directory", errno.ENOTDIR)
    return _as(Step(name, path.base, action(kind, there)), path.directory, kind, there)


def _into(sources: Sequence[tuple[bytes, Kind]], directory: bytes, within: Sequence[Seen]) -> Plan:
    if len(sources) > 1:
        pairs = zip(sources, within, strict=True)
        return Plan(directory, tuple(Step(name, name, action(kind, seen)) for (name, kind), seen in pairs))
    name, kind = sources[0]
    if not name:  # the contents of a directory go where the destination's contents are
        return Plan(directory, (Step(b"", b".", "merge"),))
    seen = within[0]
    step = Step(name, name, action(kind, seen))
    if step.action == "merge":  # put together inside: the directory may be a file system of its own
        return Plan(inside(directory, name), (Step(name, b".", "merge"),))
    return _as(step, directory, kind, seen)


def _as(step: Step, directory: bytes, kind: Kind, seen: Seen) -> Plan:
    """The plan for one name; one that leads to a file stands for that file, unless it gets a link itself."""
    if step.action == "replace" and seen.real and kind != "link":
        where, _, name = seen.real.rpartition(b"/")
        return Plan(where or b"/", (Step(step.source, name, "replace"),))
    return Plan(directory, (step,))


def action(kind: Kind, there: Seen) -> Action:
    """What happens to what stands at the final name.

    Args:
        kind: what the source is.
        there: what stands there.

    Raises:
        Refused: the two do not go together.
    """
    if there.kind == "missing":
        return "new"
    if kind == "directory":
        if there.kind != "directory":
            raise Refused("a directory cannot replace what is no directory", errno.ENOTDIR)
        return "merge"
    if there.kind == "directory" or (there.is_directory and kind != "link"):
        raise Refused("what is no directory cannot replace a directory", errno.EISDIR)
    if there.leads_to == "missing" and kind != "link":
        raise Refused("it is a symbolic link that leads nowhere", errno.ENOENT)
    return "replace"
