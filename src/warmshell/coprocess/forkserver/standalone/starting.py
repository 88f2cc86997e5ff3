"""Starts the server of a tool: in its own interpreter, detached, with stand-ins for the caller's streams."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import time

from .call import connected
from .place import native_path
from .shebang import NotPython, interpreter_of
from .wire import HEADER, STOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .call import Launch

START_SECONDS = 60.0
MOST_SERVERS = 32
"""So many of one user are kept."""
_SENTINEL = b"\n"


def start(launch: Launch, directory: int, key: str) -> bool:
    """Have a server for this key, started by us or by somebody else at this moment.

    Returns:
        Whether there is one now, which may have another key since it knows better what counts.
    """
    lock = os.open(key + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        link = connected(directory, key)
        if link is not None:  # somebody else was quicker
            link.close()
            return True
        try:
            words = [word for word in launch.interpreter.split(b"\0") if word] or interpreter_of(launch.tool)
        except (OSError, NotPython):
            return False
        _make_room(directory)
        return _started(launch, words, key)
    finally:
        _forget(key + ".lock", directory)
        os.close(lock)


def _make_room(directory: int) -> None:
    """Tell those servers to end that were not called for the longest time, where there are many.

    Each change of a variable may bring another one.
    """
    used = []
    for name in os.listdir(directory):
        if name.endswith(".sock"):
            try:
                used.append((os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime, name))
            except OSError:
                continue  # it has ended
    for _, name in sorted(used)[: max(0, len(used) - MOST_SERVERS + 1)]:
        link = connected(directory, name[: -len(".sock")])
        if link is None:
            _forget(name, directory)
            continue
        try:
            link.sendall(HEADER.pack(STOP, 0))
        except OSError:
            pass  # it ends as it is
        link.close()


def _forget(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        pass


def _started(launch: Launch, words: list[bytes], key: str) -> bool:
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(launch.directory())
            os.setsid()
            if os.fork():
                os._exit(0)
            os.close(source)
            _become_server(launch, words, key, sink)
        finally:
            os._exit(127)
    os.close(sink)
    os.waitpid(child, 0)
    try:
        return _told(source)
    finally:
        os.close(source)


def _told(source: int) -> bool:
    """Whether the server says that it is ready, before the time is over."""
    deadline, text = time.monotonic() + START_SECONDS, b""
    while b"\n" not in text:
        ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(source, 4096) if ready else b""
        if not chunk:
            return False
        text += chunk
    return text == b"ready\n"


def _become_server(launch: Launch, words: list[bytes], key: str, sink: int) -> NoReturn:
    os.set_inheritable(sink, True)
    master = _stand_ins(launch.terminals)
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "serve.py")
    options = {
        b"tool": launch.tool, b"argv0": launch.argv0, b"interpreter": launch.interpreter, b"options": launch.options,
        b"terminals": launch.terminals, b"native": _native(launch.env), b"key": key.encode(), b"tell": b"%d" % sink,
        b"master": b"%d" % master,
    }  # fmt: skip
    argv = [*words, os.fsencode(program), *(name + b"=" + value for name, value in options.items())]
    env = dict(entry.partition(b"=")[::2] for entry in launch.env)
    os.execve(words[0], argv, env)


def _native(entries: list[bytes]) -> bytes:
    """The module in C for servers, if it was compiled for this user; or nothing."""
    try:
        path = native_path(dict(entry.partition(b"=")[::2] for entry in entries))
    except OSError:
        return b""
    return path if os.path.exists(path) else b""


def _stand_ins(terminals: bytes) -> int:
    """Put something of the same kind on 0, 1 and 2: what is read or written at import time shows there.

    Returns:
        The other end of the terminal, or -1.
    """
    master = slave = -1
    if b"t" in terminals:
        master, slave = os.openpty()
        size = fcntl.ioctl(terminals.index(b"t"), termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        os.set_inheritable(master, True)
    source, end = os.pipe()
    os.write(end, _SENTINEL)
    os.close(end)
    for fd in range(3):
        if terminals[fd : fd + 1] == b"t":
            os.dup2(slave, fd)
        elif fd == 0:
            os.dup2(source, fd)
        else:
            memory = os.memfd_create(f"warmshell-{fd}")
            os.dup2(memory, fd)
            os.close(memory)
    return master
