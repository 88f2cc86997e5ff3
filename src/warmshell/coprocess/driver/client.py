"""Calls a coprocess that a server of this user holds, and ends as it ends.

Quick to import: what the server needs is imported by the server. The request is that of a fork server
(``docs/warm-call.md``), with the pool's name in the place of its key; the answers are ``S status``, and ``E why`` for
what has certainly not been started, which is run as an ordinary command then.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys

from warmshell.coprocess.forkserver.standalone import wire
from warmshell.coprocess.forkserver.standalone.call import LOST, Lines, complain, connected
from warmshell.coprocess.forkserver.standalone.key import digest
from warmshell.coprocess.forkserver.standalone.place import Unsafe, opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import NoReturn

START_SECONDS = 60.0
_SOL_SOCKET, _SCM_RIGHTS = 1, 1  # of Linux; the module socket takes longer than all of this
_BOOTSTRAP = "import sys;sys.path.insert(0,sys.argv[1]);from warmshell.coprocess.driver.server import main;main()"
_HOME = __file__.rpartition("/warmshell/")[0]


def call_fcli(
    tool: Sequence[bytes], args: Sequence[bytes], *, cold: Sequence[bytes] = (), idle: float = 600.0
) -> NoReturn:
    """Have a warm coprocess of the tool do this with our streams, directory and environment, and exit as it does.

    Args:
        tool: the words that start it.
        args: the words of this call.
        cold: the words before ``args`` where it cannot be served; those of the tool by default.
        idle: seconds without a call after which a server that is started now ends.
    """
    name = pool_name(tool)
    try:
        directory = opened(make=True)
        link = connected(directory, name) or _started(directory, name, tool, idle)
    except (OSError, Unsafe):
        link = None
    if link is not None:
        _ask(link, name, args)
    _become([*(cold or tool), *args])


def pool_name(tool: Sequence[bytes]) -> str:
    """The name of the server of a tool: another one if any of its files is another one."""
    parts = [b"fcli", *tool]
    for word in tool:
        try:
            found = os.stat(_on_path(word))
        except (OSError, ValueError):
            continue
        parts.append(b"%d %d %d" % (found.st_ino, found.st_mtime_ns, found.st_size))
    return "f" + digest(b"\0".join(parts))


def _on_path(word: bytes) -> bytes:
    if b"/" in word:
        return word
    for place in os.environb.get(b"PATH", b"/usr/bin:/bin").split(b":"):
        path = os.path.join(place or b".", word)
        if os.access(path, os.X_OK):
            return path
    return word


def _ask(link: socket.socket, name: str, args: Sequence[bytes]) -> None:
    """One call; it comes back only if nothing has been started."""
    umask = os.umask(0o077)
    os.umask(umask)
    env = [key + b"=" + value for key, value in os.environb.items()]
    request = wire.Request(name.encode(), b"-", umask, 0, 0, 0, args, env)
    try:
        cwd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        data = request.encode()
        sent = link.sendmsg(
            [data], [(_SOL_SOCKET, _SCM_RIGHTS, b"".join(fd.to_bytes(4, "little") for fd in (cwd, 0, 1, 2)))]
        )
        if sent < len(data):  # sending nothing would fail if the answer has come already: it would be run again
            link.sendall(data[sent:])
    except OSError:  # the request did not arrive whole, so that nobody has begun it
        link.close()
        return
    link.settimeout(None)
    letter, rest = Lines(link).next()
    if letter == wire.STATUS:
        os._exit(int(rest))
    if letter != wire.REFUSED:
        complain("the server of the coprocess was lost while it ran [status: unknown]")
        os._exit(LOST)
    link.close()


def _become(words: Sequence[bytes]) -> NoReturn:
    try:
        os.execvp(words[0], list(words))
    except OSError as error:
        complain(f"cannot run {os.fsdecode(words[0])}: {error.strerror}")
        os._exit(126 if isinstance(error, PermissionError) else 127)


def _started(directory: int, name: str, tool: Sequence[bytes], idle: float) -> socket.socket | None:
    """A connection to the server, which is started now unless somebody else did so at this moment."""
    lock = os.open(name + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        link = connected(directory, name)
        if link is None and _start(name, tool, idle):
            link = connected(directory, name)
        return link
    finally:
        try:  # noqa: SIM105 - see below
            os.unlink(name + ".lock", dir_fd=directory)
        except OSError:
            pass  # somebody else was quicker; contextlib would cost a client more than all of this
        os.close(lock)


def _start(name: str, tool: Sequence[bytes], idle: float) -> bool:
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork():
                os._exit(0)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            os.set_inheritable(sink, True)
            python = os.fsencode(sys.executable)
            words = [python, b"-I", b"-c", _BOOTSTRAP.encode(), os.fsencode(_HOME), b"%d" % sink, name.encode()]
            os.execv(python, [*words, b"%g" % idle, *tool])
        finally:
            os._exit(127)
    os.close(sink)
    os.waitpid(child, 0)
    try:
        ready, _, _ = select.select([source], [], [], START_SECONDS)
        return bool(ready) and os.read(source, 1) == b"+"
    finally:
        os.close(source)


def main() -> NoReturn:
    """The words: those that start the tool, NUL-free, ended by ``--``; then those of the call."""
    words = [os.fsencode(word) for word in sys.argv[1:]]
    at = words.index(b"--")
    call_fcli(words[:at], words[at + 1 :])


def shell_main() -> NoReturn:
    """A launcher's words: the package, the shell with its options, then what the shell is given."""
    _, _, shell, *args = [os.fsencode(word) for word in sys.argv]
    call_shell(shell, args)


def call_shell(shell: bytes, args: Sequence[bytes]) -> NoReturn:
    """Be this shell with these words, warm where that makes no difference but to time."""
    from .shells import servable, shell_words

    if not servable(args):
        _become([*shell.split(), *args])
    call_fcli(shell_words(shell), args, cold=shell.split())
