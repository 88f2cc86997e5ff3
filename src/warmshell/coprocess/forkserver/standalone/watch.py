"""What a tool looks at while it is imported: files, directories, variables, the working directory.

An audit hook sees what is opened and listed, and what no server may share; functions of ``os`` that have no audit event
are stood in for until the import is over.
"""

from __future__ import annotations

import marshal
import os
import posix
import stat
import sys
import time

from .table import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Signature = tuple[int, ...]

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ELSEWHERE = ("/proc/", "/sys/", "/dev/")  # made by the kernel when it is read: nothing there can be watched
_RACY_NS = 20_000_000  # a file this young may change again without a new time
_RACY = (-1,)
_MOST = 50_000

_ALONE = {
    "subprocess.Popen": "starts a program", "os.posix_spawn": "starts a program", "os.exec": "starts a program",
    "os.system": "starts a program", "os.fork": "forks", "os.forkpty": "forks", "pty.spawn": "starts a program",
    "socket.connect": "opens a connection", "socket.getaddrinfo": "asks the network",
    "socket.gethostbyname": "asks the network", "socket.gethostbyaddr": "asks the network",
    "fcntl.flock": "locks a file", "fcntl.lockf": "locks a file", "os.lockf": "locks a file",
    "os.kill": "sends signals", "os.killpg": "sends signals", "signal.pthread_kill": "sends signals",
    "os.chdir": "changes the directory", "os.fchdir": "changes the directory",
    "sqlite3.connect": "opens a database", "syslog.openlog": "opens the system's log",
}  # fmt: skip
"""What cannot be done once and then be shared by all calls."""

_CHANGES = {
    "os.remove": 1, "os.rmdir": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.truncate": 1, "os.chmod": 1,
    "os.chown": 1, "os.utime": 1,
}  # fmt: skip


class Recorder:
    """Everything that was looked at, as it was then.

    Attributes:
        cwd: whether the working directory mattered.
        names: the variables that were asked for by name.
        every: whether all variables were read.
        problems: why a server cannot stand in for a fresh start, in words.
        temporary: files and directories made for the time of the process.
        on_terminal: called when the controlling terminal is opened, in a call.
        loads: libraries were loaded of which nobody knows what they read.
        version: another number whenever each call is to compare something else than before.
    """

    def __init__(self) -> None:
        self.cwd = False
        self.names: set[bytes] = set()
        self.every = False
        self.problems: list[str] = []
        self.temporary: set[str] = set()
        self.loads = False
        self.active = False
        self.on_terminal: Callable[[], None] | None = None
        self._files: dict[str, Signature | None] = {}
        self._listed: dict[str, Signature | None] = {}
        self._each: dict[str, Signature | None] = self._files  # what each call compares
        self._implied: dict[str, list[str]] = {}  # and what follows from the state of a directory
        self.version = 0
        self._searched: dict[str, frozenset[str]] = {}
        self._written: set[str] = set()
        self._made: set[str] = set()
        self._renewed: set[str] = set()
        self._undo: list[tuple[Any, str, Any]] = []
        self._stat = posix.stat
        self._getcwd = posix.getcwd
        self._listen()

    def __enter__(self) -> None:
        self.active = True
        self._stand_in()

    def __exit__(self, *_: object) -> None:
        self.active = False
        for owner, name, value in reversed(self._undo):
            setattr(owner, name, value)
        self._undo.clear()
        self._settle()

    def look_at(self, paths: Iterable[str]) -> None:
        """Watch these too."""
        for path in paths:
            self._saw(path)

    def search_too(self, paths: Iterable[str]) -> None:
        """Watch which modules these directories hold."""
        for path in paths:
            self._listing(path, by_import=True)

    def changed(self) -> str | None:
        """Something that is not any more as it was when it was looked at."""
        for path, expected in self._each.items():
            if _signature(self._stat, path) != expected:
                return path
        for path, expected in self._listed.items():
            found = _listing_signature(self._stat, path)
            if found != expected:
                if not self._finds_the_same(path) or self._implied_changed(path):
                    return path
                self._listed[path] = _settled(found)
                self.version += 1
        return None

    def _implied_changed(self, folder: str) -> bool:
        return any(_signature(self._stat, path) != self._files[path] for path in self._implied.get(folder, ()))

    def _is_implied(self, path: str, folder: str) -> bool:
        """Whether what a path was follows from the state of a directory that is compared anyway.

        What is missing in a directory is missing as long as that has the same time.
        """
        was, listed = self._files[path], self._listed.get(folder)
        if listed is None or listed == _RACY:
            return False
        return was == listed[:3] if path == folder else was is None and not os.path.lexists(path)

    def _finds_the_same(self, path: str) -> bool:
        """Whether a directory that only imports have looked through has other files now, but the same modules."""
        return path in self._searched and _importable(path) == self._searched[path]

    def compact(self) -> None:
        """Leave out what follows from the rest; bring together in memory what each call compares.

        Every page that is touched there is one that a fork has to copy.
        """
        self._implied.clear()
        for path in self._files:
            folder = path if path in self._listed else os.path.dirname(path)
            if self._is_implied(path, folder):
                self._implied.setdefault(folder, []).append(path)
        implied = {path for paths in self._implied.values() for path in paths}
        each = {path: was for path, was in self._files.items() if path not in implied}
        self._each = marshal.loads(marshal.dumps(each))  # noqa: S302 - our own
        self._listed = marshal.loads(marshal.dumps(self._listed))  # noqa: S302
        self.version += 1

    def table(self) -> bytes:
        """What each call compares, for ``warmfork.c``."""
        return packed(self._each, self._listed)

    def forgive_chdir(self) -> None:
        """The directory was put back."""
        self.problems = [problem for problem in self.problems if problem != _ALONE["os.chdir"]]

    def count(self) -> int:
        """How many files and directories are watched."""
        return len(self._files) + len(self._listed)

    # --- what the interpreter tells

    def _listen(self) -> None:
        """Hear of events, for ever: in calls too, where a function takes half of the time that a method would."""

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if self.active:
                self._told(event, args)
            elif event == "open" and args[0] == "/dev/tty" and self.on_terminal is not None:
                self.on_terminal()

        sys.addaudithook(hook)

    def _told(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            self._opened(*args)
        elif event in ("os.listdir", "os.scandir"):
            self._listing("." if args[0] is None else args[0], by_import=_is_import(sys._getframe(2)))
        elif event in _ALONE:
            if not self._is_harmless(event, args):
                self.problems.append(_ALONE[event])
        else:
            self._made_or_changed(event, args)

    def _made_or_changed(self, event: str, args: tuple[Any, ...]) -> None:
        if event in ("tempfile.mkdtemp", "tempfile.mkstemp"):
            self.temporary.add(os.fsdecode(args[0]))
        elif event == "os.mkdir":
            self._made_directory(args[0])
        elif event in _CHANGES:
            self._changed_file(event, args)
        elif event == "ctypes.dlopen":
            self.loads = True

    def _is_harmless(self, event: str, args: tuple[Any, ...]) -> bool:
        """Whether the answer is known: an address in numbers; ``ldconfig -p``, which lists a file that is watched."""
        if event == "socket.getaddrinfo":
            host = args[0]
            return host is None or not set(os.fsdecode(host)) - set("0123456789abcdefABCDEF.:")
        if event == "subprocess.Popen" and os.path.basename(os.fsdecode(args[0])) == "ldconfig":
            self._saw("/etc/ld.so.cache")
            return True
        return False

    def _opened(self, path: Any, _: object, flags: Any) -> None:
        name = self._name(path)
        if name is None or _is_cache(name):
            return
        if isinstance(flags, int) and flags & _WRITES and not name.startswith(_ELSEWHERE):
            self._written.add(name)
        else:
            self._saw(path)

    def _made_directory(self, path: Any) -> None:
        name = self._name(path)
        if name is None or self._is_temporary(name):
            return
        if os.path.basename(name) == "__pycache__":
            self._renewed.add(os.path.dirname(name))
        else:
            self._made.add(name)

    def _changed_file(self, event: str, args: tuple[Any, ...]) -> None:
        names = [self._name(path) for path in args[: _CHANGES[event]]]
        for name in names:
            if name is not None and not _is_cache(name) and not self._is_temporary(name) and name not in self._written:
                self.problems.append(f"changes {name}")

    def _settle(self) -> None:
        """What was written and is still there would be written by every cold run too."""
        for name in self._written:
            if not self._is_temporary(name) and os.path.lexists(name):
                self.problems.append(f"writes {name}")
        self._written.clear()
        for name in self._made:
            self._files[name] = _signature(self._stat, name)
        self._made.clear()
        for name in self._renewed & set(self._listed):
            self._listed[name] = _listing_signature(self._stat, name)
        self._renewed.clear()
        if self.count() > _MOST:
            self.problems.append(f"looks at more than {_MOST} files")

    def _is_temporary(self, name: str) -> bool:
        return any(name == made or name.startswith(made + "/") for made in self.temporary)

    def _name(self, path: Any) -> str | None:
        """An absolute name; a relative one makes the working directory count."""
        if isinstance(path, int):
            return None
        try:
            name = os.fsdecode(path)
        except TypeError:
            return None
        if not name.startswith("/"):
            self.cwd = True
            try:
                name = os.path.normpath(self._getcwd() + "/" + name)
            except OSError:
                return None
        return name

    def _saw(self, path: Any, found: os.stat_result | None = None) -> None:
        name = self._name(path)
        if name is not None and name not in self._files and not (name.startswith(_ELSEWHERE) or _is_cache(name)):
            self._files[name] = _settled(_signature(self._stat, name) if found is None else _of(found))

    def _listing(self, path: Any, *, by_import: bool = False) -> None:
        name = self._name(path)
        if name is None or name.startswith(_ELSEWHERE):
            return
        if not by_import:
            self._searched.pop(name, None)
        elif name not in self._listed:
            self._listed[name] = None  # before it is listed once more
            self.active = False
            self._searched[name] = _importable(name)
            self.active = True
        if self._listed.get(name) is None:
            self._listed[name] = _settled(_listing_signature(self._stat, name))

    # --- what it does not tell

    def _stand_in(self) -> None:
        for name in ("stat", "lstat", "access", "readlink", "getcwd", "getcwdb"):
            original = getattr(posix, name)
            substitute = self._noting_cwd(original) if name.startswith("getcwd") else self._noting(original, name)
            for owner in (posix, os):
                self._replace(owner, name, substitute)
        environ = type(os.environ)
        read, walk = environ.__getitem__, environ.__iter__

        def getitem(mapping: Any, name: Any) -> Any:
            if self.active and isinstance(name, (str, bytes)):
                self.names.add(os.fsencode(name))
            return read(mapping, name)

        def iterate(mapping: Any) -> Any:
            self.every = self.every or self.active
            return walk(mapping)

        self._replace(environ, "__getitem__", getitem)
        self._replace(environ, "__iter__", iterate)

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _noting(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def noting(path: Any, *args: Any, **words: Any) -> Any:
            if not self.active or words.get("dir_fd") is not None:
                return original(path, *args, **words)
            if name != "stat" or words:
                self._saw(path)
                return original(path, *args, **words)
            try:
                found = original(path)
            except OSError:
                self._saw(path)
                raise
            self._saw(path, found)
            return found

        noting.__name__ = noting.__qualname__ = name
        return noting

    def _noting_cwd(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def noting() -> Any:
            self.cwd = self.cwd or self.active
            return original()

        return noting


def _is_import(frame: Any) -> bool:
    return bool(frame.f_code.co_filename == "<frozen importlib._bootstrap_external>")


def _importable(folder: str) -> frozenset[str]:
    """What an import could find there."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(
                entry.name for entry in entries if entry.name != "__pycache__" and _is_module(entry.name, entry)
            )
    except OSError:
        return frozenset()


def _is_module(name: str, entry: os.DirEntry[str]) -> bool:
    if "." not in name:
        return entry.is_dir()
    return name.endswith((".py", ".pyc", ".so", ".pth", ".egg-link"))


def _is_cache(name: str) -> bool:
    return (
        "/__pycache__/" in name
        or name.endswith("/__pycache__")
        or bool(sys.pycache_prefix and name.startswith(sys.pycache_prefix))
    )


def _of(found: os.stat_result) -> Signature:
    mode = found.st_mode
    if stat.S_ISREG(mode):
        return (mode, found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if stat.S_ISDIR(mode):
        return (mode, found.st_ino, found.st_dev)
    return (mode, found.st_rdev)


def _signature(look: Callable[..., os.stat_result], name: str) -> Signature | None:
    try:
        return _of(look(name))
    except (OSError, ValueError):
        return None


def _listing_signature(look: Callable[..., os.stat_result], name: str) -> Signature | None:
    try:
        found = look(name)
    except (OSError, ValueError):
        return None
    return (found.st_mode, found.st_ino, found.st_dev, found.st_mtime_ns)


def _settled(signature: Signature | None) -> Signature | None:
    """The signature, or one that nothing ever has if the file changed a moment ago and may change again unseen."""
    if signature is not None and len(signature) > 3 and time.time_ns() - signature[-1] < _RACY_NS:
        return _RACY
    return signature
