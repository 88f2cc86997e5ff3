"""A place that is reached by a stream: a session server where there is a Python, else warm shells on channels."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from abc import abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from warmshell.command import Command
from warmshell.connector.far.framing import process_lines, shell_line, spoken, terminal_lines
from warmshell.connector.far.keeper import Keeper, keeper_line
from warmshell.connector.far.process import ChannelProcess, ChannelShell
from warmshell.connector.local import terminal_size
from warmshell.connector.place import Place
from warmshell.errors import ClosedError, ConnectError, NotSupported, ShellLost
from warmshell.protocol.dialect import dialect, led_to
from warmshell.protocol.quoting import quote
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.connector.far.channel import Channel
    from warmshell.fileops.asked import Ask
    from warmshell.process import Process
    from warmshell.shell.detachable import Detach
    from warmshell.shell.lane import Lane
    from warmshell.shell.session import Session

_END_SECONDS = 8.0  # beyond the grace, for an answer from the far end
_GRACE = 1.0  # seconds between TERM and KILL
_LEAST_ROOM = 128 * 1024


class FarPlace(Place):
    """One location that is reached by channels: far shells that have said hello.

    A concrete one says how a channel is opened (:meth:`channel`), and what must be there before (:meth:`reach`,
    :meth:`leave`).

    Args:
        name: the name of its location.
        shell: the shell for isolated commands.
        server: whether to use the session server where there is a Python.
        cwd: where commands run by default; where the far shell begins.
        detach: how a session outlives its connection.
    """

    def __init__(
        self, name: str, *, shell: str = "sh", server: bool = True, cwd: str | None = None,
        detach: Detach | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.shell = shell
        self._server = server
        self._cwd = b"" if cwd is None else os.fsencode(cwd)
        self._detach = detach
        self._session: Session | None = None
        self._keeper: Keeper | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._token = ""
        self._numbers = itertools.count(1)
        self._retired: set[asyncio.Task[Any]] = set()

    @abstractmethod
    async def channel(self) -> Channel:
        """One more far shell that has said hello.

        Raises:
            ConnectError: there is none to be had. Nothing was run.
        """

    async def channel_of_program(self) -> Channel:
        """The same for one program, whose standard input has to end while it goes on.

        Raises:
            ConnectError: there is none to be had. Nothing was run.
        """
        return await self.channel()

    async def terminal(self) -> Channel:
        """The same on a terminal.

        Raises:
            ConnectError: there is none to be had. Nothing was run.
            NotSupported: there are none.
        """
        raise NotSupported("there are terminals only where Python 3.8 or later is", location=self.name)

    async def cut(self) -> None:
        """Give up the connection: the far end has been silent for too long."""

    @abstractmethod
    async def leave(self) -> None:
        """Undo :meth:`reach`, in whatever state it is; all channels have been closed by then."""

    @property
    @abstractmethod
    def reached(self) -> bool:
        """Whether channels can be opened."""

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def framing(self) -> str:
        """The framing of its shells: ``server`` where there is a Python, else ``markers``."""
        return "server" if self._session is not None else "markers"

    # -- life -------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        try:
            await self.reach()
            await self._connected()
        except BaseException:
            await shielded(self.aclose())
            raise

    async def aclose(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._retire()
        while self._retired:
            await asyncio.wait(self._retired)
        await self.leave()

    def _retire(self) -> bool:
        """Let go of what has ended the others, with the descriptors that it holds; whether there was anything."""
        ends = [end for end in (self._session, self._keeper) if end is not None]
        self._session = self._keeper = None
        for end in ends:
            self._in_background(end.aclose())
        return bool(ends)

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    def _check(self) -> None:
        if not self.reached:
            raise ConnectError("the location is not connected", location=self.name, hint="use 'async with'")

    async def _connected(self) -> None:
        """Have a connection that lives; whoever asks first makes it, the others wait for the same.

        Raises:
            ConnectError: there is none to be had, or the location is closed.
        """
        self._check()
        control = self._session or self._keeper
        if control is None or control.lost is not None:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.ensure_future(self._take_control())
                self._connecting.add_done_callback(_looked_at)
            # Not awaited itself: a caller that is cancelled takes it from no other, and closing cancels no caller.
            connecting = self._connecting
            await asyncio.wait([connecting])
            if connecting.cancelled():
                raise ClosedError("the location was closed", location=self.name)
            connecting.result()

    async def _take_control(self) -> None:
        # Its own: what the last one still ends at the far end is not to be taken for what the next one starts.
        was_there, former, self._token = self._retire(), self._token, secrets.token_hex(16)
        if self._server:
            await self._open_session()
        if not self._server and self._detach is not None:
            raise NotSupported(
                "a session outlives its connection only where there is Python 3.8 or later", location=self.name
            )
        if not self._server:
            self._keeper = await self._open_keeper()
        if was_there:  # and may have been killed, so that it has ended nothing
            self._in_background(self._end_by_control(former, 0, _GRACE))

    async def _control(self) -> ChannelShell:
        channel = await self.channel()
        self.controlled_by(channel)
        return ChannelShell(channel, self, "", control=True)

    def controlled_by(self, channel: Channel) -> None:
        """What ends others is on this channel from now on."""

    async def _open_session(self) -> None:
        from warmshell.server import pack
        from warmshell.shell.detachable import session_for
        from warmshell.shell.session import NoPython, new_token

        token = new_token()
        process = await self._control()
        session = session_for(process, token, self.name, self.reopen, self._detach)
        try:
            await process.say(spoken(b"exec sh -c " + quote(pack.start_text(token).encode())))
            await session.start(pack.archive(), token=self._token, **self._base())
        except NoPython:
            self._server = False
            await process.aclose()
        except BaseException:
            await shielded(session.aclose())
            raise
        else:
            self._session = session

    async def reopen(self, line: bytes) -> Process:
        self._check()
        process = ChannelShell(await self.channel(), self, "", control=True)
        try:
            await process.say(spoken(line))
        except BaseException:
            await shielded(process.aclose())
            raise
        return process

    def _base(self) -> dict[str, str]:
        return {"cwd": self._cwd.decode("latin-1")} if self._cwd else {}

    async def _open_keeper(self) -> Keeper:
        process = await self._control()
        keeper = Keeper(process, self.name, self.cut)
        try:
            await process.say(keeper_line(self._token, self._cwd))
            await keeper.start()
        except BaseException:
            await shielded(keeper.aclose())
            raise
        return keeper

    # -- opening ----------------------------------------------------------------------------------------------------

    async def open(self, command: Command) -> Process:
        if command.pty and command.user is not None:
            raise NotSupported("user= and pty=True exclude each other", command=str(command), location=self.name)
        size = terminal_size() if command.pty else None
        await self._connected()
        if self._session is None:
            return await self._open_on_channel(command, size)
        from warmshell.shell.server_process import open_process

        try:
            return await open_process(self._session, self.name, command, self._token, size)
        except ShellLost as lost:
            if lost.started != "no":
                raise
        await self._connected()
        return await open_process(self._session, self.name, command, self._token, size)

    async def open_bulk(self, command: Command) -> Process:
        """On a channel of its own: what goes through a session is handled by the server once more."""
        await self._connected()
        if command.pty or (self._session is not None and not self.has_more_channels):
            return await self.open(command)
        return await self._open_on_channel(command, None)

    @property
    def has_more_channels(self) -> bool:
        """Whether there can be a channel beside that of the session."""
        return True

    async def _open_on_channel(self, command: Command, size: tuple[int, int] | None) -> Process:
        channel = await (self.channel_of_program() if size is None else self.terminal())
        marker, tag = _new_marker(), f"{self._token}.p{next(self._numbers)}"
        process = ChannelProcess(channel, self, tag, marker, command, terminal=size is not None)
        if size is None:
            lines = process_lines(command, tag, marker, self._cwd)
        else:
            lines = terminal_lines(command, tag, marker, size, self._cwd)
        try:
            await process.begin(lines)
        except BaseException:
            await shielded(process.aclose())
            raise
        return process

    async def end_on(self, channel: Channel, tag: str, grace: float) -> bool:
        """End everything on a channel that carries a tag; whether that could be asked for."""
        return await self._end_by_control(tag, channel.pid, grace)

    async def _end_by_control(self, tag: str, session: int, grace: float) -> bool:
        """The same by what controls the place.

        Where the connection is lost there is nobody to ask; the far end has noticed it, or will.
        """
        try:
            async with asyncio.timeout(_END_SECONDS + grace):
                if self._session is not None:
                    await self._session.ask("end_tagged", tag=tag, grace=grace)
                elif self._keeper is not None:
                    await self._keeper.end(tag, session, grace)
        except (ConnectError, TimeoutError):
            return False
        return True

    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        await self._connected()
        name = f"{os.path.basename(shell.split(maxsplit=1)[0])}-{next(self._numbers)}"
        lane = self._marker_lane(name, shell, blank) if self._session is None else self._server_lane(name, shell, blank)
        await lane.start()
        return lane

    def _server_lane(self, name: str, shell: str, blank: bool) -> Lane:
        from warmshell.shell.server_lane import ServerLane

        assert self._session is not None  # noqa: S101 - for the type checker
        return ServerLane(name, dialect(shell), self.name, self._session, shell, blank=blank)

    def _marker_lane(self, name: str, shell: str, blank: bool) -> Lane:
        from warmshell.shell.marker_lane import MarkerLane

        kind = led_to(shell, self._keeper.sh) if shell == "sh" and self._keeper is not None else dialect(shell)
        tag = f"{self._token}.m{next(self._numbers)}"

        async def open_shell() -> Process:
            marker = _new_marker()
            process = ChannelProcess(await self.channel(), self, tag, marker, Command(kind.argv))
            await process.say(shell_line(kind.argv, tag, marker, blank=blank))
            return process

        base = b"" if self._keeper is None else self._keeper.cwd
        return MarkerLane(name, kind, self.name, tag.encode(), base, open_shell)

    def asking(self) -> Ask | None:
        return self._ask if self._session is not None else None

    async def _ask(self, op: str, **arguments: Any) -> Any:
        await self._connected()
        if self._session is None:
            raise ConnectError("there is no session server any more", location=self.name)
        return await self._session.ask(op, **arguments)

    def room(self) -> int:
        if self._session is not None:
            return self._session.room
        return _LEAST_ROOM if self._keeper is None else self._keeper.room


def _looked_at(task: asyncio.Task[None]) -> None:
    """An error that nobody waits for any more is no mistake."""
    if not task.cancelled():
        task.exception()


def _new_marker() -> bytes:
    return secrets.token_hex(16).encode() + b" "
