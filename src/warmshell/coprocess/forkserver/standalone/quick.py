"""Calls that go well, served by the module in C (``warmfork.c``): the server's part and the call's.

There is such a module only where there was a compiler. It comes back for everything that it does not know, and the
server goes on from there.
"""

from __future__ import annotations

import _imp
import _socket
import gc
import os
import stat
import struct
import sys

from . import becoming, child
from .calls import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .tool import Tool

NOTHING, INCOMING, RUNNING, CHILD, TOLD, STREAMS = range(6)
"""What the module has come back for; ``warmfork.c`` has the same numbers."""
_CAN_PREPARE = sys.version_info < (3, 14)  # from then on streams remember more of their files


def loaded(path: bytes) -> Any:
    """The module, if it is there, nobody else could have made it, and this interpreter is of the kind that it is for.

    It is compiled without Python's headers, and relies on the layout of objects of ordinary builds.
    """
    unusual = hasattr(sys, "gettotalrefcount") or "t" in getattr(sys, "abiflags", "") or sys.maxsize < 1 << 32
    if not path or unusual or sys.implementation.name != "cpython":
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            return None
        spec: Any = type("spec", (), {"name": "_warmshell.native", "origin": f"/proc/self/fd/{fd}"})
        return _imp.create_dynamic(spec)
    except ImportError:
        return None
    finally:
        os.close(fd)


class Quick:
    """The module, with what it has to know of one server.

    Args:
        native: the module.
        tool: the tool, prepared.
        facts: the words and numbers of ``set_up``, but for the lists of words.
        handlers: the tool's handlers of signals that the server handles itself: the module does so from now on.
    """

    def __init__(self, native: Any, tool: Tool, facts: tuple[object, ...], handlers: dict[int, Any]) -> None:
        self._native = native
        self._tool = tool
        self._version = -1
        self._is_private = True
        signals.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signals.signal(number, signals.SIG_DFL if handler is None else handler)
        native.set_up(*facts, *(getattr(sys, name) for name in ("argv", "orig_argv") if hasattr(sys, name)))

    def serve(self, patience: float) -> tuple[Any, ...]:
        """Serve, for at most so many milliseconds without a call; what is left to do. Calls never come back."""
        recorder = self._tool.recorder
        if recorder.version != self._version:
            self._version = recorder.version
            self._native.watch(recorder.table())
            self._is_private = not becoming.shares(self._tool)
            self._native.streams(-1 if _CAN_PREPARE else -2)
        left: tuple[Any, ...] = self._native.serve(int(patience))
        if left[0] == CHILD:
            self._be(*left[1:])
        elif left[0] == STREAMS:
            self._tool.streams.prepare(left[1])
            gc.freeze()
            self._native.streams(left[1])
        return left

    def state(self) -> tuple[int, float]:
        """How many calls it has served, and when the last one was."""
        served, used = self._native.state()
        return served, used

    def _be(self, link: int, same: int, variables: bytes, blocked: int, ignored: int, fresh: int) -> NoReturn:
        tool = self._tool
        try:
            if not same:
                becoming.take_environment(tool, variables.split(b"\0") if variables else ())
            if not self._is_private:
                becoming.make_private(tool)
            if ignored:
                child.take_signals(blocked, ignored, {})
            begins = self._native.begin(link)
        except BaseException as error:  # noqa: BLE001 - the tool has not begun: the client may run it cold
            child.refuse(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, link), error)
            begins = False
        if not begins:
            os._exit(0)
        becoming.run(tool, _nothing, fresh=bool(fresh))


def descriptors(fds: list[int]) -> bytes:
    """Descriptors as the module reads them."""
    return struct.pack(f"{len(fds)}i", *fds)


def _nothing() -> None:
    """Nobody learns from calls that are served here."""
