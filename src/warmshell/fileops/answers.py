"""What POSIX tools say, made into facts and errors: pure functions over bytes."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from warmshell.fileops.base import KINDS, Entry, Facts, Space

BASE = 64
"""A script that knows the system's number for what is wrong exits with this and the number."""

_WORDS = {
    b"no such file or directory": errno.ENOENT, b"no such file": errno.ENOENT, b"nonexistent": errno.ENOENT,
    b"directory nonexistent": errno.ENOENT, b"nonexistent directory": errno.ENOENT, b"permission denied": errno.EACCES,
    b"operation not permitted": errno.EPERM, b"file exists": errno.EEXIST,
    b"cannot overwrite existing file": errno.EEXIST, b"not a directory": errno.ENOTDIR,
    b"is a directory": errno.EISDIR, b"directory not empty": errno.ENOTEMPTY,
    b"read-only file system": errno.EROFS, b"no space left on device": errno.ENOSPC,
    b"disk quota exceeded": errno.EDQUOT, b"quota exceeded": errno.EDQUOT,
    b"too many levels of symbolic links": errno.ELOOP, b"symbolic link loop": errno.ELOOP,
    b"file name too long": errno.ENAMETOOLONG, b"filename too long": errno.ENAMETOOLONG,
    b"invalid cross-device link": errno.EXDEV, b"cross-device link": errno.EXDEV,
    b"text file busy": errno.ETXTBSY, b"device or resource busy": errno.EBUSY, b"resource busy": errno.EBUSY,
    b"invalid argument": errno.EINVAL, b"too many links": errno.EMLINK, b"input/output error": errno.EIO,
    b"i/o error": errno.EIO, b"no such device or address": errno.ENXIO, b"stale file handle": errno.ESTALE,
    b"file too large": errno.EFBIG, b"illegal seek": errno.ESPIPE,
}  # fmt: skip


def errno_of(status: int, stderr: bytes) -> int | None:
    """The system's number for why a script failed, from its exit status or the last words of what its tools said."""
    if BASE < status < BASE + 62:
        return status - BASE
    for line in reversed(stderr.splitlines()):
        words = line.rpartition(b": ")[2].strip().rstrip(b".").lower()
        if words in _WORDS:
            return _WORDS[words]
    return None


FORMAT = b"%f %s %Y %u %g %h %d %i %y"
"""What ``stat -c`` of GNU and busybox is asked for; the last is the only one with parts of seconds."""

_FACTS = re.compile(
    rb"([0-9a-f]+) (\d+) (-?\d+) (\d+) (\d+) (\d+) (\d+) (\d+) "
    rb"\d+-\d+-\d+ \d+:\d+:\d+(?:\.(\d+))?(?: [+-]\d+)?",
)


def facts_of(found: re.Match[bytes]) -> Facts:
    """What a match of the format says."""
    mode, numbers = int(found[1], 16), [int(number) for number in found.groups()[1:8]]
    size, seconds, uid, gid, links, device, inode = numbers
    part = int((found[9] or b"").ljust(9, b"0")[:9])
    return Facts(
        KINDS.get(mode & 0o170000, "other"), mode & 0o7777, size, seconds * 10**9 + part, uid, gid, links, device,
        inode,
    )  # fmt: skip


def parse_facts(output: bytes) -> Facts:
    """The line of one file.

    Raises:
        ValueError: it is none.
    """
    found = _FACTS.match(output)
    if found is None:
        raise ValueError(f"not what stat prints: {output[:200]!r}")
    return facts_of(found)


def parse_entries(output: bytes) -> Iterator[Entry]:
    """A listing: groups of names, each ended by NUL, an empty one, what stat printed of them, NUL.

    What stat prints ends in the name and a newline; a name that is gone meanwhile has no line.

    Raises:
        ValueError: it is none.
    """
    at = 0
    while at < len(output):
        names = []
        while True:
            end = output.index(b"\0", at)
            name, at = output[at:end], end + 1
            if not name:
                break
            names.append(name)
        end = output.index(b"\0", at)
        yield from _lines(names, output[at:end])
        at = end + 1


def _lines(names: list[bytes], text: bytes) -> Iterator[Entry]:
    at = 0
    for name in names:
        found = _FACTS.match(text, at)
        if found is None:
            continue
        tail = b" " + name + b"\n"
        if text.startswith(tail, found.end()):
            yield Entry(os.path.basename(name), facts_of(found))
            at = found.end() + len(tail)
    if at != len(text):
        raise ValueError(f"not what stat prints: {text[at : at + 200]!r}")


def parse_space(output: bytes) -> Space:
    """What ``df -Pk`` prints: the first line with five numbers in a row counts.

    Raises:
        ValueError: there is none.
    """
    found = re.search(rb"\s(\d+)\s+(\d+)\s+(-?\d+)\s+\d+%", output)
    if found is None:
        raise ValueError(f"not what df prints: {output[:200]!r}")
    return Space(free=int(found[3]) * 1024, total=int(found[1]) * 1024)
