"""The tool, imported: what a fork of this process needs to become a run of it; ``becoming`` has the fork's part."""

from __future__ import annotations

import atexit
import gc
import os
import select
import signal
import stat
import sys

from .script import Script, directory_of
from .streams import Streams
from .watch import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class CannotServe(Exception):
    """The tool does something at import time that cannot be done once for many calls; or more than is allowed."""


class Tool:
    """One tool in this interpreter.

    Args:
        path: its script.
        argv0: its name as it is to see it.
        entries: the variables that the server was started with.

    Attributes:
        recorder: what was looked at.
        atexit: the exit handlers registered so far.
        changes: what importing the tool does to the variables.
        master: the other end of the terminal that stands in for the caller's, or -1.
        prepared: the name space of the script, for the next call.
        started: what has the time of the start of ``logging``, if that is imported.
    """

    def __init__(self, path: str, argv0: str, entries: Iterable[bytes]) -> None:
        self.recorder = Recorder()
        self.path = path
        self.argv0 = argv0
        self.entries = tuple(entries)
        self.initial = dict(entry.partition(b"=")[::2] for entry in self.entries)
        self.changes: dict[bytes, bytes | None] = {}
        self.atexit: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
        self._own_fds = set(open_fds())
        self.master = -1
        self.shared_fds: list[int] = []
        self.modules: set[str] = set()
        self.prepared: dict[str, Any] = {}
        self.started: dict[str, Any] | None = None

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
        logging = getattr(sys.modules.get("logging"), "__dict__", {})
        self.started = logging if "_startTime" in logging else None
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

    def prepare(self) -> None:
        """Do, once for all calls, what each would do in the same way: they find the state of a script's beginning."""
        self.prepared = self.script.fresh_main()
        if hasattr(sys, "orig_argv"):
            sys.orig_argv[:] = [*_interpreter_words(), self.argv0]
        for name in [name for name in sys.modules if name.split(".")[0] == "_warmshell"]:
            del sys.modules[name]

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


def _interpreter_words() -> list[str]:
    """The interpreter of the tool and its options, without ours."""
    words: list[str] = list(sys.orig_argv)
    ours = [at for at, word in enumerate(words) if word.endswith("serve.py")]
    return words[: ours[0]] if ours else words[:1]
