"""A process of its own in a session: its three streams in the client's hands, on pipes or on a terminal."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import termios

from warmshell.guardian.tree import COMMAND_VARIABLE, SESSION_VARIABLE
from warmshell.protocol import frames
from warmshell.server.stdin import Stdin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from warmshell.protocol.remote import RemoteCommand
    from warmshell.server.children import Child, Children
    from warmshell.server.site import Site

_READ = 120 * 1024  # for more, the C library asks the kernel for memory, and gives it back, at every read
_CAPACITY = 256 * 1024  # of its pipes: fewer turns of the loop for much data
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, which Python names from 3.10 on
_TERMINAL = 128 * 1024  # more than a terminal holds
_OUTPUTS = (frames.STDOUT, frames.STDERR)


class Process:
    """One process.

    Args:
        site: what all parts of the session share.
        number: its number, which the client chose.
        command: what to run.
        options: ``only``: no environment but the command's; ``pty``: rows and columns of its terminal.

    Attributes:
        is_gone: whether it has ended.
        busy: the command of a shell, which it is not.
    """

    busy = None

    def __init__(self, site: Site, number: int, command: RemoteCommand, options: Mapping[str, Any]) -> None:
        self.number = number
        self.is_gone = False
        self._site = site
        self._loop = site.loop
        self._command = command
        self._only = bool(options.get("only"))
        self._size = _size(options.get("pty"))
        self._tag = b"%s.%d" % (site.killer.spare(site.token + b".p"), number)
        self._child: Child | None = None
        self._code: int | None = None
        self._outputs: dict[int, int] = {}  # type of its frames -> descriptor
        self._credit = dict.fromkeys(_OUTPUTS, frames.INITIAL_CREDIT)
        self._sent = dict.fromkeys(_OUTPUTS, 0)
        self._reading: set[int] = set()
        self._report = -1
        self._said = b""
        self._started = self._forgotten = False
        self._told: Callable[[], None] | None = None
        self._stdin = Stdin(self._loop, "stream", command.data, self._grant)

    # -- starting ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it; what becomes of that is told to the client.

        Raises:
            OSError: no descriptors or processes are left.
        """
        opened: list[int] = []
        try:
            theirs, ours = _terminal(opened, self._size) if self._size is not None else _pipes(opened)
            self._report, report = _pipe(opened)
            self._site.children.check_room(max(opened))
            words, env = self._words(), self._environment()
            children, cwd, terminal = self._site.children, self._command.cwd, self._size is not None
            self._child = children.fork(
                lambda: _become(children, words, env, cwd, theirs, report, terminal=terminal), self._on_exit
            )
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        for fd in {*theirs, report}:
            os.close(fd)
        for index, fd in enumerate(ours[1:]):
            os.set_blocking(fd, False)
            self._outputs[_OUTPUTS[index]] = fd
        self._stdin.take(ours[0], self._on_refused, self._size is not None)
        self._loop.add_reader(self._report, self._on_report)

    def _words(self) -> Sequence[bytes]:
        script = self._command.script
        return self._command.argv if script is None else (b"sh", b"-c", script)

    def _environment(self) -> dict[bytes, bytes]:
        env = {} if self._only else dict(self._site.env)
        env.update(self._command.env or {})
        env[SESSION_VARIABLE] = self._site.token
        env[COMMAND_VARIABLE] = self._tag + b".0"
        return env

    def _on_report(self) -> None:
        """What keeps it from starting; nothing, if it has started."""
        data = os.read(self._report, 100)
        self._said += data
        if data:
            return
        self._loop.remove_reader(self._report)
        os.close(self._report)
        self._report = -1
        if self._said:
            word, _, number = self._said.partition(b" ")
            self._end({word.decode(): int(number)})
            return
        self._started = True
        self._send(frames.STARTED)
        for kind in _OUTPUTS:
            if kind in self._outputs:
                self._listen(kind)
            else:  # a terminal has one stream
                self._send(kind)
        if self._code is not None:
            self._tell_status()

    # -- frames for the client --------------------------------------------------------------------------------------

    def _send(self, kind: int, data: bytes = b"") -> None:
        if not self._forgotten:
            self._site.put(self.number, frames.pack_numbered(kind, self.number, 0, data))

    def _grant(self, size: int) -> None:
        self._send(frames.CREDIT, frames.NUMBER.pack(size))

    def _on_refused(self) -> None:
        """It reads no more."""
        self._send(frames.END_OF_INPUT)

    def _tell_status(self) -> None:
        """How it ended, and how much it had written by then: what of that is in the pipes is still to come."""
        code = 0 if self._code is None else self._code
        if self._size is not None:
            self._drain_terminal()
        written = [self._sent[kind] + _waiting(self._outputs.get(kind, -1)) for kind in _OUTPUTS]
        outcome = {"status": code if code >= 0 else 128 - code, "written": written}
        self._send(frames.RESULT, json.dumps(outcome).encode())

    def _end(self, outcome: dict[str, Any]) -> None:
        """It has not started, or never will."""
        self._send(frames.RESULT, json.dumps(outcome).encode())
        self.forget()

    # -- output -----------------------------------------------------------------------------------------------------

    def _listen(self, kind: int) -> None:
        """Read a stream, or do not, as it may be sent."""
        fd = self._outputs.get(kind)
        if fd is None:
            return
        has_room = self._site.room(self.number) > 0
        if not has_room:
            self._site.wait_for_room(self)
        reads = has_room and self._credit[kind] > 0
        if reads and kind not in self._reading:
            self._reading.add(kind)
            self._loop.add_reader(fd, self._on_output, kind)
        elif not reads and kind in self._reading:
            self._reading.discard(kind)
            self._loop.remove_reader(fd)

    def _on_output(self, kind: int) -> None:
        if self._pass_on(kind, min(_READ, self._credit[kind], max(1, self._site.room(self.number)))):
            self._listen(kind)

    def _pass_on(self, kind: int, most: int) -> int:
        """Send what can be read now; how many bytes that was."""
        try:
            data = os.read(self._outputs[kind], most)
        except BlockingIOError:
            return 0
        except OSError:  # the end of a terminal's other side
            data = b""
        self._credit[kind] -= len(data)
        self._sent[kind] += len(data)
        self._send(kind, data)
        if not data:
            self._close_output(kind)
        return len(data)

    def _drain_terminal(self) -> None:
        """Send what is left in a terminal, allowed or not: of how much that is, the kernel tells a part only."""
        left = _TERMINAL
        while frames.STDOUT in self._outputs and left > 0:
            size = self._pass_on(frames.STDOUT, _READ)
            if not size:
                return
            left -= size

    def _close_output(self, kind: int) -> None:
        fd = self._outputs.pop(kind)
        self._reading.discard(kind)
        self._loop.remove_reader(fd)
        os.close(fd)

    def on_room(self) -> None:
        """There may be room for output again."""
        for kind in list(self._outputs):
            self._listen(kind)

    # -- the client's frames ----------------------------------------------------------------------------------------

    def on_input(self, data: bytes | None) -> None:
        """Bytes for its standard input, or their end (``None``).

        Raises:
            ValueError: more than was granted.
        """
        if data is None:
            self._stdin.end()
        elif not self._forgotten:
            self._stdin.feed(data)

    def on_credit(self, index: int, size: int) -> None:
        """The client takes so many bytes more of standard output (0) or standard error (1)."""
        if index in (0, 1):
            self._credit[_OUTPUTS[index]] += size
            if self._started:
                self._listen(_OUTPUTS[index])

    # -- ending -----------------------------------------------------------------------------------------------------

    def _on_exit(self, code: int) -> None:
        self._code = code
        self.is_gone = True
        if self._started:
            self._tell_status()

    def kill(self, grace: float, told: Callable[[], None]) -> None:
        """End it and all its descendants, also those that it has left behind.

        Args:
            grace: seconds between TERM and KILL.
            told: called when that is done.
        """
        if self._child is None:
            told()
        else:
            self._site.killer.end_family(self._child, self._tag, grace, told)

    def let_go(self, grace: float, told: Callable[[], None], verdict: dict[str, Any] | None = None) -> None:
        """End it with its session."""
        del verdict
        self.kill(grace, told)

    def forget(self) -> None:
        """The client wants nothing more of it. What it has left in the background goes on, with closed streams."""
        self._forgotten = True
        for kind in list(self._outputs):
            self._close_output(kind)
        self._stdin.close()
        if self._report >= 0:
            self._loop.remove_reader(self._report)
            os.close(self._report)
            self._report = -1


def _size(given: object) -> tuple[int, int] | None:
    """The rows and columns of a terminal.

    Raises:
        ValueError: they are no such numbers.
    """
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 2 or not all(type(n) is int and 0 <= n < 65536 for n in given):
        raise ValueError("a terminal has rows and columns")
    return given[0], given[1]


def _waiting(fd: int) -> int:
    """How many bytes can be read now."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])
    except (OSError, ValueError):  # it is closed, or cannot tell
        return 0


def _pipe(opened: list[int], capacity: int = 0) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    opened.extend(ends)
    if capacity:
        try:  # noqa: SIM105 - contextlib is slow to import
            fcntl.fcntl(ends[0], _SET_PIPE_SIZE, capacity)
        except OSError:
            pass  # this account has enough of the kernel's memory
    return ends


def _pipes(opened: list[int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The process's ends and the server's: of standard input, output and error."""
    stdin, out, err = _pipe(opened, _CAPACITY), _pipe(opened, _CAPACITY), _pipe(opened)
    return (stdin[0], out[1], err[1]), (stdin[1], out[0], err[0])


def _terminal(opened: list[int], size: tuple[int, int]) -> tuple[tuple[int, int, int], tuple[int, int]]:
    master, slave = os.openpty()
    opened.extend((master, slave))
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    keyboard = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)
    opened.append(keyboard)
    return (slave, slave, slave), (keyboard, master)


def _become(
    children: Children,
    words: Sequence[bytes],
    env: Mapping[bytes, bytes],
    cwd: bytes | None,
    fds: tuple[int, int, int],
    report: int,
    *,
    terminal: bool,
) -> None:
    """Become the program, in the process that was forked for it, or report why not."""
    children.leave_server()
    if terminal:
        fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
    what = b"no_directory"
    try:
        if cwd is not None:
            os.chdir(cwd)
        what = b"no_program"
        _execute(words, env)
    except OSError as error:
        if what == b"no_program" and error.errno not in (errno.ENOENT, errno.ENOTDIR):
            what = b"not_started"
        os.write(report, b"%s %d" % (what, error.errno or 0))


def _execute(words: Sequence[bytes], env: Mapping[bytes, bytes]) -> None:
    """Become a program, looked for in the ``PATH`` that it gets.

    Raises:
        OSError: there is none that can be executed.
    """
    path = env.get(b"PATH", os.fsencode(os.defpath))
    places = [b""] if b"/" in words[0] else [entry or b"." for entry in path.split(b":")]
    worst = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for place in places:
        name = os.path.join(place, words[0])
        try:
            os.execve(name, list(words), dict(env))
        except OSError as error:
            if error.errno == errno.ENOEXEC:  # a script without "#!", which is one for sh
                os.execve("/bin/sh", [b"sh", name, *words[1:]], dict(env))
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                worst = error
    raise worst
