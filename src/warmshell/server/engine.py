"""One warm shell with pipes of its own for every command (see :mod:`warmshell.protocol.pipes`), on any event loop.

The loop is anything with ``add_reader``, ``remove_reader``, ``add_writer``, ``remove_writer`` and ``call_soon``:
asyncio's where the client runs shells on its own machine, the session server's at the far end. What comes of a command
is told to an owner.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios

from warmshell.protocol import pipes
from warmshell.protocol.quoting import quote
from warmshell.protocol.request import TAG, Frame, Report, enter, parse_report
from warmshell.server.output_pipe import LITTLE, OutputPipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Loop(Protocol):
        """What an engine needs of an event loop."""

        def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> object: ...
        def remove_reader(self, fd: int) -> object: ...
        def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> object: ...
        def remove_writer(self, fd: int) -> object: ...
        def call_soon(self, callback: Callable[..., object], *args: Any) -> object: ...

    class Owner(Protocol):
        """Who is told what happens in the shell."""

        def on_ready(self, ready: bool) -> None:
            """The shell has answered its greeting, or will never."""

        def on_report(self, report: Report) -> None:
            """A command starts or has ended.

            Raises:
                ValueError: it is none that the owner knows of.
            """

        def on_output(self, index: int, data: bytes) -> None:
            """A running command wrote to standard output (0) or standard error (1)."""

        def on_gone(self) -> None:
            """The status pipe has ended: the shell has, or became another program."""

        def on_broken(self, why: str) -> None:
            """The framing is not certain any more: the shell must be ended."""


_READ = 64 * 1024
_BURST = 1024 * 1024  # read from one pipe before other lanes get their turn
_GET_PIPE_SIZE = 1032  # F_GETPIPE_SZ, which Python names from 3.10 on
_WORDS = 1000  # bytes kept of what a shell says of its own accord
_BUILTIN_FRAME = pipes.pipe_frame(b"", pipes.BUILTIN, b"")


def _beyond(fd: int, size: int) -> bytes:
    """What else an ended command can have left in a pipe that it made larger, after so many bytes of it."""
    data = b""
    try:
        room = fcntl.fcntl(fd, _GET_PIPE_SIZE) - size
        while room > 0:
            piece = os.read(fd, room)
            if not piece:
                break
            data += piece
            room -= len(piece)
    except OSError:  # no more is there
        pass
    return data


class Engine:
    """The descriptors of one warm shell and what is known of them.

    Args:
        loop: the event loop.
        owner: who is told.

    Attributes:
        room: how many bytes of a running command's output the owner takes; less than 1: none for now.
        words: the end of what the shell said of its own accord.
    """

    def __init__(self, loop: Loop, owner: Owner) -> None:
        self._loop = loop
        self._owner = owner
        self.room: float = float("inf")
        self.words = b""
        self._pipes: list[OutputPipe] = []
        self._builtin: OutputPipe | None = None  # where builtins write
        self._is_builtin = False  # the last command that was begun
        self._stdin = self._status = self._noise = self._greeting_fd = -1
        self._unsent = b""
        self._last_size = 0
        self._lines = b""
        self._edges: select.epoll | None = None
        self._watching = False

    # -- starting ---------------------------------------------------------------------------------------------------

    def open(self) -> tuple[int, int]:
        """Make all pipes.

        Returns:
            The child's standard input, and its standard output and error, which the caller closes.

        Raises:
            OSError: no descriptors are left.
        """
        self._pipes.append(OutputPipe())
        self._pipes.append(OutputPipe())
        self._builtin = OutputPipe()
        self._status, self._greeting_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._noise, noise = os.pipe2(os.O_CLOEXEC)
        try:
            stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(noise)
            raise
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._noise, False)
        return stdin, noise

    def greet(self, base: bytes, blank: bool) -> None:
        """Have the shell open its status pipe and answer; the child runs already.

        Args:
            base: the shell's directory.
            blank: whether its environment is to stay empty.
        """
        self._loop.add_reader(self._noise, self._on_noise)
        self._loop.add_reader(self._status, self._on_status)
        clean = b"PWD OLDPWD SHLVL" if blank else b"OLDPWD"
        init = pipes.init(os.getpid(), self._greeting_fd, -1 if self._builtin is None else self._builtin.fd)
        self._send(b"%sexport %s;%s 2>/dev/null;unset %s;\\echo 0 0 >&9\n" % (init, TAG, enter(base), clean))

    def greeted(self) -> None:
        """The shell has the status pipe open: from now on its end means the shell's end."""
        fd, self._greeting_fd = self._greeting_fd, -1
        if fd >= 0:
            os.close(fd)

    # -- commands ---------------------------------------------------------------------------------------------------

    def frame(self, stdin: bytes, stdout: bytes | None, stderr: bytes | None) -> Frame:
        """The frame for the next command.

        Args:
            stdin: the redirection of its standard input.
            stdout: a file instead of the pipe for its standard output.
            stderr: a file instead of the pipe for its standard error.
        """
        self._is_builtin = False
        out = b">" + self._pipes[0].path if stdout is None else b">|" + quote(stdout)
        err = b"2>" + self._pipes[1].path if stderr is None else b"2>|" + quote(stderr)
        return pipes.pipe_frame(stdin, out, err, builtins=self._builtin is not None)

    def builtin_frame(self) -> Frame | None:
        """The frame for the next command, where that is a builtin; ``None`` in shells with a state."""
        self._is_builtin = self._builtin is not None
        return _BUILTIN_FRAME if self._is_builtin else None

    def keep_state(self) -> bytes:
        """What comes before a command that changes the shell's state."""
        builtin, self._builtin = self._builtin, None
        if builtin is None:
            return b""
        builtin.close()
        return pipes.NO_BUILTINS

    def submit(self, request: bytes) -> None:
        """Write one request."""
        self._last_size = len(request)
        self._send(request)

    def _send(self, data: bytes) -> None:
        """Write without waiting; what the pipe does not take is written when the shell has read."""
        try:
            written = os.write(self._stdin, data)
        except BlockingIOError:
            written = 0
        except BrokenPipeError:
            self._unsent = data  # never to be sent: the end of the status pipe will say that the shell is gone
            return
        self._unsent = data[written:]
        if self._unsent:
            self._loop.add_writer(self._stdin, self._on_writable)

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._stdin)
        self._send(self._unsent)

    def has_not_read(self) -> bool:
        """Whether the shell certainly did not get the last request: it can then have run nothing of it."""
        if self._unsent:
            return True
        try:
            unread = struct.unpack("i", fcntl.ioctl(self._stdin, termios.FIONREAD, b"\0\0\0\0"))[0]
        except OSError:
            return False
        return bool(unread >= self._last_size > 0)

    def has_begun(self) -> bool:
        """Whether the shell certainly carries out the last request: it has opened a pipe of the command's."""
        if self._is_builtin:  # its pipe is always open; what the shell has read of its input, it does
            return not self.has_not_read()
        poll = select.poll()
        for pipe in self._pipes:
            poll.register(pipe.fd, 0)
        try:
            return sum(bool(events & select.POLLHUP) for _, events in poll.poll(0)) < len(self._pipes)
        except OSError:
            return False

    # -- reports ----------------------------------------------------------------------------------------------------

    def _on_status(self) -> None:
        try:
            data = os.read(self._status, LITTLE)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._status)
            self._owner.on_gone()
            return
        lines = (self._lines + data).split(b"\n")
        self._lines = lines.pop()
        for line in lines:
            try:
                report = parse_report(line)
                if report.seq == 0:
                    self._owner.on_ready(True)
                else:
                    self._owner.on_report(report)
            except ValueError as error:
                self._owner.on_broken(f"reported what no command of its own ended with: {error}")
                return

    def rest(self, outputs: int = 2) -> tuple[bytes, bytes]:
        """What a command that has ended left in its pipes; a pipe that somebody still holds is given up.

        Args:
            outputs: how many of the two it can have written to.
        """
        self.unwatch()
        if self._is_builtin:
            return self._builtin.drain(alone=True)[0] if outputs and self._builtin is not None else b"", b""
        left = [b"", b""]
        for index, pipe in enumerate(self._pipes):
            data, held = pipe.drain()
            left[index] = data + _beyond(pipe.fd, len(data)) if held else data
            if held:
                self._renew(index)
        return left[0], left[1]

    def _renew(self, index: int) -> None:
        """Give up a pipe that a background child holds, so that nothing of it reaches a later result."""
        self._pipes[index].close()  # which takes it out of the edges too
        try:
            self._pipes[index] = OutputPipe()
        except OSError as error:
            self._owner.on_broken(f"cannot have another pipe: {error}")
            return
        if self._edges is not None:
            self._edges.register(self._pipes[index].fd, select.EPOLLIN | select.EPOLLET)

    def _on_noise(self) -> None:
        """What the shell says of its own accord: its end is kept for error messages."""
        try:
            data = os.read(self._noise, _READ)
        except BlockingIOError:
            return
        if not data:  # nobody has it open any more: at the start, a sign that the shell has ended
            self._loop.remove_reader(self._noise)
            self._owner.on_ready(False)
        self.words = (self.words + data)[-_WORDS:]

    def last_words(self) -> bytes:
        """The end of what the shell said of its own accord until now, read or not."""
        if self._noise >= 0:
            self._on_noise()
        return self.words

    # -- output of long commands ------------------------------------------------------------------------------------

    def watch(self) -> bool:
        """Begin to read the command's output as it comes, until it has ended.

        Returns:
            False if no descriptor is left for that: what is there was read, and it must be called again.
        """
        if self._watching or self._status < 0:
            return True
        self._watching = True
        try:
            edges = self._edges or self._open_edges()
            self._loop.add_reader(edges.fileno(), self._on_edge)
        except OSError:
            self.pump()
            self._watching = False
            return False
        return True

    def _open_edges(self) -> select.epoll:
        # Edges, not levels: a pipe without a writer at the moment is at its end again and again.
        edges = self._edges = select.epoll()
        for pipe in (*self._pipes, self._builtin):
            if pipe is not None:
                edges.register(pipe.fd, select.EPOLLIN | select.EPOLLET)
        return edges

    def unwatch(self) -> None:
        """Read no output as it comes any more."""
        if self._watching and self._edges is not None:
            self._watching = False
            self._loop.remove_reader(self._edges.fileno())

    def _on_edge(self) -> None:
        if self._edges is not None:
            self._edges.poll(0)
            self.pump()

    def pump(self) -> None:
        """Read what the running command has written, as far as there is room."""
        more = False
        read = [self._builtin] if self._is_builtin and self._builtin is not None else self._pipes
        for index, pipe in enumerate(read):
            if not self._watching or self.room < 1:
                return
            pieces, rest = pipe.some(int(min(self.room, _BURST)))
            more = more or rest
            for piece in pieces:
                self._owner.on_output(index, piece)
        if more and self.room >= 1:
            self._loop.call_soon(self.pump)

    # -- ending -----------------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """The end of the shell's input: an idle shell ends by itself."""
        self._loop.remove_reader(self._status)
        self._close_stdin()

    def _close_stdin(self) -> None:
        fd, self._stdin = self._stdin, -1
        if fd >= 0:
            self._loop.remove_writer(fd)
            os.close(fd)

    @property
    def is_open(self) -> bool:
        """Whether it holds its descriptors."""
        return self._status >= 0

    def close(self) -> None:
        """Give back every descriptor."""
        self.unwatch()
        if self._edges is not None:
            self._edges.close()
            self._edges = None
        self.greeted()
        self._close_stdin()
        for fd in (self._status, self._noise):
            if fd >= 0:
                self._loop.remove_reader(fd)
                os.close(fd)
        self._status = self._noise = -1
        for pipe in (*self._pipes, self._builtin):
            if pipe is not None:
                pipe.close()
