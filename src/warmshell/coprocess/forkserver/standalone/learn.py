"""Warmer than imported: the modules that calls were seen to import, or the state after a first run.

What a call imports while it runs is imported by the server before the next one, after a throw-away child has shown that
it can be. A *primed* server has run the tool once, with harmless words, before it forks.
"""

from __future__ import annotations

import atexit
import importlib
import os
import select
import signal
import sys

from . import ending
from .key import read
from .place import write
from .tool import CannotServe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .tool import Tool

_ROUNDS = 3
_TRIAL_SECONDS = 60.0
_LARGEST = 1 << 20


def _file(name: str) -> str:
    return name.replace(".shape", ".modules")


def import_known(tool: Tool, directory: int, name: str) -> None:
    """Import what earlier servers have learned; what has become impossible since is forgotten.

    Raises:
        CannotServe: it has: the next server starts without.
    """
    path = f"/proc/self/fd/{directory}/{_file(name)}"
    try:
        names = read(path).decode("utf-8", "replace").split()
    except OSError:
        return
    with tool.recorder:
        tool.during(lambda: _import(names))
    try:
        tool.settle()
    except CannotServe:
        os.unlink(path)
        raise


def _import(names: list[str]) -> list[str]:
    """Import what can be; returns what could."""
    done = []
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException:  # noqa: BLE001, S112 - it is not for this place, whatever it said
            continue
        done.append(name)
    return done


class Learning:
    """What calls import, and what comes of it.

    Args:
        directory: where it is kept.
        name: the file of the tool's shape, whose name it shares.
    """

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self._name = _file(name)
        self._heard: list[str] = []
        self._seen: set[str] = set()
        self._rounds = 0

    def tell(self, sink: int, tool: Tool) -> None:
        """In a call that has ended: what it imported, in the order in which it did."""
        if sink < 0:
            return
        new = [name for name in list(sys.modules) if name not in tool.modules]
        names = [name for name in new if _is_plain(name, sys.modules[name])]
        try:
            os.write(sink, " ".join(names).encode())
        except OSError:
            pass  # more than a pipe holds: another call may import less

    def hear(self, source: int) -> None:
        """In the server: what the call told."""
        try:
            text = os.read(source, _LARGEST)
        except BlockingIOError:
            text = b""
        os.close(source)
        known = len(self._seen)
        for name in text.decode("utf-8", "replace").split():
            if name not in self._seen:
                self._seen.add(name)
                self._heard.append(name)
        if len(self._seen) == known:
            self._rounds += 1  # there may be nothing more to learn

    def listens(self) -> bool:
        """Whether calls are still to tell what they import."""
        return self._rounds < _ROUNDS

    def due(self) -> bool:
        """Whether there is something to learn, and it is worth the time."""
        return bool(self._heard) and self._rounds < _ROUNDS

    def learn(self, tool: Tool) -> None:
        """Try the imports in a throw-away child; do those that did no harm."""
        self._rounds += 1
        heard, self._heard = self._heard, []
        proven = in_a_child(tool, lambda: _proven(tool, heard))
        if not proven:
            return
        with tool.recorder:
            tool.during(lambda: _import(proven))
        tool.settle()
        known = self._known()
        write(self._directory, self._name, " ".join([*known, *(n for n in proven if n not in known)]).encode())

    def forget(self) -> None:
        """Have the next server start with nothing learned; this one learns no more."""
        self._rounds = _ROUNDS
        try:
            os.unlink(f"/proc/self/fd/{self._directory}/{self._name}")
        except OSError:
            pass  # there is nothing

    def _known(self) -> list[str]:
        try:
            return read(f"/proc/self/fd/{self._directory}/{self._name}").decode().split()
        except OSError:
            return []


def _is_plain(name: str, module: Any) -> bool:
    """A module that importing its name makes, and no alias or piece of something else."""
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.name == name and name != "__main__" and " " not in name


def _proven(tool: Tool, names: list[str]) -> list[str]:
    """Those names whose import changes nothing that has to stay as it is."""
    proven: list[str] = []
    for name in names:
        before = _state_of(tool)
        streams = (sys.stdin, sys.stdout, sys.stderr)
        with tool.recorder:
            done = _import([name])
        try:
            tool.settle()
        except Exception:  # noqa: BLE001 - whatever it is: not this one
            return proven
        if not done or before != _state_of(tool) or streams != (sys.stdin, sys.stdout, sys.stderr):
            continue
        proven.append(name)
    return proven


def _state_of(tool: Tool) -> tuple[object, ...]:
    recorder = tool.recorder
    return len(recorder.problems), recorder.cwd, len(recorder.temporary), tool.has_spoken()


def in_a_child(tool: Tool, work: Callable[[], list[str]]) -> list[str]:
    """The words that a forked child comes to; none if it ends otherwise."""
    source, sink = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            os.close(source)
            tool.own([sink])
            signal.set_wakeup_fd(-1)
            text = " ".join(work()).encode()
            with open(sink, "wb") as file:
                file.write(text)
        finally:
            os._exit(0)
    os.close(sink)
    text = b""
    while select.select([source], [], [], _TRIAL_SECONDS)[0]:
        chunk = os.read(source, 65536)
        if not chunk:
            break
        text += chunk
    else:
        text = b""
    os.close(source)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return text.decode().split()


# --- primed


def prime(tool: Tool, words: list[bytes]) -> None:
    """Run the tool once, unless a throw-away child shows that it cannot go on from there."""
    args = [os.fsdecode(word) for word in words if word]
    if in_a_child(tool, lambda: ["fine"] if _repeats(tool, args) else []) != ["fine"]:
        return
    _ran(tool, args)
    tool.settle()


def _repeats(tool: Tool, args: list[str]) -> bool:
    """Whether a second run comes to the same: some tools set up once what they refuse to set up again."""
    said = []
    for _ in range(2):
        memory = os.memfd_create("warmshell-trial")
        tool.own([memory])
        if not _ran(tool, args, memory):
            return False
        said.append(os.pread(memory, _LARGEST, 0))
    return said[0] == said[1]


def _ran(tool: Tool, args: list[str], output: int = -1) -> bool:
    """Run it with its output thrown away, and put back what a run leaves changed in a process.

    Returns:
        Whether it ended with status 0 and left nothing that calls cannot share.
    """
    kept = State(tool)
    known = len(tool.atexit)
    for fd in (1, 2) if output >= 0 else ():
        os.dup2(output, fd)
    try:
        with tool.recorder:
            sys.argv[:] = [tool.argv0, *args]
            space = tool.script.fresh_main()

            def program() -> None:
                exec(tool.script.code, space)  # noqa: S102 - the tool

            outcomes: list[ending.Outcome] = []
            tool.during(lambda: outcomes.append(ending.run(program, 2)))
    finally:
        kept.put_back()
        for function, _, _ in tool.atexit[known:]:
            atexit.unregister(function)
        del tool.atexit[known:]
        tool.recorder.forgive_chdir()
    try:
        tool.settle()
    except Exception:  # noqa: BLE001 - whatever it is, it cannot be shared
        return False
    return outcomes[0].status == 0


class State:
    """What belongs to the process, and not to modules."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._env = dict(os.environ._data)  # type: ignore[attr-defined]
        self._cwd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._argv, self._path = list(sys.argv), list(sys.path)
        self._hooks = (sys.excepthook, sys.displayhook, sys.unraisablehook)
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._streams = [os.dup(fd) for fd in range(3)]
        tool.own([self._cwd, *self._streams])
        for fd in range(3):
            os.dup2(null, fd)
        os.close(null)

    def put_back(self) -> None:
        """As it was."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._tool.streams.renew()
        for fd, kept in enumerate(self._streams):
            os.dup2(kept, fd)
            os.close(kept)
        os.fchdir(self._cwd)
        os.close(self._cwd)
        os.umask(self._umask)
        sys.argv[:], sys.path[:] = self._argv, self._path
        sys.excepthook, sys.displayhook, sys.unraisablehook = self._hooks
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        self._put_back_environment()

    def _put_back_environment(self) -> None:
        current = os.environ._data  # type: ignore[attr-defined]
        for name in set(current) - set(self._env):
            os.unsetenv(name)
        for name, value in self._env.items():
            if current.get(name) != value:
                os.putenv(name, value)
        current.clear()
        current.update(self._env)
