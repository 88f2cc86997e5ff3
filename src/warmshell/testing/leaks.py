"""What must not be left behind on this machine: processes, descriptors, threads, temporary files."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from warmshell.testing.waiting import eventually_sync

_PROC = Path("/proc")
_EXEC_SECONDS = 0.002  # while a program is replaced by another one, its environment reads as empty


class Census:
    """What there is now: open descriptors, threads, and the processes that belong to this one.

    Args:
        mark: the name of a variable; processes that have it in their environment belong to this one, wherever they
            hid.

    Attributes:
        descriptors: the open descriptors and what they lead to.
        threads: the names of the threads by their identity.
        numbers: the ids of all processes of this machine.
    """

    def __init__(self, mark: str | None = None) -> None:
        self.descriptors = _descriptors()
        self.threads = {thread.ident: thread.name for thread in threading.enumerate()}
        self.numbers = _numbers()
        self._mark = mark

    @property
    def processes(self) -> dict[int, str]:
        """The command lines of descendants (also of zombies) and marked processes, by their ids."""
        return _family(self.numbers, self._mark)

    def beyond(self, earlier: Census) -> list[str]:
        """What is here and was not there, in words."""
        found = [
            f"descriptor {fd} -> {target}"
            for fd, target in self.descriptors.items()
            if earlier.descriptors.get(fd) != target
        ]
        found += [f"thread {name}" for ident, name in self.threads.items() if ident not in earlier.threads]
        # Only numbers that are new are looked at, as that takes a hundredth of the time: this runs around every test.
        # One that was given out anew meanwhile is missed. The kernel counts through all of them before it does that.
        new = self.numbers - earlier.numbers
        return found + [f"process {pid}: {text}" for pid, text in _family(new, self._mark).items()]


def _descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError):
                found[int(name)] = os.readlink(f"/dev/fd/{name}")
    return found


def _numbers() -> set[int]:
    if not os.path.exists("/proc/self/stat"):
        return set()
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()}


def _family(numbers: Iterable[int], mark: str | None) -> dict[int, str]:
    """Those of the processes that descend from this one, or carry the mark."""
    own, found = os.getpid(), {}
    for pid in numbers:
        fields = _stat(pid)
        if pid != own and fields and (_descends(fields) or (mark and _has_memory(fields) and _is_marked(pid, mark))):
            found[pid] = _words(pid)
    return found


def _stat(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read(1000).rpartition(b")")[2].split()
    except OSError:
        return []


def _has_memory(fields: list[bytes]) -> bool:
    """Whether it is no zombie and no thread of the kernel, which have no environment."""
    return fields[20] != b"0"


def _descends(fields: list[bytes]) -> bool:
    own = os.getpid()
    while fields and (parent := int(fields[1])):
        if parent == own:
            return True
        fields = _stat(parent)
    return False


def _is_marked(pid: int, mark: str) -> bool:
    for _ in range(2):
        try:
            environ = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            return False
        if environ:
            return b"\0" + mark.encode() + b"=" in b"\0" + environ
        time.sleep(_EXEC_SECONDS)
    return False


def _words(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace") or "(ended)"
    except OSError:
        return "(gone)"


@contextlib.contextmanager
def check_leaks(within: float = 5.0, temporary: Path | None = None) -> Iterator[str]:
    """Fail if what runs inside leaves a process, a descriptor, a thread or a temporary file behind.

    Processes are found by descent and, on Linux, by a variable that is in the environment meanwhile, whose name is
    what the context manager gives.

    Args:
        within: seconds until everything must be gone.
        temporary: an empty directory for temporary files meanwhile, which must be empty at the end.

    Raises:
        AssertionError: something was left, which it names.
    """
    mark = f"WARMSHELL_LEAK_{uuid.uuid4().hex}"
    os.environ[mark] = "1"
    try:
        with _temporary(temporary):
            before = Census(mark)
            yield mark

        def left() -> list[str]:
            files = [] if temporary is None else [f"file {path}" for path in temporary.iterdir()]
            if found := Census(mark).beyond(before) + files:
                gc.collect()  # an exception that was caught may hold what it came by, in a cycle
            return found

        # Twice: one look can miss a process that forks, and ends, while it is taken.
        eventually_sync(
            lambda: not left() and not left(), within, lambda: f"left behind: {left()}; nothing was to be left"
        )
    finally:
        del os.environ[mark]


@contextlib.contextmanager
def _temporary(directory: Path | None) -> Iterator[None]:
    if directory is None:
        yield
        return
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable
