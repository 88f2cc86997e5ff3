"""Starts a server: imports the tool, learns what its key is made of, and listens under that key."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
import termios

from . import learn
from .calls import Limits, resident
from .key import ALWAYS, DENIED, Context, Shape, initial_environment, key
from .place import Unsafe, opened, shape_name, write
from .quick import loaded
from .reuse import may_be_reused
from .server import Server
from .streams import Unusual
from .tool import CannotServe, Tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_MEGABYTE = 1 << 20


def main(words: dict[bytes, bytes]) -> NoReturn:
    """Serve, until idle, stale or told to stop."""
    tell = int(words[b"tell"])
    os.set_inheritable(tell, False)
    master = int(words[b"master"])
    if master >= 0:
        os.set_inheritable(master, False)
    directory = opened(make=True)
    name = shape_name(words[b"tool"], words[b"interpreter"], words[b"options"])
    entries = initial_environment()
    started = Start(words, directory, name, entries)
    gc.disable()
    try:
        server = started.server(master)
    except (CannotServe, Unusual) as reason:
        shape = Shape()
        shape.cold = str(reason).encode("utf-8", "replace")
        write(directory, name, shape.encode())
        _tell(tell, b"cold %s\n" % shape.cold)
        started.tool.remove_temporary()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - a cold run meets it again, and tells it as it should be told
        shape = Shape()
        shape.cold = f"cannot be imported: {type(error).__name__} {error}".encode("utf-8", "replace")
        write(directory, name, shape.encode())
        _tell(tell, b"cold %s\n" % shape.cold)
        os._exit(1)
    _tell(tell, b"ready\n")
    server.run(loaded(words.get(b"native", b"")))
    started.tool.remove_temporary()
    os._exit(0)


def _tell(fd: int, text: bytes) -> None:
    try:
        os.write(fd, text)
    except OSError:
        pass  # who started us has gone
    os.close(fd)


class Start:
    """The way from the words of the command line to a server that listens.

    Attributes:
        tool: the tool.
    """

    def __init__(self, words: dict[bytes, bytes], directory: int, name: str, entries: list[bytes]) -> None:
        self._words = words
        self._directory = directory
        self._name = name
        self._entries = entries
        self._options = dict(word.partition(b"=")[::2] for word in words[b"options"].split(b" ") if word)
        self._cwd = _cwd()
        path, argv0 = os.fsdecode(words[b"tool"]), os.fsdecode(words[b"argv0"])
        self.tool = Tool(path, argv0, entries)

    def server(self, master: int) -> Server:
        """Import the tool, and listen.

        Raises:
            CannotServe: it cannot be served.
            Unusual: it cannot be served for its streams.
        """
        tool, level = self.tool, self._options.get(b"level", b"fork")
        tool.master = master
        tool.load()
        if level == b"preload":
            learn.import_known(tool, self._directory, self._name)
        elif level == b"primed":
            learn.prime(tool, self._prime_words())
        _see_that_nothing_was_said(tool)
        reuses = level == b"reuse" and may_be_reused(tool, [os.fsdecode(word) for word in self._prime_words()])
        limits = Limits(self._options)
        _see_that_it_fits(limits.memory)
        shape = self._shape()
        os.chdir("/")
        write(self._directory, self._name, shape.encode())
        tool.recorder.on_terminal = lambda: self._needs_terminal(shape)
        words = self._words
        counted = [words[b"tool"], words[b"interpreter"], words[b"options"], words[b"terminals"]]
        name = key(shape, counted, Context().text, self._cwd, self._entries)
        learns = learn.Learning(self._directory, self._name) if level == b"preload" else None
        return Server(tool, name, self._directory, shape, self._cwd, limits, learns, reuse=reuses)

    def _needs_terminal(self, shape: Shape) -> None:
        """In a call, which has no controlling terminal: the next one on a terminal is to have one, and runs cold."""
        shape.terminal = True
        try:
            directory = opened()
            write(directory, self._name, shape.encode())
            os.close(directory)
        except (OSError, Unsafe):
            pass  # it stays as it is

    def _prime_words(self) -> list[bytes]:
        return self._options.get(b"prime", b"--version").split(b"\x1f")

    def _shape(self) -> Shape:
        recorder, shape = self.tool.recorder, Shape()
        shape.cwd = recorder.cwd
        shape.whole = recorder.every
        shape.plus = recorder.names & DENIED
        if self._options.get(b"narrow") == b"1" and not recorder.every and not recorder.loads and _all_is_python():
            shape.only = {name for name in recorder.names if not name.startswith(ALWAYS)}
        return shape


def _cwd() -> bytes:
    try:
        return os.getcwdb()
    except OSError:
        return b""


def _all_is_python() -> bool:
    """Whether no library but the interpreter's own was loaded: what C code reads, nobody sees."""
    own = os.path.dirname(os.__file__)
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".so") and os.path.dirname(path) != own + "/lib-dynload":
            return False
    return True


def _see_that_nothing_was_said(tool: Tool) -> None:
    if any(size not in (-1, 0) for size in tool.has_spoken()):
        raise CannotServe("writes to its output when it is imported")
    if not os.isatty(0) and int.from_bytes(fcntl.ioctl(0, termios.FIONREAD, b"\0" * 4), sys.byteorder) != 1:
        raise CannotServe("reads its input when it is imported")


def _see_that_it_fits(most: int) -> None:
    if resident() > most:
        raise CannotServe(f"needs more than {most // _MEGABYTE} MB")
