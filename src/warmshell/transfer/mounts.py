"""The mounts that one process sees, and paths across two views of them: pure functions of what ``/proc`` says.

A directory that a container was given is in two tables: in the container's own, where it is mounted, and by way of the
same file system in that of the machine around it. So what ``docker`` was told does not matter, nor who mounted it when.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount.

    Attributes:
        device: the file system, as the kernel numbers it.
        root: what of the file system is mounted.
        point: where.
        writable: whether anything can be written there.
        mapped: whether it shows other owners than the file system has.
    """

    device: bytes
    root: bytes
    point: bytes
    writable: bool
    mapped: bool


def table(text: bytes) -> list[Mount]:
    """The mounts of a ``/proc/PID/mountinfo`` (proc_pid_mountinfo(5))."""
    return [_mount(line) for line in text.split(b"\n") if line.count(b" ") >= 9]


def _mount(line: bytes) -> Mount:
    fields = line.split(b" ")
    own, whole = fields[5].split(b","), fields[fields.index(b"-", 6) + 3].split(b",")
    return Mount(
        fields[2], _plain(fields[3]), _plain(fields[4]), writable=b"ro" not in own and b"ro" not in whole,
        mapped=b"idmapped" in own,
    )  # fmt: skip


def _plain(field: bytes) -> bytes:
    return _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), field)


def below(path: bytes, top: bytes) -> bytes | None:
    """The rest of a path behind another one that it is, or is in; ``None`` if it is elsewhere."""
    if path == top:
        return b""
    start = top.rstrip(b"/") + b"/"
    return path[len(start) :] if path.startswith(start) else None


def join(top: bytes, rest: bytes) -> bytes:
    """The path of what is below another path."""
    return top.rstrip(b"/") + b"/" + rest if rest else top


def holder(mounts: Sequence[Mount], path: bytes) -> Mount | None:
    """The mount that a path without links is on; of several at the same point, the last one made hides the others."""
    found = None
    for mount in mounts:
        if below(path, mount.point) is not None and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def one_mount(mounts: Sequence[Mount], path: bytes, tops: Sequence[bytes]) -> Mount | None:
    """The mount that a directory is on, if all that matters of it is on the same one.

    Args:
        mounts: the table.
        path: the directory's path without links.
        tops: what in it matters, with everything below; all of it if that is nothing.
    """
    mount = holder(mounts, path)
    for top in tops or [path]:
        if any(below(other.point, top) or (other.point == top != path) for other in mounts):
            return None
    return mount


def elsewhere(mount: Mount, path: bytes, others: Sequence[Mount]) -> list[bytes]:
    """The paths by which others may see a path: as far as the tables go, the nearest mount first.

    Args:
        mount: the one that the path is on.
        path: the path.
        others: the other table.
    """
    rest = below(path, mount.point)
    if rest is None:
        return []
    within = join(mount.root, rest)
    found = []
    for other in others:
        left = below(within, other.root) if other.device == mount.device else None
        if left is not None:
            found.append((len(other.root), join(other.point, left)))
    return [seen for _, seen in sorted(found, key=lambda pair: -pair[0])]
