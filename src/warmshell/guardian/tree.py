"""Find processes by descent, by a tag in their environment or by session, and end them.

This file is also shipped to other hosts: standard library only, Python 3.8 and later, quick to import. It
reads Linux's ``/proc``; where there is none it asks ``ps``, and then knows no tags.

A process is named by its pid and its start time, as a pid alone may be given to another process at any time.
The start time is a number of clock ticks since boot on Linux and opaque elsewhere.
"""

from __future__ import annotations

import os
import select
import signal
import time

TYPE_CHECKING = False  # not from typing, whose import takes longer than this whole module
if TYPE_CHECKING:
    from collections.abc import Iterable

    Target = tuple[int, int]

SESSION_VARIABLE = b"WARMSHELL_SESSION"
"""Holds the client's token in every shell that the client starts."""
COMMAND_VARIABLE = b"WARMSHELL_COMMAND"
"""Holds ``<token>.<lane>.<command>`` in every program that a command starts."""

HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - pathlib is slow to import
"""Whether this is Linux: start times are clock ticks since boot, and tags can be read."""

KILL_SECONDS = 5.0
"""How long :func:`end` repeats SIGKILL before it gives up."""

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD in the flags of /proc/PID/stat
_MOST_WATCHED = 64  # pidfds held at once: the process that calls has other uses for its descriptors
_POLL_SECONDS = 0.01  # between looks at processes that no pidfd watches
_FREEZE_ROUNDS = 200
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
    """The whole file, or nothing if it cannot be read: the process is gone or another user's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
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


def ticks(seconds_ago: float = 0.0) -> int:
    """The start time of a process that began that long ago, for ``since``; 0 where start times are opaque."""
    if not HAS_PROC:
        return 0
    return int((time.clock_gettime(time.CLOCK_BOOTTIME) - seconds_ago) * os.sysconf("SC_CLK_TCK"))


def snapshot(known: dict[int, Process] | None = None) -> dict[int, Process]:
    """All processes by number, the youngest read first; those in ``known`` are taken from there, unread."""
    if not HAS_PROC:
        return _ask_ps()
    table: dict[int, Process] = {}
    known = known or {}
    for entry in reversed(os.listdir("/proc")):  # noqa: PTH208
        if not entry.isdigit():
            continue
        pid = int(entry)
        found = known.get(pid) or process(pid)
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
    with open(source, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
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
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
    except OSError:
        return b""
    if len(threads) < 2:
        return b""
    for thread in threads:
        environ = _read(f"/proc/{pid}/task/{thread}/environ")
        if environ:
            return environ
    return b""


class Selection:
    """Which processes are meant: it can be asked again and again, as they fork and end.

    Args:
        roots: processes (pid, start time) whose descendants are meant; a mismatched start time means nothing.
        tags: ``NAME=value`` entries of environments, see :func:`has_tag`.
        sids: numbers of sessions whose members are meant.
        exclude: processes that are never meant, nor their descendants for their sake.
        include_roots: whether the roots themselves are meant. If not, no tag or session makes them so.
        since: processes that started earlier are not meant for their tag or session.

    Descendants of everything meant are meant too. The calling process, process 1, threads of the kernel and
    zombies never are.

    Raises:
        ValueError: a tag that is not ``NAME=value``: it would mean every process that has the variable.
    """

    __slots__ = ("exclude", "include_roots", "roots", "sids", "since", "tags")

    def __init__(
        self,
        roots: Iterable[Target] = (),
        tags: Iterable[bytes] = (),
        sids: Iterable[int] = (),
        exclude: Iterable[int] = (),
        *,
        include_roots: bool = False,
        since: int = 0,
    ) -> None:
        self.roots = frozenset(roots)
        self.tags = tuple(tags)
        self.sids = frozenset(sids) - {0, 1}  # 0: of another PID namespace; 1: of init
        self.exclude = frozenset(exclude)
        self.include_roots = include_roots
        self.since = since
        for tag in self.tags:
            variable, _, value = tag.partition(b"=")
            if not variable or not value:
                raise ValueError(f"a tag is NAME=value, not {tag!r}")

    def find(self) -> set[Target]:
        """The processes that are meant and alive now, as (pid, start time)."""
        return self.scan()[1]

    def scan(self, known: dict[int, Process] | None = None) -> tuple[dict[int, Process], set[Target]]:
        """The table of all processes, and those that are meant; what is ``known`` is not read again."""
        table = snapshot(known)
        spared = {os.getpid(), 1, *self.exclude}
        roots = {pid for pid, started in self.roots if pid in table and table[pid].started == started}
        seeds = roots | {p.pid for p in table.values() if p.sid in self.sids and p.started >= self.since}
        children = _children(table)
        meant = _descend(children, seeds, spared)
        if self.tags and HAS_PROC:
            tagged = {p.pid for p in table.values() if p.pid not in meant and self._is_tagged(p)}
            meant |= _descend(children, tagged, spared)
        if not self.include_roots:
            meant -= roots
        found = [table[pid] for pid in meant]
        return table, {(p.pid, p.started) for p in found if not (p.zombie or p.kernel)}

    def _is_tagged(self, candidate: Process) -> bool:
        if candidate.tagged is None:
            possible = candidate.started >= self.since and not (candidate.kernel or candidate.zombie)
            candidate.tagged = possible and has_tag(candidate.pid, self.tags)
        return candidate.tagged


def _children(table: dict[int, Process]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for found in table.values():
        children.setdefault(found.ppid, []).append(found.pid)
    return children


def _descend(children: dict[int, list[int]], seeds: set[int], spared: set[int]) -> set[int]:
    """The seeds and all their descendants, never through one that is spared."""
    reached: set[int] = set()
    waiting = list(seeds)
    while waiting:
        pid = waiting.pop()
        if pid not in reached and pid not in spared:
            reached.add(pid)
            waiting.extend(children.get(pid, ()))
    return reached


def find(
    roots: Iterable[Target] = (),
    tags: Iterable[bytes] = (),
    sids: Iterable[int] = (),
    exclude: Iterable[int] = (),
    *,
    include_roots: bool = False,
    since: int = 0,
) -> set[Target]:
    """The processes that such a :class:`Selection` means now."""
    return Selection(roots, tags, sids, exclude, include_roots=include_roots, since=since).find()


def is_alive(pid: int, started: int) -> bool:
    """Whether this very process, not a later one with its number, still runs."""
    found = process(pid)
    return found is not None and found.started == started and not found.zombie


def _open_pidfd(pid: int) -> int:
    """A pidfd of whatever has this number now, or -1 where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # an old Python or kernel, no descriptor left, or no such process
        return -1


def send(pid: int, started: int, *signals: int) -> bool:
    """Send the signals to this very process.

    Returns:
        False if it is gone; a later process with its number gets nothing.

    Raises:
        PermissionError: this user may not signal it.
    """
    fd = _open_pidfd(pid)
    try:
        # Looked up after the pidfd was opened: if it is the right one now, the pidfd cannot mean another one.
        if HAS_PROC and start_time(pid) != started:
            return False
        for number in signals:
            if fd >= 0 and hasattr(signal, "pidfd_send_signal"):
                signal.pidfd_send_signal(fd, number)
            else:
                os.kill(pid, number)
    except ProcessLookupError:
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def wait(targets: Iterable[Target], seconds: float) -> bool:
    """Wait until all these processes have ended (also unreaped); returns whether they did in time."""
    deadline = time.monotonic() + seconds
    waiting = list(targets)
    while waiting:
        batch, waiting = waiting[:_MOST_WATCHED], waiting[_MOST_WATCHED:]
        if not _wait_batch(batch, deadline):
            return False
    return True


def _wait_batch(batch: list[Target], deadline: float) -> bool:
    poller = select.poll()
    watched: set[int] = set()
    unwatched: list[Target] = []
    try:
        for pid, started in batch:
            fd = _open_pidfd(pid)
            if fd < 0:
                unwatched.append((pid, started))
                continue
            watched.add(fd)
            if is_alive(pid, started):
                poller.register(fd, select.POLLIN)
            else:
                watched.remove(fd)
                os.close(fd)
        return _poll_all(poller, set(watched), deadline) and _look_until_gone(unwatched, deadline)
    finally:
        for fd in watched:
            os.close(fd)


def _poll_all(poller: select.poll, watched: set[int], deadline: float) -> bool:
    """Wait until each of the pidfds is readable, which it is once all threads of its process have ended."""
    while watched:
        left = deadline - time.monotonic()
        ready = poller.poll(max(left, 0) * 1000)
        if not ready and left <= 0:
            return False
        for fd, _ in ready:
            poller.unregister(fd)
            watched.discard(fd)
    return True


def _look_until_gone(targets: list[Target], deadline: float) -> bool:
    """Wait where no pidfd is to be had: by looking, at short intervals."""
    while True:
        targets = [target for target in targets if is_alive(*target)]
        if not targets:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)


def end(selection: Selection, grace: float) -> set[Target]:
    """End all that are meant: SIGTERM, up to ``grace`` seconds to comply, then SIGKILL until none is left.

    What starts during the grace gets its SIGTERM too; without a grace nothing does. Before they are killed
    all are stopped, so that what forks faster than it can be found loses.

    Returns:
        Those still alive: another user's, or not even SIGKILL ended them within :data:`KILL_SECONDS`.
    """
    denied: set[Target] = set()
    asked: set[Target] = set()
    deadline = time.monotonic() + grace
    while True:
        meant = selection.find() - denied
        if not meant or time.monotonic() >= deadline:
            break
        # SIGCONT after it, as a stopped process acts on SIGTERM only when it continues.
        denied |= _send_all(meant - asked, signal.SIGTERM, signal.SIGCONT)
        asked |= meant
        # Waiting shortly lets the next look find what was forked meanwhile.
        wait(meant - denied, min(deadline - time.monotonic(), grace / 4))
    return _kill(selection, denied) if meant else denied & selection.find()


def _send_all(targets: set[Target], *signals: int) -> set[Target]:
    """Signal the targets, the youngest first; returns those that this user may not signal."""
    denied = set()
    for pid, started in sorted(targets, key=_age, reverse=True):
        try:
            send(pid, started, *signals)
        except PermissionError:
            denied.add((pid, started))
    return denied


def _age(target: Target) -> tuple[int, int]:
    return target[1], target[0]


def _kill(selection: Selection, denied: set[Target]) -> set[Target]:
    deadline = time.monotonic() + KILL_SECONDS
    while True:
        meant = _freeze(selection, denied)
        denied |= _send_all(meant - denied, signal.SIGKILL)
        wait(meant - denied, min(1.0, max(0.0, deadline - time.monotonic())))
        left = selection.find()
        if left <= denied or time.monotonic() >= deadline:
            return left


def _freeze(selection: Selection, denied: set[Target]) -> set[Target]:
    """Stop all that are meant, until a look finds no new one. Looks are fast: they read only what is new."""
    frozen: set[Target] = set()
    table: dict[int, Process] | None = None
    for _ in range(_FREEZE_ROUNDS):
        table, meant = selection.scan(table)
        if meant <= frozen:
            break
        denied |= _send_all(meant - frozen - denied, signal.SIGSTOP)
        frozen |= meant
    return frozen
