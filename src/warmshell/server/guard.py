"""The guard: the server's parent, which ends what the server has left should the server be killed."""

from __future__ import annotations

import os
import signal
import time

from warmshell.server.system import become_subreaper, children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

GRACE = 1.0
"""Seconds between TERM and KILL."""

_ROUNDS = 5


def guard(server: int, known: int) -> NoReturn:
    """Wait for the server's end, end what it has left, and exit as it did.

    Args:
        server: its pid.
        known: a pipe that it writes its token to, and holds as long as it lives.
    """
    become_subreaper()
    os.dup2(0, 2)  # a log belongs to the server
    signal.signal(signal.SIGTERM, lambda *_: os.kill(server, signal.SIGTERM))
    data = b""
    while True:
        piece = os.read(known, 4096)
        if not piece:
            break
        data += piece
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its number may soon be another's
    _, status = os.waitpid(server, 0)
    lines = data.split(b"\n")
    if b"quit" not in lines:
        _sweep([line[4:] for line in lines if line.startswith(b"tag ")])
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _sweep(tokens: list[bytes]) -> None:
    from warmshell.guardian import tree
    from warmshell.server.kill import Family

    tags = [name + b"=" + token for name in (tree.COMMAND_VARIABLE, tree.SESSION_VARIABLE) for token in tokens]
    for _ in range(_ROUNDS):
        roots = [(pid, tree.start_time(pid) or 0) for pid in children() or ()]
        tree.end(Family(roots, tags, include_roots=True), GRACE)
        if not _reap():
            return
        time.sleep(0.05)  # a shell may have been in the middle of starting


def _reap() -> bool:
    """Reap whoever has ended; whether any child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
