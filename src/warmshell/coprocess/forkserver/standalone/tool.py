"""The tool, imported: what a fork of this process needs to become a run of it."""

from __future__ import annotations

import atexit
import gc
import os
import select
import signal
import stat
import sys
import time

from . import ending
from .script import Script, directory_of
from .streams import Streams
from .watch import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_OURS = 2  # frames of a traceback that are not the tool's


class CannotServe(Exception):
    """The tool does something at import time that cannot be done once for many calls; or more than is allowed."""


class Tool:
    """One tool in this interpreter.

    Args:
        path: its script.
        argv0: its name as it is to see it.
        interpreter: whether it is run as ``python SCRIPT``, and so has that name in ``sys.argv``.

    Attributes:
        recorder: what was looked at.
        atexit: the exit handlers registered so far.
        master: the other end of the terminal that stands in for the caller's, or -1.
    """

    def __init__(self, path: str, argv0: str, initial: dict[bytes, bytes]) -> None:
        self.recorder = Recorder()
        self.path = path
        self.argv0 = argv0
        self.initial = initial
        self.changes: dict[bytes, bytes | None] = {}
        self.atexit: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
        self._own_fds = set(open_fds())
        self.master = -1
        self.shared_fds: list[int] = []
        self.modules: set[str] = set()

    def load(self) -> None:
        """Import it.

        Raises:
            CannotServe: it cannot be served, and why.
            OSError, SyntaxError: the script cannot be read.
        """
        if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
            sys.path[0] = directory_of(self.path)
        else:
            sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
        sys.argv[:] = [self.argv0]
        recorder, settings = self.recorder, _settings_of_site()
        with recorder:
            recorder.look_at([self.path, sys.executable, "/etc/localtime", os.path.join(sys.prefix, "pyvenv.cfg")])
            recorder.search_too(path for path in sys.path if os.path.isdir(path))
            recorder.look_at(settings)
            recorder.cwd = any(not path.startswith("/") for path in _python_path(self.initial))
            recorder.every = False
            recorder.names.clear()
            self.script = Script(self.path)
            self.during(self.script.import_first)
        self.settle()

    def during(self, work: Callable[[], object]) -> None:
        """Do something at import time, and note the exit handlers that it registers."""
        register = atexit.register

        def noting(function: Any, *args: Any, **words: Any) -> Any:
            self.atexit.append((function, args, words))
            return register(function, *args, **words)

        atexit.register = noting  # type: ignore[assignment]
        try:
            work()
        finally:
            atexit.register = register

    def settle(self) -> None:
        """See whether forks of this process can be runs of the tool, and note what they need.

        Raises:
            CannotServe: they cannot.
        """
        reasons = [*self.recorder.problems, *_what_cannot_be_shared()]
        if reasons:
            raise CannotServe("; ".join(dict.fromkeys(reasons)) + " when it is imported")
        self.shared_fds = self._files_left_open()
        self.streams = Streams()
        now: Any = os.environ._data  # type: ignore[attr-defined]
        self.changes = {name: value for name, value in now.items() if self.initial.get(name) != value}
        self.changes.update({name: None for name in self.initial if name not in now})
        self.modules = set(sys.modules)
        # Looked up here: to walk through all names would copy their pages in every call.
        self._ours = [name for name in self.modules if name.split(".")[0] == "_warmshell"]
        self.collects = gc.isenabled()
        self.imported_handlers = len(self.atexit)

    def has_spoken(self) -> tuple[object, ...]:
        """How much has been written to the streams that stand in for the caller's."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        written = tuple(-1 if os.isatty(fd) else os.fstat(fd).st_size for fd in (1, 2))
        return (*written, self.master >= 0 and bool(select.select([self.master], [], [], 0)[0]))

    def own(self, fds: list[int]) -> None:
        """These descriptors are the server's, not the tool's."""
        self._own_fds.update(fds)

    def _files_left_open(self) -> list[int]:
        left = []
        for fd in open_fds():
            if fd in self._own_fds or fd < 3:
                continue
            mode = os.fstat(fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISCHR(mode)):
                raise CannotServe("keeps a pipe, a socket or something of that kind open when it is imported")
            left.append(fd)
        return left

    # --- in the fork

    def take_environment(self, entries: list[bytes]) -> None:
        """Make the variables those of the caller, with what importing the tool does to them."""
        target: dict[bytes, bytes] = {}
        for entry in entries:
            name, _, value = entry.partition(b"=")
            target.setdefault(name, value)
        for changed, new in self.changes.items():
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

    def make_private(self) -> None:
        """What the import has left behind that a cold run has for itself alone."""
        for fd in self.shared_fds:
            _reopen(fd)
        self._keep_temporary()
        logging = sys.modules.get("logging")
        started = getattr(logging, "_startTime", None)
        if started is not None:
            setattr(logging, "_startTime", time.time_ns() if isinstance(started, int) else time.time())  # noqa: B010
        numpy = sys.modules.get("numpy.random")
        if numpy is not None:
            numpy.seed()

    def _keep_temporary(self) -> None:
        """Temporary files made by the import belong to the server, which removes them at its end."""
        made = self.recorder.temporary
        if not made:
            return
        for function, args, words in self.atexit:
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

    def run(self, args: list[str], ended: Callable[[], None]) -> NoReturn:
        """Be the tool, to its end.

        Args:
            args: the words after its name.
            ended: called when it has ended, before the process does.
        """
        sys.argv[:] = [self.argv0, *args]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv[:] = [*self._interpreter_words(), self.argv0, *args]
        self.streams.renew()
        space = self.script.fresh_main()
        for name in self._ours:
            del sys.modules[name]
        if self.collects:
            gc.enable()

        def program() -> None:
            exec(self.script.code, space)  # noqa: S102 - the tool

        outcome = ending.run(program, _OURS)
        ended()
        ending.finish(outcome)

    def _interpreter_words(self) -> list[str]:
        words: list[str] = list(sys.orig_argv)
        ours = [at for at, word in enumerate(words) if word.endswith("serve.py")]
        return words[: ours[0]] if ours else words[:1]

    def remove_temporary(self) -> None:
        """At the end of the server: what exit handlers of the import would have removed."""
        atexit._run_exitfuncs()


def open_fds() -> list[int]:
    """The descriptors that are open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:  # the one that listed them
            continue
        found.append(int(name))
    return found


def _what_cannot_be_shared() -> list[str]:
    reasons = []
    if len(os.listdir("/proc/self/task")) > 1:
        reasons.append("starts threads")
    if any(signal.getitimer(which)[0] for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)):
        reasons.append("sets a timer")
    return reasons


def _python_path(env: dict[bytes, bytes]) -> list[str]:
    value = os.fsdecode(env.get(b"PYTHONPATH", b""))
    return value.split(":") if value else []


def _settings_of_site() -> list[str]:
    """The ``.pth`` files, which the interpreter has read before anybody could watch it."""
    return [
        os.path.join(folder, name)
        for folder in sys.path
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if name.endswith(".pth")
    ]


def _reopen(fd: int) -> None:
    """The same file at the same place, with an offset of its own."""
    import fcntl

    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~(os.O_CREAT | os.O_TRUNC | os.O_EXCL)
    fresh = os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
    os.lseek(fresh, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
    os.dup2(fresh, fd, os.get_inheritable(fd))
    os.close(fresh)
