"""What a fork of the server does to become a run of the tool.

Few functions and few objects: each that is touched here costs a copy of its page in every call.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import os
import stat
import sys
import time

from . import ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from .tool import Tool

_OURS = 2  # frames of a traceback that are not the tool's


def take_environment(tool: Tool, entries: Sequence[bytes]) -> None:
    """Make the variables those of the caller, with what importing the tool does to them."""
    if tuple(entries) == tool.entries:
        return  # they are
    target: dict[bytes, bytes] = {}
    for entry in entries:
        name, _, value = entry.partition(b"=")
        target.setdefault(name, value)
    for changed, new in tool.changes.items():
        if new is None:
            target.pop(changed, None)
        else:
            target[changed] = new
    current: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    for name in set(current) - set(target):
        os.unsetenv(name)
    for name, value in target.items():
        if current.get(name) != value:
            os.putenv(name, value)
    current.clear()
    current.update(target)
    time.tzset()


def shares(tool: Tool) -> bool:
    """Whether there is something for :func:`make_private` to do."""
    return bool(tool.shared_fds or tool.recorder.temporary or "numpy.random" in sys.modules)


def make_private(tool: Tool) -> None:
    """What the import has left behind that a cold run has for itself alone."""
    for fd in tool.shared_fds:
        _reopen(fd)
    if tool.recorder.temporary:
        _keep_temporary(tool)
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def _keep_temporary(tool: Tool) -> None:
    """Temporary files made by the import belong to the server, which removes them at its end."""
    made = tool.recorder.temporary
    for function, args, words in tool.atexit:
        if any(str(value).startswith(path) for path in made for value in (*args, *words.values())):
            atexit.unregister(function)
    weakref = sys.modules.get("weakref")
    for finalizer in list(weakref.finalize._registry) if weakref is not None else ():
        kept = finalizer.peek()
        if kept is not None and any(str(value).startswith(path) for path in made for value in kept[2]):
            finalizer.detach()
    for path in made:
        if not os.path.lexists(path) and not os.path.splitext(path)[1]:
            os.makedirs(path, 0o700, exist_ok=True)


def _reopen(fd: int) -> None:
    """The same file at the same place, with an offset of its own."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~(os.O_CREAT | os.O_TRUNC | os.O_EXCL)
    fresh = os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
    os.lseek(fresh, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
    os.dup2(fresh, fd, os.get_inheritable(fd))
    os.close(fresh)


def add_words(args: Sequence[bytes]) -> None:
    """Have the words after the name of the tool."""
    words = [os.fsdecode(word) for word in args]
    sys.argv += words
    if hasattr(sys, "orig_argv"):
        sys.orig_argv += words


def start_clocks(tool: Tool) -> None:
    """Have ``logging`` count from now."""
    started = tool.started
    if started is not None:
        was = started["_startTime"]
        started["_startTime"] = time.time_ns() if isinstance(was, int) else time.time()


def run(tool: Tool, ended: Callable[[], None], *, fresh: bool = False) -> NoReturn:
    """Be the tool, to its end.

    Args:
        tool: the tool, prepared.
        ended: called when it has ended, before the process does.
        fresh: the streams are as they have to be.
    """
    start_clocks(tool)
    if not fresh:
        tool.streams.renew()
    code, space = tool.script.code, tool.prepared
    if tool.collects:
        gc.enable()

    def program() -> None:
        exec(code, space)  # noqa: S102 - the tool

    outcome = ending.run(program, _OURS)
    ended()
    ending.finish(outcome)
