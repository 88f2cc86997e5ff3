"""This machine: processes by ``fork`` and ``exec``, warm shells over pipes of their own or over markers."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import signal
import struct
import termios
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from warmshell.child import Child, shell_status
from warmshell.command import Command
from warmshell.connector.place import Place
from warmshell.errors import (
    ConnectError,
    LocationError,
    NotSupported,
    WorkdirError,
    WorkdirNotADirectory,
    WorkdirNotFound,
)
from warmshell.fdstream import FdReceiveStream, FdSendStream
from warmshell.host import LocalHost
from warmshell.process import Process
from warmshell.protocol import line
from warmshell.protocol.dialect import Dialect, dialect, led_to
from warmshell.shell.diagnose import program_not_found
from warmshell.shell.watch import Watch

if TYPE_CHECKING:
    from warmshell.fileops.asked import Ask
    from warmshell.shell.lane import Lane

Framing = Literal["auto", "pipes", "markers"]

_ENVIRONMENT_SPARE = 4096  # POSIX asks to leave some room for the program's own changes (xargs does the same)


class LocalProcess(Process):
    """A process of this machine with pipes, or a terminal, for its streams.

    Attributes:
        become: the words that let another user end it, where this one may not.
    """

    def __init__(
        self, host: LocalHost, child: Child, token: bytes, stdin: int, stdout: int, stderr: int, pty: bool
    ) -> None:
        self._host = host
        self._child = child
        self._token = token
        self.become: list[bytes] = []
        self.stdin: FdSendStream = TerminalSendStream(stdin) if pty else FdSendStream(stdin)
        self.stdout: FdReceiveStream = FdReceiveStream(stdout, terminal=pty)
        self.stderr: FdReceiveStream = FdReceiveStream(stderr)

    @property
    def pid(self) -> int:
        """Its process id on this machine."""
        return self._child.pid

    async def wait(self) -> int:
        return shell_status(await self._child.wait())

    async def kill(self, grace: float = 1.0) -> None:
        sids = [self._child.pid] if self._child.poll() is None else []
        left = await self._host.end([self._child], [self._token], sids=sids, grace=0.0 if self.become else grace)
        if left and self.become:
            await self._host.end_as(self.become, left, grace)
        await self._child.wait()

    async def aclose(self) -> None:
        try:
            if self._child.poll() is None:
                await self.kill()
        finally:
            for stream in (self.stdin, self.stdout, self.stderr):
                stream.close()
            self._host.forget(self._child)


def typed_end(*, complete: bool) -> bytes:
    """What says the end of input to a terminal; behind a line that is not complete, the first only hands that over."""
    return b"\x04" if complete else b"\x04\x04"


class TerminalSendStream(FdSendStream):
    """The keyboard of a terminal: its end is said with ^D, as closing a descriptor says nothing there."""

    _line = True  # whether what was typed last ends a line

    async def send(self, data: bytes) -> None:
        await super().send(data)
        self._line = data.endswith(b"\n") if data else self._line

    async def aclose(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd, typed_end(complete=self._line))
        self.close()


class LocalPlace(Place):
    """This machine.

    Args:
        shell: the shell for isolated commands: ``sh``, ``dash``, ``bash``, ``busybox`` or a path.
        framing: ``pipes`` (Linux), ``markers``, or whichever the machine can do.
        cwd: where commands run by default; the present directory.
    """

    def __init__(
        self, *, shell: str = "sh", framing: Framing = "auto", cwd: str | None = None, name: str = "local"
    ) -> None:
        if framing not in ("auto", "pipes", "markers"):
            raise LocationError(f"framing is 'auto', 'pipes' or 'markers', not {framing!r}")
        self.name = name
        self.shell = shell
        self._framing: Framing = framing
        self._cwd = None if cwd is None else os.fsencode(os.path.abspath(cwd))
        self._host: LocalHost | None = None
        self._watch: Watch | None = None
        self._numbers = itertools.count(1)

    @property
    def framing(self) -> Literal["pipes", "markers"]:
        """The framing of its shells."""
        if self._framing != "auto":
            return self._framing
        return "pipes" if _shares_descriptors() else "markers"

    @property
    def host(self) -> LocalHost:
        """What starts its processes.

        Raises:
            ConnectError: it is not connected.
        """
        if self._host is None:
            raise ConnectError("the location is not connected", location=self.name, hint="use 'async with'")
        return self._host

    async def reach(self) -> None:
        """Nothing has to be started for :meth:`reopen`."""

    async def reopen(self, line: bytes) -> Process:
        from warmshell.connector.local_session import RelayProcess

        return RelayProcess(line, self.name)

    async def connect(self) -> None:
        if self._cwd is not None and not os.path.isdir(self._cwd):  # noqa: ASYNC240
            raise ConnectError(f"no directory {os.fsdecode(self._cwd)!r}", location=self.name)
        self._find_shell(self.shell)
        try:
            self._host = LocalHost(cwd=self._cwd)
        except OSError as error:  # the present directory is gone, or no process or descriptor is left
            raise ConnectError(
                f"no commands can be started here: {error.strerror}", location=self.name,
                hint="the present directory was removed: give cwd=" if error.errno == errno.ENOENT else None,
            ) from error  # fmt: skip
        self._watch = Watch()

    async def aclose(self) -> None:
        host, self._host = self._host, None
        if self._watch is not None:
            self._watch.close()
        if host is not None:
            await host.aclose()

    def _find_shell(self, shell: str) -> Dialect:
        words = shell.split()
        path = shutil.which(words[0]) if words else None
        if path is None:
            raise ConnectError(
                f"there is no shell {shell!r} here",
                location=self.name,
                hint="name one that 'warm doctor' lists",
            )
        kind = dialect(shell)
        return led_to(path, os.path.realpath(path)) if kind.name == "posix" else kind

    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        kind = self._find_shell(shell)
        name = f"{os.path.basename(shell.split(maxsplit=1)[0])}-{next(self._numbers)}"
        host = self.host
        lane: Lane
        if self.framing == "pipes":
            from warmshell.shell.pipe_lane import PipeLane

            assert self._watch is not None  # noqa: S101 - for the type checker
            lane = PipeLane(name, kind, self.name, host, self._watch, blank=blank)
        else:
            from warmshell.shell.marker_lane import MarkerLane

            token = host.new_token()
            lane = MarkerLane(name, kind, self.name, token, host.cwd, lambda: self._open_shell(kind, token, blank))
        await lane.start()
        return lane

    async def _open_shell(self, kind: Dialect, token: bytes, blank: bool) -> Process:
        return self._start(list(kind.argv), token, env={}, blank=blank, cwd=None, pty=False)

    async def open(self, command: Command) -> Process:
        host = self.host
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            raise NotSupported(
                "this program ignores SIGCHLD, so that the kernel tells it the status of no process of its own",
                command=str(command), location=self.name, hint="signal.signal(signal.SIGCHLD, signal.SIG_DFL)",
            )  # fmt: skip
        token = host.new_token()
        if command.user is None:
            argv = [b"sh", b"-c", command.script] if command.script is not None else list(command.argv)
            env = {**(command.env_only or {}), **(command.env or {})}
            self._check(command)
            return self._start(argv, token, env, command.env_only is not None, command.cwd, command.pty, command)
        if command.pty:
            raise NotSupported("user= and pty=True exclude each other", command=str(command), location=self.name)
        become = self._become(command.user)
        argv = [*become, *line.reader_words()]
        process = self._start(argv, token, {}, False, command.cwd, False, command)
        if os.geteuid() != 0:  # root may signal anybody
            process.become = become
        with contextlib.suppress(BrokenPipeError):
            await process.stdin.send(
                line.line(
                    command.argv,
                    command.script,
                    {**(command.env_only or {}), **(command.env or {})},
                    token + b".0",
                )
            )
        return process

    async def end_tagged(self, tag: str, session: int, grace: float) -> bool:
        if self._host is None:
            return False
        await self._host.end([], [tag.encode()], sids=[session] if session else [], grace=grace)
        return True

    def _become(self, user: str) -> list[bytes]:
        for program in ("sudo", "doas"):
            if shutil.which(program):
                return [
                    program.encode(),
                    b"-n",
                    b"-u",
                    os.fsencode(user),
                    *([b"--"] if program == "sudo" else []),
                ]
        raise NotSupported("neither sudo nor doas is here", location=self.name, hint="install one, or leave out user=")

    def _check(self, command: Command) -> None:
        """Say what is missing before a process is started for it."""
        if command.script is not None:
            return
        program = os.fsdecode(command.argv[0])
        path = {**(command.env_only or {}), **(command.env or {})}.get(b"PATH")
        where = os.path.join(os.fsdecode(self.host.cwd), os.fsdecode(command.cwd or b""))
        if "/" in program:
            found = os.path.exists(os.path.join(where, program))
        else:
            found = shutil.which(program, path=None if path is None else os.fsdecode(path)) is not None
        if os.path.isdir(where) and not found:
            raise program_not_found(command, self.name)

    def _start(
        self, argv: list[bytes], token: bytes, env: Mapping[bytes, bytes], blank: bool, cwd: bytes | None, pty: bool,
        command: Command | None = None,
    ) -> LocalProcess:  # fmt: skip
        opened: list[int] = []
        try:
            theirs, ours = _terminal(opened) if pty else _pipes(opened)
            words = (
                [b"sh", b"-c", b'exec "$@" 0<>"$0" 1>&0 2>&0', os.ttyname(theirs[0]).encode(), *argv] if pty else argv
            )
            child = self.host.spawn(
                words,
                token,
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                env=env,
                blank=blank,
                cwd=cwd,
            )
        except OSError as error:
            for fd in set(opened):
                os.close(fd)
            raise self._refused(error, argv, cwd, command) from error
        for fd in set(theirs):
            os.close(fd)
        return LocalProcess(self.host, child, token, *ours, pty=pty)

    def _refused(self, error: OSError, argv: list[bytes], cwd: bytes | None, command: Command | None) -> Exception:
        words = None if command is None else str(command)
        if cwd is not None and error.filename in (cwd, os.path.join(self.host.cwd, cwd)):
            return workdir_error(cwd, error, words, self.name)
        if isinstance(error, FileNotFoundError) and command is not None:
            return program_not_found(command, self.name)
        what = argv[0].decode("utf-8", "replace")
        return ConnectError(f"{what!r} cannot be started: {error.strerror}", command=words, location=self.name)

    def asking(self) -> Ask:
        from warmshell.fileops.asked import ask_here

        return ask_here(self.host.cwd)

    def room(self) -> int:
        own = sum(len(name) + len(value) + 10 for name, value in os.environb.items())
        return os.sysconf("SC_ARG_MAX") - own - _ENVIRONMENT_SPARE


def _shares_descriptors() -> bool:
    """Whether shells may open this process's descriptors: not without ``/proc``, nor once it has changed its user."""
    try:
        return os.stat(f"/proc/{os.getpid()}/fd").st_uid == os.geteuid()
    except OSError:
        return False


def workdir_error(cwd: bytes, error: OSError, command: str | None, location: str) -> WorkdirError:
    """The error for a working directory that cannot be entered."""
    kind: type[WorkdirError] = WorkdirError
    if isinstance(error, FileNotFoundError):
        kind = WorkdirNotFound
    elif isinstance(error, NotADirectoryError):
        kind = WorkdirNotADirectory
    where = cwd.decode("utf-8", "replace")
    return kind(
        f"the working directory {where!r} cannot be entered: {error.strerror}",
        command=command, location=location, errno=error.errno,
    )  # fmt: skip


def _pipes(opened: list[int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The child's three ends and ours."""
    ends = []
    for _ in range(3):
        pair = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        opened.extend(pair)
        ends.append(pair)
    (in_r, in_w), (out_r, out_w), (err_r, err_w) = ends
    return (in_r, out_w, err_w), (in_w, out_r, err_r)


def _terminal(opened: list[int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *terminal_size(), 0, 0))
    empty, end = os.pipe()
    os.close(end)
    keyboard = os.dup(master)
    opened.extend([master, slave, empty, keyboard])
    return (slave, slave, slave), (keyboard, master, empty)


def terminal_size() -> tuple[int, int]:
    """Rows and columns of a terminal that commands get: those of this program's own, if it has one."""
    size = shutil.get_terminal_size()
    return size.lines, size.columns


def default_jobs() -> int:
    """How many commands this machine runs well at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
