"""Workers that serve one call after another in the same interpreter: for tools that leave nothing behind.

A tool is tried first: the same words several times in a throw-away child, which must come to the same each time. A
worker that is not as it was after a call ends with that call's status, and another takes its place.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import socket
import struct
import sys

from . import becoming, ending, wire
from .calls import resident
from .child import Begin, take_over
from .learn import State, in_a_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, NoReturn

    from .tool import Tool

_LENGTH = struct.Struct("<I")
_TRIALS = 3


def hand_over(control: _socket.socket, body: bytes, fds: list[int]) -> None:
    """Give a worker a call: the fields of the request; the caller's descriptors, and its connection last."""
    data = _LENGTH.pack(len(body)) + body
    packed = struct.pack(f"{len(fds)}i", *fds)
    sent = control.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)])
    control.sendall(data[sent:])


def _received(control: _socket.socket) -> tuple[bytes, list[int]]:
    count = wire.DESCRIPTORS + 1
    data, extra, _, _ = control.recvmsg(65536, socket.CMSG_SPACE(4 * count))
    if not data:
        os._exit(0)  # the server has no work any more
    fds = [fd for _, _, payload in extra for fd in memoryview(payload).cast("i").tolist()]
    while len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]:
        data += control.recv(65536)
    return data[_LENGTH.size :], fds


def work(
    control: _socket.socket, tool: Tool, guard: int, close: list[int], handlers: dict[int, Any], memory: int
) -> NoReturn:
    """Serve calls until one leaves something behind, more ``memory`` is held, or the server closes its end."""
    first = True
    while True:
        body, fds = _received(control)
        link = socket.socket(fileno=fds.pop())
        call = Begin(wire.decoded(body), fds, link, guard if first else -1, close if first else [], handlers, _nothing)
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        tool.own([control.fileno()])
        state = State(tool)
        take_over(call, tool)
        first = False
        outcome = run_once(tool, [os.fsdecode(word) for word in call.request.args])
        clean = _is_clean(outcome) and os.getpriority(os.PRIO_PROCESS, 0) == nice
        if not clean or resident() > memory:
            ending.finish(outcome)
        _tidy(tool)
        state.put_back()
        control.sendall(b"%d\n" % outcome.status)


def _nothing() -> None:
    """Nobody learns from calls that share an interpreter."""


def run_once(tool: Tool, args: list[str]) -> ending.Outcome:
    """The tool, once, with its exit handlers."""
    sys.argv[:] = [tool.argv0, *args]
    becoming.start_clocks(tool)
    tool.streams.renew()
    space = tool.script.fresh_main()
    if tool.collects:
        gc.enable()

    def program() -> None:
        exec(tool.script.code, space)  # noqa: S102 - the tool

    outcomes: list[ending.Outcome] = []
    tool.during(lambda: outcomes.append(ending.run(program, 2)))
    return outcomes[0]


def _is_clean(outcome: ending.Outcome) -> bool:
    """Whether the process can go on: no threads, no children, no interrupt."""
    if outcome.interrupted or len(os.listdir("/proc/self/task")) > 1:
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _tidy(tool: Tool) -> None:
    """What the end of a process would do for what the call has made."""
    known = len(tool.atexit) - tool.imported_handlers
    for function, args, words in reversed(tool.atexit[len(tool.atexit) - known :]):
        ending.guarded(lambda f=function, a=args, w=words: f(*a, **w))  # type: ignore[misc]
        atexit.unregister(function)
    del tool.atexit[tool.imported_handlers :]
    for stream in (sys.stdout, sys.stderr):
        ending.guarded(stream.flush)
    sys.modules["__main__"].__dict__.clear()
    gc.collect()


def may_be_reused(tool: Tool, words: list[str]) -> bool:
    """Whether a throw-away child comes to the same each time."""
    return in_a_child(tool, lambda: ["fine"] if _tried(tool, words) else []) == ["fine"]


def _tried(tool: Tool, words: list[str]) -> bool:
    found = []
    leave = os._exit
    os._exit = _refuse_to_exit  # type: ignore[assignment]
    for _ in range(_TRIALS):
        outputs = [os.memfd_create(name) for name in ("out", "err")]
        state = State(tool)
        for fd, memory in enumerate(outputs, 1):
            os.dup2(memory, fd)
        outcome = run_once(tool, words)
        if not _is_clean(outcome):
            return False
        _tidy(tool)
        state.put_back()
        found.append((outcome.status, *(os.pread(memory, 1 << 20, 0) for memory in outputs)))
    os._exit = leave
    return found[1:] == found[:-1]


def _refuse_to_exit(_: int) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # never reached
