"""A tree with every kind of file and name, and what is to be the same of it elsewhere."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

HOUR = 1_600_000_000
ODD = [
    b"two words", b"new\nline", b"-rf", b"--", b"*", b"$HOME`id`", b"back\\slash\\n", b"\xff\xfe not utf-8", b"'\"",
    b"\xc3\xa4 umlaut", b"n" * 255, b"\xff" * 255, b" ", b".hidden", b"..also", b"~", b"tab\t", b"a=b", b"@x", b"#",
]  # fmt: skip


def make(top: bytes) -> None:
    """The tree."""
    os.makedirs(os.path.join(top, b"sub", b"empty"))
    for number, name in enumerate(ODD):
        write(os.path.join(top, name), b"%d" % number * 100, 0o644)
        os.mkdir(os.path.join(top, b"sub", name))
        write(os.path.join(top, b"sub", name, name), b"x", 0o600)
    for mode in (0o400, 0o755, 0o777, 0o640, 0o001):
        write(os.path.join(top, b"mode %o" % mode), b"m", mode)
    deep = os.path.join(top, *[b"deep" * 20] * 12)
    os.makedirs(deep)
    write(os.path.join(deep, b"file"), os.urandom(300_000))
    os.link(os.path.join(deep, b"file"), os.path.join(top, b"hard link"))
    for name, target in ((b"link", b"sub"), (b"dangling", b"/no/where"), (b"up", b"../x"), (b"far", b"y" * 300)):
        os.symlink(target, os.path.join(top, name))
    os.mkfifo(os.path.join(top, b"fifo"), 0o640)
    write(os.path.join(top, b"empty file"), b"")
    with open(os.path.join(top, b"sparse"), "wb") as file:
        for start in (0, 3_000_000, 50_000_000):
            file.seek(start)
            file.write(b"data" * 5000)
        file.truncate(80_000_000)
    locked = os.path.join(top, b"locked")
    os.mkdir(locked)
    write(os.path.join(locked, b"in it"), b"l")
    for number, (where, folders, files) in enumerate(os.walk(top, topdown=False)):
        for name in files + folders:
            path = os.path.join(where, name)
            when = (HOUR + number) * 10**9 + 123_456_789
            os.utime(path, ns=(when, when), follow_symlinks=False)
    os.chmod(locked, 0o555)
    os.utime(top, ns=(HOUR * 10**9 + 5, HOUR * 10**9 + 5))


def write(path: bytes, data: bytes, mode: int = 0o644) -> None:
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def facts(top: bytes, *, exact_times: bool = True, sparse: bool = True) -> dict[bytes, tuple[object, ...]]:
    """All that is to be the same at a copy of a tree (or a file), by relative name."""
    found: dict[bytes, tuple[object, ...]] = {}
    inodes: dict[int, bytes] = {}
    paths = [top]
    for where, folders, files in os.walk(top):
        paths += [os.path.join(where, name) for name in folders + files]
    for path in sorted(paths):
        name = os.path.relpath(path, top)
        seen = os.lstat(path)
        kind = stat.S_IFMT(seen.st_mode)
        when = seen.st_mtime_ns if exact_times else seen.st_mtime_ns // 10**9
        row: tuple[object, ...] = (kind, stat.S_IMODE(seen.st_mode), when)
        if stat.S_ISREG(seen.st_mode):
            first = inodes.setdefault(seen.st_ino, name)
            row = (*row, seen.st_size, digest(path), first, sparse and seen.st_blocks * 512 < seen.st_size // 2)
        elif stat.S_ISLNK(seen.st_mode):
            row = (kind, when, os.readlink(path))
        found[name] = row
    return found


def digest(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def left(directory: Path) -> list[str]:
    """What copies have left behind in a directory or below it."""
    return [str(path) for path in directory.rglob(".warm-*")]
