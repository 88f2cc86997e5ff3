"""Find processes by descent, by a tag in their environment or by session, and end them.

This file is also shipped to other hosts: standard library only, Python 3.8 and later, quick to import.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time

from warmshell.guardian.processes import (
    Process,
    birth,
    has_tag,
    is_alive,
    is_same,
    name,
    process,
    snapshot,
    start_time,
    ticks,
)

TYPE_CHECKING = False  # not from typing, whose import takes longer than this whole module
if TYPE_CHECKING:
    from collections.abc import Iterable

    Target = tuple[int, int]

__all__ = [
    "COMMAND_VARIABLE", "KILL_SECONDS", "SESSION_VARIABLE", "Process", "Selection", "birth", "end", "find", "has_tag",
    "is_alive", "name", "process", "send", "snapshot", "start_time", "ticks", "wait",
]  # fmt: skip

SESSION_VARIABLE = b"WARMSHELL_SESSION"
"""Holds the client's token in every shell that the client starts."""
COMMAND_VARIABLE = b"WARMSHELL_COMMAND"
"""Holds ``<token>.<lane>.<command>`` in every program that a command starts."""

KILL_SECONDS = 5.0
"""How long :func:`end` repeats SIGKILL by default before it gives up."""

_MOST_WATCHED = 64  # pidfds held at once: the process that calls has other uses for its descriptors
_POLL_SECONDS = 0.01  # between looks at processes that no pidfd watches
_LOOK_SECONDS = 0.05  # after which what was found until then is stopped, before the rest is read


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
        return self.scan({})[0]

    def scan(self, table: dict[int, Process], until: float = float("inf")) -> tuple[set[Target], bool]:
        """What is meant and alive now, like :meth:`find`, but in reach of a clock and with a memory.

        Args:
            table: the processes of an earlier scan, brought up to date; what it holds is not read again.
            until: when to stop reading environments (by ``time.monotonic``). One read can take long if the
                process forks all the time, since its memory is locked meanwhile.

        Returns:
            What is meant as far as is known, and whether everything was read in time.
        """
        snapshot(table)
        spared = {os.getpid(), 1, *self.exclude}
        roots = {pid for pid, started in self.roots if pid in table and table[pid].started == started}
        seeds = roots | {p.pid for p in table.values() if p.sid in self.sids and p.started >= self.since}
        children = _children(table)
        meant = _descend(children, seeds, spared)
        complete = True
        if self.tags:
            tagged, complete = self._tagged(table, meant | spared, until)
            meant |= _descend(children, tagged, spared)
        if not self.include_roots:
            meant -= roots
        found = [table[pid] for pid in meant]
        return {(p.pid, p.started) for p in found if not (p.zombie or p.kernel)}, complete

    def _tagged(self, table: dict[int, Process], settled: set[int], until: float) -> tuple[set[int], bool]:
        """The tagged ones, the oldest read first: what descends from one that is tagged need not be read."""
        tagged: set[int] = set()
        for candidate in sorted(table.values(), key=_seniority):
            if candidate.pid in settled:
                continue
            if candidate.ppid in tagged:
                tagged.add(candidate.pid)
                continue
            if candidate.tagged is None and time.monotonic() >= until:
                return tagged, False
            if self._is_tagged(candidate):
                tagged.add(candidate.pid)
        return tagged, True

    def _is_tagged(self, candidate: Process) -> bool:
        if candidate.tagged is None:
            possible = candidate.started >= self.since and not (candidate.kernel or candidate.zombie)
            candidate.tagged = possible and has_tag(candidate.pid, self.tags)
        return candidate.tagged


def _seniority(found: Process) -> Target:
    return found.started, found.pid


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


def _open_pidfd(pid: int) -> int:
    """A pidfd of whatever has this number now, or -1 where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # an old Python or kernel, no descriptor left, or no such process
        return -1


def _give_back(fd: int) -> int:
    """Close a pidfd for the sake of its descriptor; where there was none, there is none to be had."""
    if fd < 0:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    os.close(fd)
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
        try:
            same = is_same(pid, started)
        except OSError:  # the pidfd was the last descriptor
            fd = _give_back(fd)
            same = is_same(pid, started)
        if not same:
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
            try:
                alive = is_alive(pid, started)
            except OSError:  # the pidfd was the last descriptor
                _give_back(fd)
                unwatched.append((pid, started))
                continue
            if alive:
                watched.add(fd)
                poller.register(fd, select.POLLIN)
            else:
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


def end(selection: Selection, grace: float, patience: float = KILL_SECONDS) -> set[Target]:
    """End all that are meant: SIGTERM, up to ``grace`` seconds to comply, then SIGKILL until none is left.

    What starts during the grace gets its SIGTERM too; without a grace nothing does. Before they are killed all are
    stopped, so that what forks faster than it can be found loses.

    Args:
        selection: what is meant.
        grace: seconds between SIGTERM and SIGKILL.
        patience: how many seconds SIGKILL is repeated.

    Returns:
        Those still alive: another user's, or not even SIGKILL ended them in time.
    """
    denied: set[Target] = set()
    asked: set[Target] = set()
    deadline = time.monotonic() + grace
    until = 0.0  # the first look reads no environments: what is found without does not wait for that
    while time.monotonic() < deadline:
        meant, complete = selection.scan({}, until)
        if complete and meant <= denied:
            return meant
        # SIGCONT after it, as a stopped process acts on SIGTERM only when it continues.
        denied |= _send_all(meant - asked, signal.SIGTERM, signal.SIGCONT)
        asked |= meant
        # Not for the whole grace: the next look is to find what was forked meanwhile.
        wait(meant - denied, min(deadline - time.monotonic(), grace / 4))
        until = deadline
    return _kill(selection, denied, asked, time.monotonic() + patience)


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


def _kill(selection: Selection, denied: set[Target], seen: set[Target], deadline: float) -> set[Target]:
    while True:
        meant = _freeze(selection, denied, deadline)
        seen |= meant
        denied |= _send_all(meant - denied, signal.SIGKILL)
        wait(meant - denied, min(1.0, max(0.0, deadline - time.monotonic())))
        left, complete = selection.scan({}, deadline)
        if complete and left <= denied:
            return left
        if time.monotonic() >= deadline:
            return {target for target in seen | left if is_alive(*target)}


def _freeze(selection: Selection, denied: set[Target], deadline: float) -> set[Target]:
    """Stop all that are meant, until a look finds no new one. Looks are fast: they read only what is new.

    Environments are read only once no new ones are found without that: it may take long while they still fork.
    """
    frozen: set[Target] = set()
    table: dict[int, Process] = {}
    reads = False
    while True:
        now = time.monotonic()
        meant, complete = selection.scan(table, min(deadline, now + _LOOK_SECONDS) if reads else 0.0)
        fresh = meant - frozen
        denied |= _send_all(fresh - denied, signal.SIGSTOP)
        frozen |= meant
        if (complete and not fresh) or now >= deadline:
            return frozen
        reads = not fresh
