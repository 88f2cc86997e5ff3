"""What a server keeps of its calls and workers, and what it may use."""

from __future__ import annotations

import _socket
import os
import sys

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AT_ONCE = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL

signals: Any = sys.modules["_signal"]
"""The module ``signal`` without what Python does around it, which is much for a call."""


def resident() -> int:
    """The memory of this process, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Limits:
    """What a server may use.

    Attributes:
        processes: the most calls at a time.
        idle: seconds without a call after which it ends.
        memory: bytes that it may hold once the tool is imported, and a worker after a call.
        calls: how many calls a worker serves before another takes its place (reuse only).
    """

    def __init__(self, options: dict[bytes, bytes]) -> None:
        self.processes = int(options.get(b"processes", b"0")) or max(4, 2 * (os.cpu_count() or 1))
        self.idle = float(options.get(b"idle", b"900"))
        self.memory = int(options.get(b"memory", b"1024")) << 20
        self.calls = int(options.get(b"calls", b"200"))


class Worker:
    """A process that serves calls one after another (reuse only).

    Attributes:
        pid: its number.
        control: the way to it.
        calls: how many it has served.
    """

    __slots__ = ("calls", "control", "pid")

    def __init__(self, pid: int, control: _socket.socket) -> None:
        self.pid = pid
        self.control = control
        self.calls = 0


class Running:
    """A call that has a process.

    Attributes:
        pid: its number, and that of its group.
        link: the connection to its client.
        ending: when it is killed, once its client has gone.
        report: where it tells which modules it imported, or -1.
        worker: the worker that serves it, if one does.
    """

    __slots__ = ("ending", "link", "pid", "report", "worker")

    def __init__(self, pid: int, link: _socket.socket, report: int, worker: Worker | None = None) -> None:
        self.worker = worker
        self.pid = pid
        self.link = link
        self.report = report
        self.ending: float | None = None


def nothing(*_: object) -> None:
    """Wakes the loop."""


def is_ours(pid: int) -> bool:
    """Whether a client was started by one of our calls: it may not wait for the end of the call that waits for it."""
    try:
        return os.getsid(pid) == os.getsid(0)
    except OSError:
        return False


def say(link: _socket.socket, text: bytes) -> None:
    """Tell a client, if it is there."""
    try:
        link.send(text, _AT_ONCE)
    except OSError:
        pass  # it has gone


def refuse(link: _socket.socket, code: bytes, why: bytes) -> None:
    """Tell a client that its call has not begun, and be done with it."""
    say(link, b"%s %s %s\n" % (wire.REFUSED, code, b" ".join(why.split())))
    link.close()


def signal_group(pid: int, number: int) -> None:
    """Send a signal to a group of processes, if there is one."""
    try:
        os.killpg(pid, number)
    except OSError:
        pass  # all of it has ended
