"""A location, warm: the face that callers see."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from warmshell.command import Command, Result, Words
from warmshell.errors import BusyError, ClosedError, CommandTimeout, ShellLost
from warmshell.protocol.quoting import too_long
from warmshell.shell.lane import NoDirectory
from warmshell.shell.shells import Limits, Shells, ShellStatistics
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.connector.place import Place
    from warmshell.detached import SessionInfo
    from warmshell.fileops import FileOperations
    from warmshell.path import RemotePath
    from warmshell.path.pure import Part
    from warmshell.process import Process
    from warmshell.shell.lane import Lane
    from warmshell.shell.shell import Shell
    from warmshell.transfer.api import Many
    from warmshell.transfer.options import Copied
    from warmshell.transfer.streams import StreamReader, StreamWriter

_START_SECONDS = 3.0  # that closing waits for shells which are being started, before it takes their place away
_TRIES = 3  # shells that may be found gone before a command that had not started
_FEW, _LONG = 64, 2048  # words, and bytes of them, with which no limit of the kernel can be near
_MARKER_STDIN = 256 * 1024  # bytes that are handed through a shell; more gets a process of its own


class Location:
    """One place where commands run, with its warm shells.

    Made by :func:`warmshell.connect`; used as an asynchronous context manager.
    """

    def __init__(self, place: Place, *, shell: str = "sh", limits: Limits | None = None) -> None:
        self._place = place
        self._shell = shell
        self._limits = limits or Limits()
        self._shells: Shells | None = None
        self._blank: Shells | None = None
        self._open: set[Shell] = set()
        self._starting: set[asyncio.Future[None]] = set()
        self._closed = False
        self._files: FileOperations | None = None

    @property
    def name(self) -> str:
        """The location's name, as results and errors give it."""
        return self._place.name

    @property
    def place(self) -> Place:
        """What reaches it."""
        return self._place

    async def __aenter__(self) -> Self:
        self._check_open()
        if self._shells is not None:
            raise BusyError("the location is connected already")
        await self._place.connect()
        if self._place.lanes is not None:
            self._limits = replace(self._limits, most=min(self._limits.most, self._place.lanes))
        self._shells = Shells(lambda: self.lane(self._shell), self._limits)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End everything that was started here, within seconds, whatever state it is in."""
        if not self._closed:
            self._closed = True
            await shielded(self._close())

    async def _close(self) -> None:
        if self._starting:
            await asyncio.wait(self._starting, timeout=_START_SECONDS)
        for shell in list(self._open):
            await shell.aclose()
        for shells in (self._shells, self._blank):
            if shells is not None:
                await shells.aclose()
        await self._place.aclose()

    # -- running ----------------------------------------------------------------------------------------------------

    async def run(self, what: Words | str | Command, **options: Any) -> Result:
        """Run one command, isolated: nothing it does reaches the next one.

        Args:
            what: a list of words, a ``str`` (a POSIX ``sh`` script), or a :class:`~warmshell.Command`.
            **options: those of :class:`~warmshell.Command`, which lists their errors too.

        Returns:
            Its result, whatever its status: ``.check()`` raises for a failure.

        Raises:
            CommandTimeout: it did not end in time, counted from this call; it and all its descendants were ended.
            ProgramNotFound: the first word names no program.
            WorkdirError: the working directory cannot be entered.
            ShellLost: the shell was lost; ``started`` says whether the command may have begun.
            CommandError: the command cannot be expressed, or is too long for the kernel.
            ConnectError: no shell could be started.
        """
        command = what if isinstance(what, Command) and not options else make_command(what, options)
        if command.timeout is not None:
            return await self._run_in_time(command, command.timeout)
        return await self._run(command, [])

    async def _run_in_time(self, command: Command, seconds: float) -> Result:
        partial: list[Result] = []
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._run(command, partial)
        except TimeoutError:
            if not limit.expired():  # it is one of the command's own: a source of its input that raised, say
                raise
            result = partial[0] if partial else Result(-1, location=self.name, command=command)
            text = f"the command did not end within {seconds:g} s; it and its descendants were ended"
            raise CommandTimeout(text, result=result) from None

    async def _run(self, command: Command, partial: list[Result]) -> Result:
        self._check_size(command)
        if command.user is not None or command.pty or self._exceeds_shell(command):
            result = await self._run_process(command, partial)
            if result.returncode == 127 and command.argv:
                await self._check_program(command)
            return result
        shells = self._shells_for(command)
        for left in reversed(range(_TRIES)):
            try:
                return await self._run_warm(shells, command, partial)
            except ShellLost as lost:
                if lost.started != "no" or not left or shells.closed or command.stdin is not None:
                    raise
        raise AssertionError("unreachable")

    async def _run_warm(self, shells: Shells, command: Command, partial: list[Result]) -> Result:
        lane = shells.take() or await shells.acquire()
        try:
            result = await lane.begin(command, lane.body(command)).done
        except asyncio.CancelledError:
            await shielded(_end(lane, partial))
            raise
        except NoDirectory as error:
            problem: NoDirectory | None = error
        else:
            problem = None
        finally:
            shells.release(lane)
        if problem is not None:
            raise await self._why_no_directory(command, problem)
        if result.returncode == 127 and command.argv:
            await self._check_program(command)
        return result

    def _shells_for(self, command: Command) -> Shells:
        if self._shells is None or self._closed:
            raise ClosedError(
                "the location is closed" if self._closed else "the location is not connected: use 'async with'"
            )
        if command.env_only is None:
            return self._shells
        if self._blank is None:
            self._blank = Shells(lambda: self.lane(self._shell, blank=True), self._limits)
        return self._blank

    def _check_size(self, command: Command) -> None:
        words = command.argv  # a script is never passed to a program
        if len(words) < _FEW and sum(map(len, words)) < _LONG and not command.env and not command.env_only:
            return
        env = {**(command.env_only or {}), **(command.env or {})}
        why = too_long(words, env, self._place.room())
        if why is not None:
            from warmshell.shell.diagnose import too_long_for

            raise too_long_for("the kernel", command, self.name, why)

    def _exceeds_shell(self, command: Command) -> bool:
        """Whether the shells' framing cannot carry its standard input."""
        if command.stdin is None or self._place.framing != "markers":
            return False
        return not isinstance(command.stdin, bytes) or len(command.stdin) > _MARKER_STDIN

    async def _run_process(self, command: Command, partial: list[Result]) -> Result:
        from warmshell.shell.one_off import run_process

        return await run_process(self._place, command, partial)

    # -- what went wrong --------------------------------------------------------------------------------------------

    async def _check_program(self, command: Command) -> None:
        """Raise if status 127 means that there is no such program, rather than that it said so."""
        from warmshell.shell.diagnose import is_missing, program_not_found

        if await is_missing(self, command):
            raise program_not_found(command, self.name)

    async def _why_no_directory(self, command: Command, problem: NoDirectory) -> Exception:
        from warmshell.shell.diagnose import why_no_directory

        return await why_no_directory(self, command, problem)

    # -- other faces ------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def open(
        self, what: Words | str | Command, *, bulk: bool = False, **options: Any
    ) -> AsyncIterator[Process]:  # fmt: skip
        """Start a process of its own, with its three streams in the caller's hands.

        Leaving the context ends it, if it still runs, with all its descendants.

        Args:
            what: as for :meth:`run`.
            bulk: whether much is to go through its streams: it starts a little later, and they carry more.
            **options: ``cwd``, ``env``, ``env_only``, ``user``, ``pty`` of :class:`~warmshell.Command`.
        """
        if self._closed or self._shells is None:
            raise ClosedError(
                "the location is closed" if self._closed else "the location is not connected: use 'async with'"
            )
        command = make_command(what, options)
        self._check_size(command)
        process = await (self._place.open_bulk(command) if bulk else self._place.open(command))
        try:
            yield process
        finally:
            await shielded(process.aclose())

    def reader(self, what: Words | str | Command, **options: Any) -> StreamReader:
        """What a command prints, in pieces; its status is checked at the end.

        Args:
            what: as for :meth:`run`.
            **options: ``buffer_size``, and those of :meth:`open`.
        """
        from warmshell.transfer.streams import StreamReader

        return StreamReader(self, what, **options)

    def writer(self, what: Words | str | Command, **options: Any) -> StreamWriter:
        """What a command reads, in pieces; its status is checked at the end.

        Args:
            what: as for :meth:`run`.
            **options: ``buffer_size``, and those of :meth:`open`.
        """
        from warmshell.transfer.streams import StreamWriter

        return StreamWriter(self, what, **options)

    @property
    def files(self) -> FileOperations:
        """Operations on its files, each in one round trip; :meth:`path` is the comfortable face.

        Raises:
            ClosedError: the location is not connected.
        """
        self._check_open()
        if self._shells is None:
            raise ClosedError("the location is not connected: use 'async with'")
        if self._files is None:
            from warmshell.fileops.choice import files_of

            self._files = files_of(self)
        return self._files

    def path(self, *parts: Part) -> RemotePath:
        """A path of this location, with the names of ``pathlib``; without parts: the location's directory."""
        from warmshell.path import RemotePath

        return RemotePath(self, *parts)

    async def put(self, local: Many, remote: Any, **options: Any) -> Copied:
        """Copy files and directories of this machine to the location, with the destination names of ``cp -r``.

        Args:
            local: a path of this machine, or a list of them.
            remote: the path at the location.
            **options: those of :func:`warmshell.copy`, with its errors.
        """
        from warmshell.transfer.api import At, copy

        return await copy(local, At(self, remote), **options)

    async def get(self, remote: Any, local: Many, **options: Any) -> Copied:
        """Copy files and directories of the location to this machine, with the destination names of ``cp -r``.

        Args:
            remote: a path at the location, or a list of them.
            local: the path on this machine.
            **options: those of :func:`warmshell.copy`, with its errors.
        """
        from warmshell.transfer.api import At, copy

        paths = remote if isinstance(remote, list | tuple) else [remote]
        return await copy([At(self, path) for path in paths], local, **options)

    def shell(self, shell: str | None = None) -> Shell:
        """A shell whose state persists between commands: directory, variables, functions, options.

        Args:
            shell: which; that of the location by default. Only ``bash`` hands all of its state to subshells.
        """
        from warmshell.shell.shell import Shell

        return Shell(self, shell or self._shell)

    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        """One more warm shell, for the caller alone.

        Raises:
            ClosedError: the location is closed, or was while the shell started.
            ConnectError: it cannot be started.
        """
        self._check_open()
        started = asyncio.get_running_loop().create_future()
        self._starting.add(started)
        try:
            lane = await self._place.lane(shell, blank=blank)
            try:
                self._check_open()
            except ClosedError:
                await shielded(lane.aclose())
                raise
            return lane
        finally:
            self._starting.discard(started)
            started.set_result(None)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the location is closed")

    def adopt(self, shell: Shell) -> None:
        """Close this shell when the location is closed."""
        self._open.add(shell)

    def disown(self, shell: Shell) -> None:
        """The shell was closed."""
        self._open.discard(shell)

    async def detach(
        self, what: Words | str | Command | None = None, *, lease: float | None = None, **options: Any
    ) -> str:
        """Leave the session of this location to go on without a client, and close the location.

        For one that was connected with ``detach=``. What runs in it goes on, though nobody here waits for it any more;
        :func:`warmshell.attach` gives its results to whoever comes back.

        Args:
            what: a command to start last, as for :meth:`run`; all of its output is kept.
            lease: seconds that it lasts from now on without a client, ``inf`` for ever; by default as it was.
            **options: those of :class:`~warmshell.Command`, but for ``user``, ``pty`` and input from a source.

        Returns:
            The id of the session, which this account remembers on this machine.

        Raises:
            NotSupported: there is no session that could be left.
            ConnectError: it cannot be reached; what it does is not certain.
        """
        from warmshell.detached import leave

        self._check_open()
        session = await leave(self, self._shell, what, lease, options)
        await self.aclose()
        return session

    async def sessions(self) -> list[SessionInfo]:
        """The sessions of this account here that can outlive their client; see :func:`warmshell.sessions`."""
        from warmshell.detached import sessions_at

        self._check_open()
        return await sessions_at(self._place)

    def statistics(self) -> ShellStatistics:
        """How many warm shells there are, and what they do."""
        if self._shells is None:
            return ShellStatistics(0, 0, 0, 0, 0, 0)
        return self._shells.statistics()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not connected" if self._shells is None else "connected"
        return f"<Location {self.name}: {state}>"


def make_command(what: Words | str | Command, options: Mapping[str, Any]) -> Command:
    """The command that the arguments of a ``run`` describe.

    Raises:
        TypeError: a :class:`~warmshell.Command` with options beside it, or an unknown option.
        CommandError: it cannot be expressed.
    """
    if isinstance(what, Command):
        if options:
            raise TypeError(f"a Command carries its own options; {', '.join(options)} cannot be given beside it")
        return what
    return Command(what, **options)


async def _end(lane: Lane, partial: list[Result]) -> None:
    result = await lane.end()
    if result is not None:
        partial.append(result)
