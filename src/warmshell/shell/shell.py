"""A shell whose state persists between commands."""

from __future__ import annotations

import asyncio
import itertools
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from warmshell.command import Command, Result, Words
from warmshell.errors import ClosedError, CommandTimeout, ConnectError, NotSupported, ShellLost, WarmshellError
from warmshell.protocol import state
from warmshell.protocol.quoting import quote, quote_all
from warmshell.protocol.request import Body, assignments, enter, stateful_body
from warmshell.shell.diagnose import why_no_directory
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.location import Location
    from warmshell.protocol.dialect import Dialect
    from warmshell.shell.lane import Execution, Lane


class Shell:
    """One persistent shell: directory, variables, functions and options persist from command to command.

    Commands run one after another, in the order of the calls. A command that ends the shell itself (``exit``, ``exec``,
    ``set -e``) returns its status, and later ones raise :class:`~warmshell.ShellLost` with ``started="no"``: a fresh
    shell is never put in its place silently.

    Made by :meth:`warmshell.Location.shell`; used as an asynchronous context manager.

    Args:
        location: where it runs.
        shell: which shell: ``sh``, ``bash``, a path …
        copied: shell text that gives it the state of another one.
    """

    def __init__(self, location: Location, shell: str, copied: bytes | None = None) -> None:
        self._location = location
        self._shell = shell
        self._copied = copied
        self._lane: Lane | None = None
        self._lock = asyncio.Lock()
        self._snapshots: Snapshots | None = None
        self._closed = False
        self._copies = itertools.count(1)

    @property
    def id(self) -> str:
        """Its name in results."""
        return "" if self._lane is None else self._lane.id

    @property
    def alive(self) -> bool:
        """Whether it can be given commands."""
        return self._lane is not None and self._lane.alive and not self._closed

    async def __aenter__(self) -> Self:
        self._lane = await self._location.lane(self._shell)
        self._location.adopt(self)
        try:
            if self._lane.own_pipes:
                self._snapshots = Snapshots(state.dump(self._lane.dialect))
            if self._copied is not None:
                await self._execute(self._lane, Command("restore"), stateful_body(self._copied, self._lane.dialect))
        except BaseException as error:
            await shielded(self.aclose())
            if isinstance(error, OSError) and not isinstance(error, WarmshellError):
                why = f"no shell could be started: {error.strerror}"
                raise ConnectError(why, location=self._location.name) from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the shell with everything that runs in it."""
        if self._closed:
            return
        self._closed = True
        self._location.disown(self)
        try:
            if self._lane is not None:
                await shielded(self._lane.aclose())
        finally:  # also when it is cancelled, which the shield tells at the end
            if self._snapshots is not None:
                self._snapshots.close()

    async def run(self, what: Words | str | Command, **options: Any) -> Result:
        """Run one command in this shell.

        A script, and words too, run in the shell itself, whose state they change: ``run(["cd", "/data"])`` is the
        shell's ``cd``. With ``cwd=`` or ``env=``, which hold for one command only, it runs in a fork instead.

        Args:
            what: a list of words, a ``str`` (a script in this shell's language), or a :class:`~warmshell.Command`.
            **options: those of :class:`~warmshell.Command`, except ``env_only``, ``user`` and ``pty``.

        Raises:
            CommandTimeout: it did not end in time, counted from its start; it was ended, and the shell with it.
            ShellLost: the shell is gone (``started="no"``), or was lost while the command ran.
            WorkdirError: the working directory cannot be entered.
            NotSupported: an option that a shell with a state cannot serve.
        """
        from warmshell.location import make_command

        command = make_command(what, options)
        self._check(command)
        async with self._lock:
            lane = self._present(command)
            if command.cwd is not None:
                await self._check_directory(lane, command)
            return await self._run(lane, command)

    def _check(self, command: Command) -> None:
        for name in ("env_only", "user", "pty"):
            if getattr(command, name):
                raise NotSupported(
                    f"{name}= cannot be given to a command of a shell whose state persists",
                    command=str(command),
                    location=self._location.name,
                    hint="use the location's own run()",
                )

    def _present(self, command: Command) -> Lane:
        if self._lane is None or self._closed:
            raise ClosedError("the shell is closed" if self._closed else "the shell is not started: use 'async with'")
        if not self._lane.alive:
            raise ShellLost(
                f"the shell {self._lane.id} has ended",
                started="no",
                command=str(command),
                location=self._location.name,
                hint="an earlier command ended it (exit, exec, set -e, a timeout); open a new one",
            )
        return self._lane

    async def _run(self, lane: Lane, command: Command) -> Result:
        partial: list[Result] = []
        body = _body(command, lane.dialect)
        if command.timeout is None:
            return await self._execute(lane, command, body, partial)
        try:
            async with asyncio.timeout(command.timeout) as limit:
                return await self._execute(lane, command, body, partial)
        except TimeoutError:
            if not limit.expired():
                raise
            result = partial[0] if partial else Result(-1, location=self._location.name, command=command)
            text = f"the command did not end within {command.timeout:g} s; it was ended, and its shell with it"
            raise CommandTimeout(text, result=result) from None

    async def _execute(self, lane: Lane, command: Command, body: Body, partial: list[Result] | None = None) -> Result:
        # The empty line: after a syntax error in an eval, bash misreads the first compound command of the next line.
        prelude = b"\n"
        if self._snapshots is not None and lane.may_write_files():
            prelude += self._snapshots.prelude()
        bare = Command("-") if command.cwd is not None else command
        bare.stdin, bare.stdout, bare.stderr = command.stdin, command.stdout, command.stderr
        bare.output_limit, bare.name = command.output_limit, str(command)
        execution = lane.begin(bare, body, keeps_state=True, prelude=prelude)
        if self._snapshots is not None:
            self._snapshots.begin(execution if len(prelude) > 1 else None)
        try:
            return await execution.done
        except asyncio.CancelledError:
            result = await shielded(lane.end())
            if partial is not None and result is not None:
                partial.append(result)
            raise

    async def _check_directory(self, lane: Lane, command: Command) -> None:
        path = quote(_explicit(command.cwd or b""))
        test = b"\\command test -d %s&&\\command test -x %s" % (path, path)
        probe = Command(test.decode("utf-8", "surrogateescape"))
        if not (await self._execute(lane, probe, stateful_body(test, lane.dialect))).ok:
            raise await why_no_directory(self._location, command, lane.no_directory(command))

    def subshell(self) -> Shell:
        """A concurrent shell that starts from a copy of this one's state as it was after the last finished command.

        Use it as an asynchronous context manager. It does not wait for a command that runs in this shell, where the
        framing is own pipes; with markers it waits until this shell is idle. bash hands over all that it can print;
        other shells hand over no functions (see ``docs/guarantees.md``).
        """
        return _Subshell(self._location, self._shell, self)

    async def copy_lane(self) -> Lane | None:
        """A new shell with this one's state, where the far end can make one."""
        lane = self._present(Command("subshell"))
        return await lane.copy(f"{lane.id}+{next(self._copies)}")

    async def state(self) -> bytes:
        """Shell text that gives another shell the state that this one had after its last finished command."""
        lane = self._present(Command("subshell"))
        printed = None if self._snapshots is None else await self._snapshots.last()
        if printed is None:
            async with self._lock:
                lane = self._present(Command("subshell"))
                text = b"if :;then %sfi 2>/dev/null" % state.dump(lane.dialect)
                result = await self._execute(lane, Command("state"), stateful_body(text, lane.dialect))
                printed = result.stdout
        try:
            return state.restore(lane.dialect, printed)
        except ValueError:
            raise NotSupported(
                f"the shell {lane.id} cannot print its state, which a subshell begins with",
                location=self._location.name,
                hint="an earlier command left it no descriptors, or changed what prints it",
            ) from None

    def __repr__(self) -> str:
        return f"<Shell {self.id or self._shell} at {self._location.name}: {'alive' if self.alive else 'ended'}>"


class _Subshell(Shell):
    def __init__(self, location: Location, shell: str, parent: Shell) -> None:
        super().__init__(location, shell)
        self._parent = parent

    async def __aenter__(self) -> Self:
        copied = await self._parent.copy_lane()
        if copied is not None:
            self._lane = copied
            self._location.adopt(self)
            return self
        self._copied = await self._parent.state()
        return await super().__aenter__()


class Snapshots:
    """What a shell printed of its state before the command that it runs now.

    The shell writes it into a file in memory, without a fork, before each command: so it is there while the command
    runs. Two files take turns, as the earlier one must be whole until the later one is.
    """

    def __init__(self, dump: bytes) -> None:
        self._dump = dump
        self._running: Execution | None = None
        self._fds = [os.memfd_create("state", os.MFD_CLOEXEC)]
        try:
            self._fds.append(os.memfd_create("state", os.MFD_CLOEXEC))
        except OSError:
            self.close()
            raise

    def prelude(self) -> bytes:
        """Shell text that writes the state into the next file."""
        self._fds.reverse()
        return b"if :;then %sfi >|/proc/%d/fd/%d 2>/dev/null;" % (self._dump, os.getpid(), self._fds[0])

    def begin(self, execution: Execution | None) -> None:
        """The command before which the state is written; ``None``: it is not, before the one that begins."""
        self._running = execution

    async def last(self) -> bytes | None:
        """The state before the command that runs now; ``None`` if none runs, and the shell can be asked itself."""
        execution = self._running
        if execution is None or execution.done.done():
            return None
        if not execution.acknowledged:
            await execution.beginning()
        if not execution.acknowledged:
            return None
        fd = self._fds[0]
        return os.pread(fd, os.fstat(fd).st_size, 0)

    def close(self) -> None:
        """Give the files back."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _body(command: Command, dialect: Dialect) -> Body:
    script = command.script if command.script is not None else quote_all(command.argv)
    if command.cwd is None and not command.env:
        return stateful_body(script, dialect)
    names, odd = assignments(command.env or {})
    inner = b"env %ssh -c %s" % (odd, quote(script)) if odd else b"eval " + quote(script)
    start = b"" if command.cwd is None else enter(command.cwd) + b"&&"
    exports = b"export %s&&" % names if names else b""
    return Body(b"(%s%s%s)" % (start, exports, inner))


def _explicit(path: bytes) -> bytes:
    return path if path.startswith(b"/") else b"./" + path
