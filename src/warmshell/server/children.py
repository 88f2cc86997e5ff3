"""The server's child processes: started in sessions of their own, reaped whoever they are."""

from __future__ import annotations

import errno
import os
import resource
import signal

from warmshell.guardian.processes import start_time
from warmshell.server.system import become_subreaper, children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from warmshell.server.loop import Loop

IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP, signal.SIGUSR1, signal.SIGUSR2)
"""What must not end the server; its children get the defaults back."""

_DEFAULTS = (*IGNORED, signal.SIGTERM, signal.SIGCHLD, signal.SIGXFSZ)

_SPARE = 16  # descriptors that no shell gets


def find_program(name: bytes, path: bytes) -> bytes:
    """The file that a program's name means.

    Raises:
        OSError: there is none that may be executed.
    """
    places = [b""] if b"/" in name else path.split(b":")
    for place in [os.path.join(entry or b".", name) if b"/" not in name else name for entry in places]:
        if os.access(place, os.X_OK) and not os.path.isdir(place):
            return place
    error = PermissionError if b"/" in name and os.path.exists(name) else FileNotFoundError
    number = 13 if error is PermissionError else 2
    raise error(number, os.strerror(number), os.fsdecode(name))


class Child:
    """A child process.

    Attributes:
        pid: its number, which is its session's too.
        started: its start time: with the number, its name for good.
        code: how it ended (``-N``: by signal N), or ``None``.
    """

    __slots__ = ("_on_exit", "code", "pid", "started")

    def __init__(self, pid: int, on_exit: Callable[[int], None]) -> None:
        self.pid = pid
        self.started = start_time(pid) or 0
        self.code: int | None = None
        self._on_exit = on_exit

    def ended(self, code: int) -> None:
        """It was reaped."""
        self.code = code
        self._on_exit(code)


class Children:
    """Starts and reaps processes. Made in the process that is to be the subreaper.

    Args:
        loop: the event loop.

    Attributes:
        adopts: whether orphans become children of the nearest shell, or of this process.
    """

    def __init__(self, loop: Loop) -> None:
        self._known: dict[int, Child] = {}
        self.adopts = become_subreaper()
        loop.on_signal(signal.SIGCHLD, self.reap)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limits = (soft, hard)
        self._most = hard
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            self._limits = (-2, -2)  # nothing was changed, nothing is to be put back
            self._most = soft

    def check_room(self, fd: int) -> None:
        """Whether this descriptor leaves enough of them for other work, such as ending processes.

        Raises:
            OSError: it does not.
        """
        if self._most != resource.RLIM_INFINITY and fd >= self._most - _SPARE:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def spawn(
        self,
        argv: Sequence[bytes],
        env: Mapping[bytes, bytes],
        stdin: int,
        output: int,
        on_exit: Callable[[int], None],
    ) -> Child:
        """Start a program; what keeps it from starting, it writes to its output.

        Args:
            argv: its words; the first is found in this process's ``PATH``.
            env: its whole environment.
            stdin: the descriptor that it reads.
            output: the descriptor that it writes its output and messages to.
            on_exit: told how it ended.

        Raises:
            OSError: there is no such program, or no process to be had.
        """
        program = find_program(argv[0], os.environb.get(b"PATH", os.fsencode(os.defpath)))
        return self.fork(lambda: self._become(program, argv, env, stdin, output), on_exit)

    def fork(self, become: Callable[[], None], on_exit: Callable[[int], None]) -> Child:
        """Start a process.

        Args:
            become: what it does; it ends when that returns.
            on_exit: told how it ended.

        Raises:
            OSError: none is to be had.
        """
        pid = os.fork()
        if pid == 0:
            try:
                become()
            finally:  # this copy of the server must not go on, whatever happens
                os._exit(127)
        child = self._known[pid] = Child(pid, on_exit)
        return child

    def leave_server(self) -> None:
        """Put aside what a process has of the server that it was forked from; it gets a session of its own."""
        signal.set_wakeup_fd(-1)
        os.setsid()
        for number in _DEFAULTS:
            signal.signal(number, signal.SIG_DFL)
        if self._limits[0] != -2:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)

    def _become(
        self, program: bytes, argv: Sequence[bytes], env: Mapping[bytes, bytes], stdin: int, output: int
    ) -> None:
        try:
            self.leave_server()
            for target, fd in enumerate((stdin, output, output)):
                os.dup2(fd, target)
            become_subreaper()  # so that what its commands leave behind can be told from what others' do
            os.execve(program, list(argv), dict(env))
        except OSError as error:
            os.write(output, f"cannot be started: {error}\n".encode("utf-8", "replace"))

    def reap(self) -> None:
        """Take note of every child that has ended, also of those that were adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._known.pop(pid, None)
            if child is not None:
                child.ended(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

    def strays(self) -> list[tuple[int, int]] | None:
        """Children by adoption, as (pid, start time): what shells that are gone have left behind.

        Returns:
            ``None`` where that is not known.
        """
        found = children() if self.adopts else None
        if found is None:
            return None
        found.difference_update(self._known)
        return [(pid, started) for pid in found for started in [start_time(pid)] if started is not None]
