"""The session server's program: frames on standard input and output, and a guard that outlives it.

Two processes: the one that was started stays as the guard and the parent of whatever loses its own parent; its child is
the server. Either ends everything should the other be killed.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import sys

from warmshell.server.children import IGNORED, Children
from warmshell.server.loop import Loop
from warmshell.server.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SWITCH = 0.0005  # seconds after which a busy thread lets the loop have its turn
_LOG = "WARMSHELL_SERVER_LOG"


def main(options: dict[str, Any] | None = None) -> None:
    """Serve one session on descriptors 0 and 1.

    Args:
        options: of a detachable session: it goes on when these descriptors are closed.
    """
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if options is not None:
        from warmshell.server.detach import detach

        detach(options)
    source, sink = _protect()
    known, tell = os.pipe2(os.O_CLOEXEC)
    gc.collect()
    gc.freeze()  # what the two processes share stays shared
    pid = os.fork()
    if pid != 0:
        for fd in (source, sink, tell):
            os.close(fd)
        from warmshell.server.guard import guard

        guard(pid, known)
    os.close(known)
    code = 1
    try:
        serve(source, sink, tell)
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        os._exit(code)  # threads that wait for a file system do not matter any more


def _protect() -> tuple[int, int]:
    """Take the client's streams away from descriptors 0 and 1, where anything might write to them."""
    source = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    sink = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    log = os.environ.pop(_LOG, None)
    messages = nothing if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for target, fd in enumerate((nothing, nothing, messages)):
        os.dup2(fd, target)
    for fd in {nothing, messages}:
        if fd > 2:
            os.close(fd)
    return source, sink


def serve(source: int, sink: int, tell: int) -> None:
    """Serve one session until it ends.

    Args:
        source: where frames come from.
        sink: where frames go.
        tell: the guard is told through it, and sees its end.
    """
    sys.setswitchinterval(_SWITCH)
    os.set_blocking(source, False)
    os.set_blocking(sink, False)
    loop = Loop()
    children = Children(loop)
    session = Session(loop, children, source, sink, lambda token: _write(tell, b"tag " + token + b"\n"))
    loop.on_signal(signal.SIGTERM, session.end)
    loop.on_hang_up(tell, _on_guard_gone, loop, tell, session)
    session.open()
    loop.run()
    _write(tell, b"quit\n")


def _on_guard_gone(loop: Loop, tell: int, session: Session) -> None:
    loop.remove_writer(tell)
    session.end()


def _write(fd: int, data: bytes) -> None:
    try:  # noqa: SIM105 - contextlib is slow to import
        os.write(fd, data)
    except OSError:
        pass  # the guard is gone, which ends the session
