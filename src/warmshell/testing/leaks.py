"""What must not be left behind on this machine: processes, descriptors, threads, temporary files."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
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
        processes: the command lines of descendants (also of zombies) and marked processes, by pid and start time.
    """

    def __init__(self, mark: str | None = None) -> None:
        self.descriptors = _descriptors()
        self.threads = {thread.ident: thread.name for thread in threading.enumerate()}
        self.processes = _family(mark)

    def beyond(self, earlier: Census) -> list[str]:
        """What is here and was not there, in words."""
        found = [
            f"descriptor {fd} -> {target}"
            for fd, target in self.descriptors.items()
            if earlier.descriptors.get(fd) != target
        ]
        found += [f"thread {name}" for ident, name in self.threads.items() if ident not in earlier.threads]
        found += [f"process {key[0]}: {text}" for key, text in self.processes.items() if key not in earlier.processes]
        return found


def _descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError):
                found[int(name)] = os.readlink(f"/dev/fd/{name}")
    return found


def _family(mark: str | None) -> dict[tuple[int, int], str]:
    table: dict[int, tuple[int, int]] = {}
    empty: set[int] = set()  # zombies and threads of the kernel, which have no environment
    if not _PROC.joinpath("self/stat").exists():
        return {}
    for name in os.listdir(_PROC):
        if name.isdecimal() and (fields := _stat(name)):
            table[int(name)] = int(fields[1]), int(fields[19])
            if fields[20] == b"0":
                empty.add(int(name))
    return {
        (pid, started): _words(pid)
        for pid, (_, started) in table.items()
        if pid != os.getpid()
        and (_descends(pid, table) or (mark is not None and pid not in empty and _is_marked(pid, mark)))
    }


def _stat(name: str) -> list[bytes]:
    try:
        return (_PROC / name / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _descends(pid: int, table: dict[int, tuple[int, int]]) -> bool:
    seen: set[int] = set()
    while pid in table and pid not in seen:
        seen.add(pid)
        pid = table[pid][0]
        if pid == os.getpid():
            return True
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
