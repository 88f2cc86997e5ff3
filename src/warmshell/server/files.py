"""Operations on files without a process for each: asked for on the control channel, done in threads.

In JSON a name is a string of its bytes (Latin-1), so that every name can be said; contents are base64. Relative names
start at the session's directory.
"""

from __future__ import annotations

import binascii
import heapq
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Request = dict[str, Any]

_PAGE = 2000
_PIECE = 256 * 1024
MOST_DATA = 1024 * 1024
"""Bytes of contents in one request or answer."""

_KINDS = (
    ("file", stat.S_ISREG), ("directory", stat.S_ISDIR), ("symlink", stat.S_ISLNK), ("fifo", stat.S_ISFIFO),
    ("socket", stat.S_ISSOCK), ("block", stat.S_ISBLK), ("character", stat.S_ISCHR),
)  # fmt: skip


def _name(request: Request, key: str = "path") -> bytes:
    name = request[key].encode("latin-1")
    if not name or b"\0" in name:
        raise ValueError(f"{key} is not a name")
    return bytes(name)


def _kind(mode: int) -> str:
    for kind, check in _KINDS:
        if check(mode):
            return kind
    return "other"


def _facts(found: os.stat_result) -> dict[str, object]:
    return {
        "kind": _kind(found.st_mode), "mode": stat.S_IMODE(found.st_mode), "size": found.st_size,
        "mtime_ns": found.st_mtime_ns, "uid": found.st_uid, "gid": found.st_gid, "links": found.st_nlink,
        "device": found.st_dev, "inode": found.st_ino,
    }  # fmt: skip


def _stat(request: Request) -> object:
    return _facts(os.stat(_name(request), follow_symlinks=bool(request.get("follow", True))))


def _exists(request: Request) -> object:
    try:
        os.stat(_name(request), follow_symlinks=bool(request.get("follow", True)))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


# -- many names ---------------------------------------------------------------------------------------------------


def _page(request: Request, names: Iterable[bytes]) -> tuple[list[bytes], str | None]:
    """The next names in their order, and after which one to go on; holds no more than a page of them."""
    limit = min(max(1, int(request.get("limit", _PAGE))), _PAGE)
    after = request.get("after")
    if after is not None:
        start = after.encode("latin-1")
        names = (name for name in names if name > start)
    page = heapq.nsmallest(limit + 1, names)
    more = len(page) > limit
    del page[limit:]
    return page, page[-1].decode("latin-1") if more else None


def _list(request: Request) -> object:
    directory = _name(request)
    with os.scandir(directory) as entries:
        page, after = _page(request, (entry.name for entry in entries))
    listed: list[dict[str, object]] = []
    for name in page:
        try:
            found = os.lstat(os.path.join(directory, name))
        except FileNotFoundError:
            continue  # it is gone meanwhile
        listed.append({"name": name.decode("latin-1"), **_facts(found)})
    return {"entries": listed, "next": after}


def _glob(request: Request) -> object:
    import glob

    pattern, root = _name(request, "pattern"), _name(request) if request.get("path") else b""
    full = os.path.join(glob.escape(root), pattern)
    cut = len(os.path.join(root, b"")) if root and not pattern.startswith(b"/") else 0
    page, after = _page(request, (found[cut:] for found in glob.iglob(full, recursive=True)))
    return {"names": [name.decode("latin-1") for name in page], "next": after}


# -- directories --------------------------------------------------------------------------------------------------


def _mkdir(request: Request) -> object:
    name, mode = _name(request), int(request.get("mode", 0o777))
    if not request.get("parents"):
        os.mkdir(name, mode)
        return None
    try:
        os.makedirs(name, mode, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(20, os.strerror(20), name) from error
    return None


def _rmdir(request: Request) -> object:
    os.rmdir(_name(request))
    return None


def _rmtree(request: Request) -> object:
    """Remove a directory and all in it, or a file; links are removed, never followed."""
    name = _name(request)
    try:
        found = os.lstat(name)
    except FileNotFoundError:
        if request.get("missing_ok"):
            return 0
        raise
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name)
        return 1
    top = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    removed = _empty(top)
    os.rmdir(name)
    return removed + 1


def _empty(top: int) -> int:
    """Remove all in the directory of this descriptor, which is closed; by descriptors, so that nothing can be put
    in the way.
    """
    removed = 0
    stack: list[tuple[int, Iterator[tuple[str, bool]], str]] = [(top, iter(_entries(top)), "")]
    try:
        while stack:
            fd, entries, _ = stack[-1]
            for name, is_directory in entries:
                if is_directory:
                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                    inner = os.open(name, flags, dir_fd=fd)
                    stack.append((inner, iter(_entries(inner)), name))
                    break
                os.unlink(name, dir_fd=fd)
                removed += 1
            else:
                _, _, done = stack.pop()
                os.close(fd)
                if stack:
                    os.rmdir(done, dir_fd=stack[-1][0])
                    removed += 1
    finally:
        for fd, _, _ in stack:
            os.close(fd)
    return removed


def _entries(fd: int) -> list[tuple[str, bool]]:
    with os.scandir(fd) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]


# -- contents -----------------------------------------------------------------------------------------------------


def _read(request: Request) -> object:
    offset, length = int(request.get("offset", 0)), min(int(request.get("length", MOST_DATA)), MOST_DATA)
    fd = os.open(_name(request), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise _not_regular(fd, request)
        data = b""
        while len(data) < length:
            piece = os.pread(fd, length - len(data), offset + len(data))
            if not piece:
                break
            data += piece
        return {"data": _encode(data), "end": len(data) < length, "size": os.fstat(fd).st_size}
    finally:
        os.close(fd)


def _write(request: Request) -> object:
    data = binascii.a2b_base64(request["data"])
    flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT if request.get("create", True) else 0)
    flags |= (os.O_EXCL if request.get("exclusive") else 0) | (os.O_TRUNC if request.get("truncate") else 0)
    fd = os.open(_name(request), flags | os.O_NONBLOCK, int(request.get("mode", 0o666)))
    try:
        offset, done = int(request.get("offset", 0)), 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], offset + done)
        if request.get("sync"):
            os.fsync(fd)
    finally:
        os.close(fd)
    return done


def _truncate(request: Request) -> object:
    os.truncate(_name(request), int(request["size"]))
    return None


def _checksum(request: Request) -> object:
    import hashlib

    digest = hashlib.new(str(request.get("algorithm", "sha256")))
    size = 0
    fd = os.open(_name(request), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # a few that never end would hold up all others
            raise _not_regular(fd, request)
        while True:
            data = os.read(fd, _PIECE)
            if not data:
                return {"digest": digest.hexdigest(), "size": size}
            digest.update(data)
            size += len(data)
    finally:
        os.close(fd)


def _not_regular(fd: int, request: Request) -> OSError:
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        return IsADirectoryError(21, os.strerror(21), request["path"])
    return OSError(22, "not a regular file", request["path"])


def _encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


# -- names --------------------------------------------------------------------------------------------------------


def _remove(request: Request) -> object:
    try:
        os.unlink(_name(request))
    except FileNotFoundError:
        if not request.get("missing_ok"):
            raise
        return False
    return True


def _rename(request: Request) -> object:
    os.replace(_name(request), _name(request, "target"))
    return None


def _symlink(request: Request) -> object:
    os.symlink(_name(request, "target"), _name(request))
    return None


def _link(request: Request) -> object:
    os.link(_name(request, "target"), _name(request))
    return None


def _readlink(request: Request) -> object:
    return os.readlink(_name(request)).decode("latin-1")


def _realpath(request: Request) -> object:
    return os.path.realpath(_name(request)).decode("latin-1")


def _chmod(request: Request) -> object:
    os.chmod(_name(request), int(request["mode"]))
    return None


def _utime(request: Request) -> object:
    times = int(request["atime_ns"]), int(request["mtime_ns"])
    os.utime(_name(request), ns=times, follow_symlinks=bool(request.get("follow", True)))
    return None


def _space(request: Request) -> object:
    found = os.statvfs(_name(request))
    return {"free": found.f_bavail * found.f_frsize, "total": found.f_blocks * found.f_frsize}


def _which(request: Request) -> object:
    from warmshell.server.children import find_program

    path = os.environb.get(b"PATH", os.fsencode(os.defpath))
    return find_program(_name(request, "name"), path).decode("latin-1")


OPERATIONS = {
    "stat_path": _stat, "exists": _exists, "list": _list, "glob": _glob, "mkdir": _mkdir, "rmdir": _rmdir,
    "rmtree": _rmtree, "remove": _remove, "read": _read, "write": _write, "truncate": _truncate,
    "checksum": _checksum, "rename": _rename, "symlink": _symlink, "link": _link, "readlink": _readlink,
    "realpath": _realpath, "chmod": _chmod, "utime": _utime, "space": _space, "which": _which,
}  # fmt: skip
"""What can be asked for; each takes the request and returns what the answer says, or raises."""
