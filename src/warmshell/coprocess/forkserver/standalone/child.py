"""The fork for one call: takes over what the caller is, says so, and waits for the word to begin."""

from __future__ import annotations

import fcntl
import os

from . import becoming, wire
from .calls import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .tool import Tool
    from .wire import Request

GUARD_FD = min(900, os.sysconf("SC_OPEN_MAX") - 8)  # where no program counts its descriptors, if it may be so high


class Begin:
    """All that a call needs.

    Attributes:
        request: what was asked for.
        fds: the working directory, and the caller's 0, 1 and 2.
        link: the connection to the client.
        guard: a pipe that nobody writes to; the server holds its other end.
        close: descriptors of the server.
        handlers: the tool's handlers of signals that the server handles itself.
        ended: called when the tool has ended.
    """

    def __init__(
        self,
        request: Request,
        fds: list[int],
        link: _socket.socket,
        guard: int,
        close: list[int],
        handlers: dict[int, Any],
        ended: Callable[[], None],
    ) -> None:
        self.request = request
        self.fds = fds
        self.link = link
        self.guard = guard
        self.close = close
        self.handlers = handlers
        self.ended = ended


def be(call: Begin, tool: Tool) -> NoReturn:
    """Become the call, in a fresh fork; never comes back."""
    take_over(call, tool)
    becoming.add_words(call.request.args)
    becoming.run(tool, call.ended)


def take_over(call: Begin, tool: Tool) -> None:
    """Become the call; comes back when the tool is to begin."""
    try:
        if _began(call, tool):
            return
    except BaseException as error:  # noqa: BLE001 - the tool has not begun: the client may run it cold
        refuse(call.link, error)
    os._exit(0)


def _began(call: Begin, tool: Tool) -> bool:
    _take_over(call, tool)
    call.link.sendall(b"%s %d\n" % (wire.STARTED, os.getpid()))
    said = call.link.recv(1)
    call.link.close()
    return said == wire.GO


def refuse(link: _socket.socket, error: BaseException) -> None:
    """Tell the client that its call has not begun, and why."""
    code = wire.STALE if isinstance(error, PermissionError) else wire.COLD
    text = " ".join((f"{type(error).__name__} {error}").split())
    try:
        link.sendall(b"%s %s %s\n" % (wire.REFUSED, code, text.encode("utf-8", "replace")))
    except OSError:
        pass  # it has gone


def _take_over(call: Begin, tool: Tool) -> None:
    if call.guard >= 0:
        os.setpgid(0, 0)
        _end_with_the_server(call.guard)
    request = call.request
    for fd in call.close:
        os.close(fd)
    os.fchdir(call.fds[0])
    for number, fd in enumerate(call.fds[1:]):
        os.dup2(fd, number)
    for fd in call.fds:
        os.close(fd)
    os.umask(request.umask)
    if request.nice != os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, request.nice)
    becoming.take_environment(tool, request.env)
    becoming.make_private(tool)
    take_signals(request.blocked, request.ignored, call.handlers)


def _end_with_the_server(guard: int) -> None:
    """Have the kernel kill this group of processes when the server's end of the pipe closes, whatever closed it."""
    mine = os.open(f"/proc/self/fd/{guard}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    high = fcntl.fcntl(mine, fcntl.F_DUPFD_CLOEXEC, GUARD_FD)
    os.close(mine)
    fcntl.fcntl(high, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(high, fcntl.F_SETSIG, signals.SIGKILL)
    fcntl.fcntl(high, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)


def take_signals(blocked: int, ignored: int, handlers: dict[int, Any]) -> None:
    """Have the masks of the caller, and the tool's handlers of signals that the server handles itself."""
    signals.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signals.signal(number, signals.SIG_DFL if handler is None else handler)
    if ignored:
        for number in _numbers(ignored):
            if signals.getsignal(number) in (signals.SIG_DFL, signals.default_int_handler):
                signals.signal(number, signals.SIG_IGN)
    signals.pthread_sigmask(signals.SIG_SETMASK, _numbers(blocked) if blocked else ())


def _numbers(mask: int) -> list[int]:
    """The signals of a mask."""
    return [number for number in range(1, signals.NSIG) if mask >> (number - 1) & 1]
