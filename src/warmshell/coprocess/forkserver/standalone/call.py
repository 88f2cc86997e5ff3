"""The client: hands a call to the tool's server, and behaves as the tool until it ends.

Runs by itself, quickly: ``python -I -S`` and a few modules. What has not certainly not begun never begins again: the
server starts the tool only when it gets the word to, and until then the tool may still be run cold instead.
"""

from __future__ import annotations

import os

from . import wire
from .key import Context, Shape, decoded, initial_environment, key, read, terminals
from .place import Unsafe, opened, shape_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Sequence
    from typing import NoReturn
else:
    import _signal as signal  # the module signal takes a millisecond for its enumerations
    import _socket as socket

LOST = 125
"""The exit status when the server was lost while the tool ran: it tells nothing of the tool."""

_ANSWER_SECONDS = 5.0
_VERDICT_SECONDS = 3600.0
_ATTEMPTS = 3
_GROUP = (2, 3, 20, 28, 1)  # INT QUIT TSTP WINCH HUP: what terminals send, to whole groups
_ONE = (10, 12, 14, 15, 26, 27, 29)  # USR1 USR2 ALRM TERM VTALRM PROF IO


class Launch:
    """What is to be run.

    Attributes:
        tool: the script.
        argv0: its name as it is to see it.
        interpreter: words that run it instead of its ``#!`` line, joined by NUL; or nothing.
        options: words for the server.
        args: the words after its name.
    """

    def __init__(
        self, tool: bytes, args: Sequence[bytes], options: bytes = b"", interpreter: bytes = b"", argv0: bytes = b""
    ) -> None:
        self.tool = tool
        self.argv0 = argv0 or tool
        self.interpreter = interpreter
        self.options = options
        self.args = list(args)
        self.context = Context()
        self.env = initial_environment()
        self.terminals = terminals()

    def cold(self) -> NoReturn:
        """Become the tool, as if nobody had tried anything else."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        words = [word for word in self.interpreter.split(b"\0") if word]
        argv = [*words, self.argv0, *self.args]
        program = words[0] if words else self.tool
        try:
            os.execve(program, argv, dict(_split(entry) for entry in self.env))
        except OSError as error:
            complain(f"cannot run {os.fsdecode(program)}: {error.strerror}")
            os._exit(126 if isinstance(error, PermissionError) else 127)

    def shape(self, directory: int) -> Shape:
        """What is known of the tool; a verdict that it cannot be served is looked at again after an hour."""
        name = shape_name(self.tool, self.interpreter, self.options)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            return Shape()
        try:
            shape = decoded(os.read(fd, 1 << 20))
            if shape.cold and _now() - os.fstat(fd).st_mtime > _VERDICT_SECONDS:
                shape.cold = b""
            return shape
        finally:
            os.close(fd)

    def key(self, shape: Shape) -> str:
        """The name of the server that may serve this call."""
        cwd = self.directory() if shape.cwd else b""
        words = [self.tool, self.interpreter, self.options, self.terminals]
        return key(shape, words, self.context.text, cwd, self.env)

    def directory(self) -> bytes:
        """The working directory of the call."""
        return os.getcwdb()

    def request(self, key: str) -> wire.Request:
        """The call, for the server of this name."""
        umask = os.umask(0o077)
        os.umask(umask)
        context = self.context
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        return wire.Request(
            key.encode(), self.argv0, umask, nice, context.blocked, context.ignored, self.args, self.env
        )


def _split(entry: bytes) -> tuple[bytes, bytes]:
    name, _, value = entry.partition(b"=")
    return name, value


def _now() -> float:
    import time

    return time.time()


def complain(sentence: str) -> None:
    """One line for the user."""
    try:
        os.write(2, (f"warm: {sentence}\n").encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # nobody can be told


def connected(directory: int, key: str) -> socket.socket | None:
    """A connection to the server of this name, if there is one and it is this user's."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(_ANSWER_SECONDS)
        link.connect(f"/proc/self/fd/{directory}/{key}.sock")
        credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], "little") == os.geteuid():
            return link
    except OSError:
        pass
    link.close()
    return None


def send(link: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    """Send it all, with the descriptors beside its first byte."""
    packed = b"".join(fd.to_bytes(4, "little") for fd in fds)
    sent = link.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if fds else [])
    if sent < len(data):  # nothing is sent in vain: a server that has answered and left already would be an error
        link.sendall(data[sent:])


class Lines:
    """The answers of a server, line by line."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._data = b""

    def next(self) -> tuple[bytes, bytes]:
        """The letter of the next answer and the rest; nothing at the end.

        Raises:
            OSError: no answer came in time.
        """
        while b"\n" not in self._data:
            try:
                chunk = self._link.recv(4096)
            except ConnectionError:
                chunk = b""
            if not chunk:
                return b"", b""
            self._data += chunk
        line, _, self._data = self._data.partition(b"\n")
        return line[:1], line[2:]


def attempt(launch: Launch, link: socket.socket, key: str) -> bytes:
    """One call to one server; it comes back only if the tool certainly has not begun.

    Returns:
        Why not: ``stale`` if another try may help.
    """
    cwd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    lines = Lines(link)
    try:
        letter, rest = lines.next()
        if letter == wire.QUEUED:
            link.settimeout(None)
            letter, rest = lines.next()
        if letter == wire.READY:
            link.settimeout(_ANSWER_SECONDS)
            send(link, launch.request(key).encode(), [cwd, 0, 1, 2])
            letter, rest = lines.next()
    except OSError:  # stuck, or gone
        return wire.COLD
    finally:
        os.close(cwd)
    if letter == wire.STARTED:
        follow(link, lines, int(rest), launch)
    return rest.partition(b" ")[0] if letter == wire.REFUSED else wire.STALE


def follow(link: socket.socket, lines: Lines, pid: int, launch: Launch) -> NoReturn:
    """Say go, hand signals on, and end as the tool ends."""
    link.settimeout(None)
    _hand_on(pid)
    try:
        link.sendall(wire.GO)
    except OSError:
        pass  # told below
    while True:
        letter, rest = lines.next()
        if letter == wire.STATUS:
            os._exit(int(rest))
        elif letter == wire.KILLED:
            _die_of(int(rest))
        elif letter == wire.STOPPED:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif not letter:
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                pass
            complain(f"the fork server was lost while {os.fsdecode(launch.tool)} ran: it was ended [status: unknown]")
            os._exit(LOST)


def _hand_on(pid: int) -> None:
    def to_group(number: int, _: object) -> None:
        _send_signal(os.killpg, pid, number)

    def to_one(number: int, _: object) -> None:
        _send_signal(os.kill, pid, number)

    for numbers, handler in ((_GROUP, to_group), (_ONE, to_one), ((signal.SIGCONT,), to_group)):
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)


def _send_signal(how: object, pid: int, number: int) -> None:
    try:
        how(pid, number)  # type: ignore[operator]
    except OSError:
        pass  # it has ended meanwhile: its status is on its way


def _die_of(number: int) -> NoReturn:
    """End by the signal that ended the tool, without a second core dump."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def call(launch: Launch) -> NoReturn:
    """Run the tool, warm if that can be, and end as it ends."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the tool runs there is nothing to clean up
    if b"x" not in launch.terminals and not os.path.isdir("/proc/self/fd/0/."):
        try:
            directory = opened(make=True)
            for _ in range(_ATTEMPTS):
                if not warm(launch, directory):
                    break
        except (OSError, Unsafe):
            pass
    launch.cold()


def warm(launch: Launch, directory: int) -> bool:
    """Try once, starting the server if need be; whether another try may help."""
    shape = launch.shape(directory)
    if shape.cold or (shape.terminal and b"t" in launch.terminals):
        return False
    key = launch.key(shape)
    link = connected(directory, key)
    if link is None:
        from .starting import start

        return start(launch, directory, key)
    try:
        return attempt(launch, link, key) == wire.STALE
    finally:
        link.close()


def described(path: bytes) -> dict[bytes, bytes]:
    """The lines ``#name value`` of a launcher."""
    lines = read(os.fsdecode(path)).split(b"\n")
    return dict(line[1:].partition(b" ")[::2] for line in lines if line.startswith(b"#"))


def main(argv: Sequence[bytes]) -> NoReturn:
    """Run what a launcher describes: its name, then the words for the tool.

    In the place of a launcher, ``:`` is followed by what one would describe: tool, options, interpreter.
    """
    if argv[0] == b":":
        call(Launch(argv[1], argv[4:], argv[2], argv[3].replace(b"\t", b"\0")))
    about = described(argv[0])
    interpreter = about.get(b"interpreter", b"").replace(b"\t", b"\0")
    call(Launch(about[b"tool"], argv[1:], about.get(b"options", b""), interpreter))
