"""What the kernel tells of processes: descent, session, start time, tags in the environment.

This file is also shipped to other hosts: standard library only, Python 3.8 and later, quick to import. It reads
Linux's ``/proc``; where there is none it asks ``ps``, and then knows no tags.

A process is named by its pid and its start time, as a pid alone may be given to another process at any time.
The start time is a number of clock ticks since boot on Linux and opaque elsewhere.
"""

from __future__ import annotations

import errno
import os
import time

TYPE_CHECKING = False  # not from typing, whose import takes longer than this whole module
if TYPE_CHECKING:
    from collections.abc import Iterable

HAS_PROC = os.path.exists("/proc/self/stat")
"""Whether this is Linux: start times are clock ticks since boot, and tags can be read."""

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD in the flags of /proc/PID/stat
_CHUNK = 65536


class Process:
    """What the kernel says of one process.

    Attributes:
        pid: its number.
        ppid: the number of its parent.
        pgid: the number of its process group.
        sid: the number of its session.
        started: its start time.
        state: the letter of its state (``R``, ``S``, ``T``, ``Z`` ...).
        zombie: whether all of it has ended. It has not while any thread of it runs, even if the first ended.
        kernel: whether it is a thread of the kernel.
        tagged: whether its environment holds one of the tags looked for; ``None`` if nobody has looked.
    """

    __slots__ = ("kernel", "pgid", "pid", "ppid", "sid", "started", "state", "tagged", "zombie")

    def __init__(
        self,
        pid: int,
        *,
        ppid: int,
        pgid: int,
        sid: int,
        started: int,
        state: str,
        threads: int = 1,
        flags: int = 0,
    ) -> None:
        self.pid = pid
        self.ppid = ppid
        self.pgid = pgid
        self.sid = sid
        self.started = started
        self.state = state
        self.zombie = state in "ZX" and threads <= 1
        self.kernel = flags & _KERNEL_THREAD != 0
        self.tagged: bool | None = None

    def __repr__(self) -> str:
        return f"<Process {self.pid} {self.state} of {self.ppid}, session {self.sid}, started {self.started}>"


def parse_stat(pid: int, data: bytes) -> Process:
    """The process that the bytes of ``/proc/PID/stat`` describe; its name may hold any byte, even ``)``."""
    fields = data[data.rindex(b")") + 2 :].split(None, 20)
    return Process(
        pid,
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        started=int(fields[19]),
        state=fields[0].decode("ascii"),
        threads=int(fields[17]),
        flags=int(fields[6]),
    )


def _read(path: str) -> bytes:
    """The whole file, or nothing if it cannot be read: the process is gone or another user's.

    Raises:
        OSError: no descriptor is left, which tells nothing of the process.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise
        return b""
    try:
        data = chunk = os.read(fd, _CHUNK)
        while len(chunk) == _CHUNK:
            chunk = os.read(fd, _CHUNK)
            data += chunk
    except OSError:
        return b""
    else:
        return data
    finally:
        os.close(fd)


def process(pid: int) -> Process | None:
    """The process with this number, or ``None`` if there is none."""
    if not HAS_PROC:
        return _ask_ps().get(pid)
    data = _read(f"/proc/{pid}/stat")
    return parse_stat(pid, data) if data else None


def start_time(pid: int) -> int | None:
    """The start time of the process with this number, or ``None`` if there is none."""
    found = process(pid)
    return None if found is None else found.started


def name(pid: int) -> str:
    """The name of the process with this number, as far as it can be told; for people."""
    return _read(f"/proc/{pid}/comm")[:-1].decode("utf-8", "replace")


def is_same(pid: int, started: int) -> bool:
    """Whether the number still is that process's, dead or alive; where that takes long to tell: yes."""
    return not HAS_PROC or start_time(pid) == started


def birth() -> int:
    """The start time of the calling process, for ``since``; 0 where start times are opaque."""
    return (start_time(os.getpid()) or 0) if HAS_PROC else 0


def ticks(seconds_ago: float = 0.0) -> int:
    """The start time of a process that began that long ago, for ``since``; 0 where start times are opaque."""
    if not HAS_PROC:
        return 0
    return int((time.clock_gettime(time.CLOCK_BOOTTIME) - seconds_ago) * os.sysconf("SC_CLK_TCK"))


def snapshot(table: dict[int, Process] | None = None) -> dict[int, Process]:
    """All processes by number, the youngest read first.

    Args:
        table: an earlier one, to be brought up to date: what it holds is not read again, what is gone leaves it.
    """
    if table is None:
        table = {}
    if not HAS_PROC:
        table.clear()
        table.update(_ask_ps())
        return table
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    for pid in table.keys() - pids:
        del table[pid]
    for pid in reversed(pids):
        if pid not in table:
            found = process(pid)
            if found is not None:
                table[pid] = found
    return table


def _ask_ps() -> dict[int, Process]:
    """All processes as ``ps`` lists them; the session is asked for, as macOS's column does not tell it."""
    child, output = _run_ps()
    table = {}
    for line in output.splitlines():
        fields = line.split(None, 4)
        pid = int(fields[0])
        if pid != child:
            table[pid] = Process(
                pid,
                ppid=int(fields[1]),
                pgid=int(fields[2]),
                sid=_sid(pid),
                started=int.from_bytes(fields[4].strip(), "big"),
                state=chr(fields[3][0]),
            )
    return table


def _run_ps() -> tuple[int, bytes]:
    source, sink = os.pipe()
    words = ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="]
    actions = [(os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
    with open(source, "rb") as file:
        try:
            child = os.posix_spawnp("ps", words, {**os.environ, "LC_ALL": "C"}, file_actions=actions)
        finally:
            os.close(sink)
        output = file.read()
    try:  # noqa: SIM105 - contextlib is slow to import
        os.waitpid(child, 0)
    except ChildProcessError:
        pass  # this program has its children reaped by the kernel
    return child, output


def _sid(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def has_tag(pid: int, tags: Iterable[bytes]) -> bool:
    """Whether the environment of the process holds one of the tags.

    A tag is ``NAME=value``. It stands for itself and for what continues it after a dot: ``NAME=a.1`` also
    means ``NAME=a.1.7``, but not ``NAME=a.12``.
    """
    if not HAS_PROC:
        return False
    environ = _read(f"/proc/{pid}/environ")
    if not environ:  # also when the first of several threads has ended: the others still hold it
        environ = _environ_of_threads(pid)
    environ = b"\0" + environ + b"\0"
    for tag in tags:
        entry = b"\0" + tag
        at = environ.find(entry)
        while at >= 0:
            if environ[at + len(entry)] in b"\0.":
                return True
            at = environ.find(entry, at + 1)
    return False


def _environ_of_threads(pid: int) -> bytes:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return b""
    if len(threads) < 2:
        return b""
    for thread in threads:
        environ = _read(f"/proc/{pid}/task/{thread}/environ")
        if environ:
            return environ
    return b""


def is_alive(pid: int, started: int) -> bool:
    """Whether this very process, not a later one with its number, still runs."""
    found = process(pid)
    return found is not None and found.started == started and not found.zombie
