"""The guardian's program: it watches one client and ends what that client started once it is gone.

It runs without site packages and must stay small: only what ``tree`` imports is imported.

Standard input holds lines: ``tag TOKEN`` (the client's token), ``+sid N`` and ``-sid N`` (the sessions of its
shells), ``+dir PATH`` and ``-dir PATH`` (its private directories), ``quit`` (the client closes in good order). End of
file means that the client is gone; so does its pidfd, as a fork of the client may hold the pipe open. Before it exits
the guardian writes what it could not end to standard output, as a line of JSON: ``{"survivors": [[PID, NAME], …]}``.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import time

from warmshell.guardian import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""
_HURRIED_GRACE = 0.2
_TOKEN_LENGTH = 32
_LONGEST_LINE = 4096
_PARENT_SECONDS = 0.5  # between looks at the parent, where there is no pidfd
_SECOND_LOOK = 0.1
_PATIENCE_ALONE = 30.0  # seconds of SIGKILL when nobody waits for the guardian any more


class Guardian:
    """What the guardian knows of its client.

    Args:
        client: the pid of the client, which started this process.
        since: the client's start time; whatever is older is not the client's.
    """

    def __init__(self, client: int, since: int) -> None:
        self.client = client
        self.since = since
        self.tokens: set[bytes] = set()
        self.sessions: dict[int, int] = {}  # with the start time of each one's leader
        self.directories: set[bytes] = set()
        self.grace = GRACE
        self._partial = b""

    def hurry(self, _number: int, _frame: FrameType | None) -> None:
        """SIGTERM: somebody ends a whole tree that this process belongs to and may soon kill it too."""
        self.grace = _HURRIED_GRACE

    def watch(self) -> bool:
        """Follow the client until it quits or is gone; returns whether it quit."""
        os.set_blocking(0, False)
        pidfd = self._open_client()
        poller = select.poll()
        poller.register(0, select.POLLIN)
        if pidfd is not None:
            poller.register(pidfd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll(None if pidfd is not None else _PARENT_SECONDS * 1000)]
            told = self._read_lines()
            if told is not None:
                return told
            if pidfd in ready or os.getppid() != self.client:
                return False

    def _open_client(self) -> int | None:
        """The client's pidfd, if there is one to be had; checked after opening to be the client's."""
        try:
            pidfd = os.pidfd_open(self.client)
        except (AttributeError, OSError):
            return None
        return pidfd if os.getppid() == self.client else None

    def _read_lines(self) -> bool | None:
        """Take in what the client wrote; returns True when it quit, False at end of file, else None."""
        while True:
            try:
                data = os.read(0, 65536)
            except BlockingIOError:
                return None
            except OSError:
                return False
            if not data:
                return False
            *lines, self._partial = (self._partial + data).split(b"\n")
            self._partial = self._partial[:_LONGEST_LINE]
            for line in lines:
                if line == b"quit":
                    return True
                self._take(line)

    def _take(self, line: bytes) -> None:
        word, _, value = line.partition(b" ")
        if word == b"tag" and len(value) == _TOKEN_LENGTH and value.isalnum():
            self.tokens.add(value)
        elif word == b"+dir" and value.startswith(b"/"):
            self.directories.add(value)
        elif word == b"-dir":
            self.directories.discard(value)
        elif word in {b"+sid", b"-sid"} and value.isdigit():
            sid = int(value)
            if word == b"-sid":
                self.sessions.pop(sid, None)
            elif sid > 1 and sid not in self._spared_sessions():
                self.sessions[sid] = tree.start_time(sid) or 0

    def _spared_sessions(self) -> set[int]:
        """The sessions of the guardian and of the client, which no mistake may end."""
        try:
            return {os.getsid(0), os.getsid(self.client)}
        except OSError:
            return {os.getsid(0)}

    def sweep(self, patience: float) -> set[tuple[int, int]]:
        """End everything the client started; returns what could not be ended."""
        tags = [name + b"=" + token for name in (tree.SESSION_VARIABLE, tree.COMMAND_VARIABLE) for token in self.tokens]
        sids = [sid for sid, started in self.sessions.items() if _is_same_session(sid, started)]
        selection = tree.Selection(tags=tags, sids=sids, exclude=[self.client], since=self.since)
        return tree.end(selection, self.grace, patience)


def remove(directory: bytes) -> None:
    """Remove a directory of the client's with the files in it; nothing that is not its own, nothing below."""
    try:
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except OSError:
        pass  # gone already, or a directory is in it, which no client of ours makes


def _is_same_session(sid: int, started: int) -> bool:
    """Whether the number still is that session's: its leader is the same, or gone (members keep it taken)."""
    now = tree.start_time(sid)
    return now is None or started in {0, now}


def report(survivors: set[tuple[int, int]]) -> None:
    """Write the survivors to standard output, if anybody is left to read it."""
    import json

    named = [[pid, tree.name(pid)] for pid, _ in sorted(survivors)]
    try:  # noqa: SIM105 - contextlib is slow to import
        os.write(1, json.dumps({"survivors": named}).encode("ascii") + b"\n")
    except OSError:
        pass  # the client is gone


def main() -> None:
    """Run the guardian of the client whose pid and start time are the last two arguments."""
    guardian = Guardian(int(sys.argv[-2]), int(sys.argv[-1]))
    for number in (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTSTP,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, guardian.hurry)
    quits = guardian.watch()
    survivors = guardian.sweep(tree.KILL_SECONDS if quits else _PATIENCE_ALONE)
    if not quits:
        # The client may have been killed while it was starting a process, which becomes visible only now.
        time.sleep(_SECOND_LOOK)
        survivors = guardian.sweep(_PATIENCE_ALONE)
    for directory in guardian.directories:
        remove(directory)
    if survivors:
        report(survivors)
