"""Operations on files without a process for each: asked for on the control channel, done in threads.

In JSON a name is a string of its bytes (Latin-1), so that every name can be said. Relative names start at ``base``,
by default the session's directory.
"""

from __future__ import annotations

import binascii
import errno
import itertools
import os
import stat
import threading
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Request = dict[str, Any]

_PAGE = 5000
_MOST_PAUSED = 16
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_PIECE = 256 * 1024
MOST_DATA = 1024 * 1024
"""Bytes of contents in one request or answer."""

_KINDS = (
    ("file", stat.S_ISREG), ("directory", stat.S_ISDIR), ("symlink", stat.S_ISLNK), ("fifo", stat.S_ISFIFO),
    ("socket", stat.S_ISSOCK), ("block", stat.S_ISBLK), ("character", stat.S_ISCHR),
)  # fmt: skip


def _name(request: Request, key: str = "path") -> bytes:
    """A name of the request, from its base."""
    return os.path.join(request.get("base", "").encode("latin-1"), _bare(request, key))


def _bare(request: Request, key: str) -> bytes:
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
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return False
    return True


def _executable(request: Request) -> object:
    return os.access(_name(request), os.X_OK)


# -- many names ---------------------------------------------------------------------------------------------------


class Paused:
    """Listings and walks that were left at the end of a page, so that the next page need not begin anew.

    A few are kept; one that is not there any more is begun again, after what it had come to.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Iterator[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def page(
        self, request: Request, key: tuple[object, ...], begin: Callable[[bytes | None], Iterator[bytes]]
    ) -> tuple[list[bytes], str | None]:
        """The next names, and after which one to go on.

        Args:
            request: its ``after`` and ``limit``.
            key: what is gone through.
            begin: goes through it, from behind a name.
        """
        limit = min(max(1, int(request.get("limit") or _PAGE)), _PAGE)
        after = None if request.get("after") is None else request["after"].encode("latin-1")
        with self._lock:
            names = self._kept.pop((*key, after), None)
            if after is None:  # what others left of it may be old
                for old in [kept for kept in self._kept if kept[:-1] == key]:
                    del self._kept[old]
        if names is None:
            names = begin(after)
        page = list(itertools.islice(names, limit))
        if len(page) < limit:
            return page, None
        with self._lock:
            self._kept[(*key, page[-1])] = names
            while len(self._kept) > _MOST_PAUSED:
                self._kept.popitem(last=False)
        return page, page[-1].decode("latin-1")


_PAUSED = Paused()


def _list(request: Request) -> object:
    directory = _name(request)

    def begin(after: bytes | None) -> Iterator[bytes]:
        with os.scandir(directory) as entries:
            return iter(sorted(entry.name for entry in entries if after is None or entry.name > after))

    page, after = _PAUSED.page(request, ("list", directory), begin)
    listed: list[dict[str, object]] = []
    for name in page:
        try:
            found = os.lstat(os.path.join(directory, name))
        except FileNotFoundError:
            continue  # it is gone meanwhile
        listed.append({"name": name.decode("latin-1"), **_facts(found)})
    return {"entries": listed, "next": after}


def _glob(request: Request) -> object:
    from warmshell.protocol.globbing import Pattern, found_here

    given, root = _bare(request, "pattern"), _name(request)
    flags = bool(request.get("deep_files")), bool(request.get("dangling"))
    pattern = Pattern(given, *flags)
    page, after = _PAUSED.page(request, (given, root, *flags), lambda after: found_here(pattern, root, after))
    return {"names": [name.decode("latin-1") for name in page], "next": after}


# -- directories --------------------------------------------------------------------------------------------------


def _mkdir(request: Request) -> object:
    name, mode = _name(request), int(request.get("mode", 0o777))
    try:
        os.mkdir(name, mode)
    except FileNotFoundError:
        above = os.path.dirname(name.rstrip(b"/"))
        if not request.get("parents") or not above:
            raise
        os.makedirs(above, exist_ok=True)
        _mkdir({**request, "parents": False})
    except OSError:
        if not request.get("exist_ok") or not os.path.isdir(name):
            raise
    return None


def _rmdir(request: Request) -> object:
    os.rmdir(_name(request))
    return None


def _rmtree(request: Request) -> object:
    """Remove a directory and all in it, or a file; links are removed, never followed."""
    name = _name(request).rstrip(b"/")  # behind a slash, a link would be followed
    if os.path.basename(name) in (b"", b".", b".."):
        raise OSError(22, "only what has a name of its own can be removed")
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
        data = os.pread(fd, length, offset)
        while 0 < len(data) < length:
            piece = os.pread(fd, length - len(data), offset + len(data))
            if not piece:
                break
            data += piece
        return {"data": data, "end": len(data) < length, "size": os.fstat(fd).st_size}
    finally:
        os.close(fd)


def _write(request: Request) -> object:
    data = memoryview(request["data"])
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


def _store(request: Request) -> object:
    def write(fd: int) -> None:
        data = memoryview(request["data"])
        while data:
            data = data[os.write(fd, data) :]

    return _beside(_name(request), write)


def _duplicate(request: Request) -> object:
    source = os.open(_name(request), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            raise _not_regular(source, request)

        def write(fd: int) -> None:
            while data := os.read(source, _PIECE):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]

        return _beside(_name(request, "target"), write, stat.S_IMODE(found.st_mode))
    finally:
        os.close(source)


def _beside(name: bytes, write: Callable[[int], None], mode: int | None = None) -> object:
    """Write a file beside the one that is meant, and give it its name."""
    try:
        found = os.stat(name)
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISREG(found.st_mode):
            return _into(name, write)
        mode = stat.S_IMODE(found.st_mode) if mode is None else mode
    name = os.path.realpath(name)
    temporary = os.path.join(os.path.dirname(name), b".warm-" + binascii.hexlify(os.urandom(8)))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o666 if mode is None else 0o600)
    try:
        try:
            write(fd)
            if mode is not None:
                os.fchmod(fd, mode)
        finally:
            os.close(fd)
        os.rename(temporary, name)
    except BaseException:
        os.unlink(temporary)
        raise
    return None


def _into(name: bytes, write: Callable[[int], None]) -> object:
    """Write to a device."""
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        write(fd)
    finally:
        os.close(fd)
    return None


def _truncate(request: Request) -> object:
    os.truncate(_name(request), int(request["size"]))
    return None


def _sync(request: Request) -> object:
    fd = os.open(_name(request), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return None


def _touch(request: Request) -> object:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(_name(request), flags | os.O_EXCL, int(request.get("mode", 0o666)))
    except FileExistsError:
        if not request.get("exist_ok", True):
            raise
        os.utime(_name(request))
    else:
        os.close(fd)
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
    os.symlink(_bare(request, "target"), _name(request))
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
    return find_program(_bare(request, "name"), path).decode("latin-1")


OPERATIONS = {
    "stat_path": _stat, "exists": _exists, "executable": _executable, "list": _list, "glob": _glob,
    "mkdir": _mkdir, "touch": _touch, "sync": _sync, "rmdir": _rmdir,
    "rmtree": _rmtree, "remove": _remove, "read": _read, "write": _write, "store": _store,
    "duplicate": _duplicate, "truncate": _truncate,
    "checksum": _checksum, "rename": _rename, "symlink": _symlink, "link": _link, "readlink": _readlink,
    "realpath": _realpath, "chmod": _chmod, "utime": _utime, "space": _space, "which": _which,
}  # fmt: skip
"""What can be asked for; each takes the request and returns what the answer says, or raises."""
