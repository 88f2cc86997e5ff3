"""The directory of the servers: one for each user, closed to all others."""

from __future__ import annotations

import os
import stat

from .key import digest, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "WARMSHELL_COPROCESS_DIR"
"""Names another directory; one whose name has few bytes more than sockets allow is fine."""

NATIVE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "warmfork.c")
"""The source of the module in C for servers."""


class Unsafe(Exception):
    """The directory is not this user's alone."""


def base() -> str:
    """Its name: the one asked for, that of the login session, or one below ``/tmp``."""
    asked = os.environ.get(VARIABLE)
    if asked:
        return asked
    run = f"/run/user/{os.getuid()}"
    try:
        found = os.stat(run)
    except OSError:
        pass
    else:
        if found.st_uid == os.getuid():
            return run + "/warmshell-coprocess"
    return f"/tmp/warmshell-coprocess-{os.getuid()}"  # noqa: S108 - checked, once it is open


def opened(*, make: bool = False) -> int:
    """A descriptor of the directory, which is this user's alone.

    Raises:
        FileNotFoundError: there is none.
        Unsafe: it belongs to somebody else, or others may write there.
    """
    path = base()
    if make:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(fd)
        raise Unsafe(path)
    return fd


def compiled_path(source: str, env: Mapping[bytes, bytes], ending: bytes = b"") -> bytes:
    """Where a user has what was compiled from a source of this version.

    Raises:
        OSError: there is no such source.
    """
    folder = env.get(b"XDG_CACHE_HOME") or env.get(b"HOME", b"") + b"/.cache"
    name, _ = os.path.splitext(os.path.basename(source))
    return folder + b"/warmshell/" + os.fsencode(name) + b"-" + digest(read(source)).encode() + ending


def native_path(env: Mapping[bytes, bytes]) -> bytes:
    """Where a user has the module in C for servers.

    Raises:
        OSError: its source is not there.
    """
    return compiled_path(NATIVE, env, b".so")


def shape_name(tool: bytes, interpreter: bytes, options: bytes) -> str:
    """The name of the file with the shape of a tool."""
    return digest(b"\0".join([tool, interpreter, options])) + ".shape"


def write(directory: int, name: str, data: bytes) -> None:
    """Have a file with this content, whole at every moment."""
    temporary = f"{name}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(fd)
