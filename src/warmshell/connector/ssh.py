"""SSH hosts by the OpenSSH client: a session server where there is a Python, else warm shells on channels."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

from warmshell.command import Command
from warmshell.connector.local import LocalPlace, workdir_error
from warmshell.connector.openssh import Target
from warmshell.connector.place import Place
from warmshell.connector.ssh_channel import (
    ChannelCutter,
    ChannelStream,
    hello_of,
    process_lines,
    shell_line,
    spoken,
)
from warmshell.connector.ssh_keeper import Keeper, keeper_line
from warmshell.connector.ssh_link import Channel, Link, choose
from warmshell.errors import ClosedError, ConnectError, NotSupported, ShellLost
from warmshell.process import ByteReceiveStream, ByteSendStream, Process
from warmshell.protocol.dialect import dialect
from warmshell.protocol.quoting import quote
from warmshell.shell.diagnose import program_not_found
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.fileops.asked import Ask
    from warmshell.shell.detachable import Detach
    from warmshell.shell.lane import Lane
    from warmshell.shell.session import Session

_KILLED = 128 + 9
_KILL_PAUSES = (0.2, 0.5, 1.0, 1.0)  # seconds for the client of a program that was ended to end too
_END_SECONDS = 8.0  # beyond the grace, for an answer from the far end
_SHORT = 40  # bytes of a directory's name in which sockets can have names


class SshPlace(Place):
    """One host by SSH.

    Args:
        target: the host and how to get in.
        shell: the shell for isolated commands.
        retries: how often a host that turns connections away (``MaxStartups``) is asked again.
        retry_delay: seconds before the first of these; doubled each time, with jitter.
        server: whether to use the session server where there is a Python.
        password: a file with a password.
        passphrase: a file with the passphrase of a key.
        cwd: where commands run by default; where a login begins.
        sessions: how many sessions a connection may carry, at most.
        connections: how many connections there may be, at most.
        transport: what connects: ``openssh`` or ``asyncssh``; by default the latter only where there is no ssh client.
    """

    def __init__(
        self, target: Target, *, shell: str = "sh", retries: int = 6, retry_delay: float = 0.2, server: bool = True,
        password: str | None = None, passphrase: str | None = None, cwd: str | None = None,
        transport: str | None = None, detach: Detach | None = None, sessions: int | None = None,
        connections: int | None = None,
    ) -> None:  # fmt: skip
        self.name = target.name
        self.shell = shell
        self._target = target
        self._options: dict[str, Any] = {
            "retries": retries, "delay": retry_delay, "password": password, "passphrase": passphrase,
            "sessions": sessions, "connections": connections,
        }  # fmt: skip
        self._server = server
        self._cwd = b"" if cwd is None else os.fsencode(cwd)
        self._transport = transport
        self._detach = detach
        self._near = LocalPlace(name=f"ssh to {self.name}")
        self._home: str | None = None
        self._link: Link | None = None
        self._session: Session | None = None
        self._keeper: Keeper | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._token = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._retired: set[asyncio.Task[None]] = set()

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def framing(self) -> str:
        """The framing of its shells: ``server`` where there is a Python, else ``markers``."""
        return "server" if self._session is not None else "markers"

    # -- life -------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        await self.reach()
        try:
            await self._connected()
        except BaseException:
            await shielded(self.aclose())
            raise

    async def reach(self) -> None:
        transport = choose(self._transport, self.name)
        await self._near.connect()
        try:
            self._home = tempfile.mkdtemp(prefix=f"warm-{os.getpid()}-", dir=_short_directory())
            self._near.host.add_directory(self._home)
            self._link = transport(self._target, self._near, self._home, **self._options)
            await self._link.prepare()
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
        if self._link is not None:
            await self._link.aclose()
            self._link = None
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._near.host.remove_directory(self._home)
            self._home = None
        await self._near.aclose()

    def _retire(self) -> None:
        """Let go of what has ended the others, with the descriptors that it holds."""
        ends = [end for end in (self._session, self._keeper) if end is not None]
        self._session = self._keeper = None
        for end in ends:
            task = asyncio.ensure_future(end.aclose())
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _connected(self) -> Link:
        """Have a connection that lives; whoever asks first makes it, the others wait for the same.

        Raises:
            ConnectError: there is none to be had, or the location is closed.
        """
        link = self._link
        if link is None:
            raise ConnectError("the location is not connected", location=self.name, hint="use 'async with'")
        control = self._session or self._keeper
        if control is None or control.lost is not None:
            if self._connecting is None or self._connecting.done():
                self._retire()
                self._connecting = asyncio.ensure_future(self._take_control(link))
                self._connecting.add_done_callback(_looked_at)
            # Not awaited itself: a caller that is cancelled takes it from no other, and closing cancels no caller.
            connecting = self._connecting
            await asyncio.wait([connecting])
            if connecting.cancelled():
                raise ClosedError("the location was closed", location=self.name)
            connecting.result()
        return link

    async def _take_control(self, link: Link) -> None:
        if self._server:
            await self._open_session(link)
        if not self._server and self._detach is not None:
            raise NotSupported(
                "a session outlives its connection only where there is Python 3.8 or later", location=self.name
            )
        if not self._server:
            self._keeper = await self._open_keeper(link)

    async def _open_session(self, link: Link) -> None:
        from warmshell.server import pack
        from warmshell.shell.detachable import session_for
        from warmshell.shell.session import NoPython, new_token

        token = new_token()
        channel = await link.channel()
        process = ChannelShell(channel, self, "", control=True)
        session = session_for(process, token, self.name, self.reopen, self._detach)
        try:
            await process.stdin.send(spoken(b"exec sh -c " + quote(pack.start_text(token).encode())))
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
        if self._link is None:
            raise ConnectError("the location is not connected", location=self.name)
        process = ChannelShell(await self._link.channel(), self, "", control=True)
        try:
            await process.stdin.send(spoken(line))
        except BaseException:
            await shielded(process.aclose())
            raise
        return process

    def _base(self) -> dict[str, str]:
        return {"cwd": self._cwd.decode("latin-1")} if self._cwd else {}

    async def _open_keeper(self, link: Link) -> Keeper:
        channel = await link.channel()
        process = ChannelShell(channel, self, "", control=True)
        keeper = Keeper(process, self.name)
        try:
            await process.stdin.send(keeper_line(self._token, self._cwd))
            await keeper.start()
        except BaseException:
            await shielded(keeper.aclose())
            raise
        return keeper

    # -- opening ----------------------------------------------------------------------------------------------------

    async def open(self, command: Command) -> Process:
        if command.pty:
            raise NotSupported("pty=True is not available over SSH yet", command=str(command), location=self.name)
        link = await self._connected()
        channel = await link.channel()
        marker = _new_marker()
        process = ChannelProcess(channel, self, f"{self._token}.p{next(self._numbers)}", marker, command)
        try:
            await process.begin(process_lines(command, process.tag, marker, self._cwd))
        except BaseException:
            await shielded(process.aclose())
            raise
        return process

    async def end_tagged(self, tag: str, session: int, grace: float) -> bool:
        """End everything at the far end that carries a tag; whether that could be asked for.

        Where the connection is lost there is nobody to ask; the far end has noticed it, or will.
        """
        try:
            async with asyncio.timeout(_END_SECONDS + grace):
                await self._end_tagged(tag, session, grace)
        except (ConnectError, TimeoutError):
            return False
        return True

    async def _end_tagged(self, tag: str, session: int, grace: float) -> None:
        if self._session is not None:
            await self._session.ask("end_tagged", tag=tag, grace=grace)
        elif self._keeper is not None:
            await self._keeper.end(tag, session, grace)

    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        link = await self._connected()
        name = f"{os.path.basename(shell.split(maxsplit=1)[0])}-{next(self._numbers)}"
        lane = (
            self._marker_lane(link, name, shell, blank)
            if self._session is None
            else self._server_lane(name, shell, blank)
        )
        await lane.start()
        return lane

    def _server_lane(self, name: str, shell: str, blank: bool) -> Lane:
        from warmshell.shell.server_lane import ServerLane

        assert self._session is not None  # noqa: S101 - for the type checker
        return ServerLane(name, dialect(shell), self.name, self._session, shell, blank=blank)

    def _marker_lane(self, link: Link, name: str, shell: str, blank: bool) -> Lane:
        from warmshell.shell.marker_lane import MarkerLane

        kind = dialect(shell)
        tag = f"{self._token}.m{next(self._numbers)}"

        async def open_shell() -> Process:
            marker = _new_marker()
            process = ChannelProcess(await link.channel(), self, tag, marker, Command(kind.argv))
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
        return 128 * 1024 if self._keeper is None else self._keeper.room


class ChannelShell(Process):
    """A far shell whose bytes are the caller's to make sense of.

    Args:
        channel: its channel.
        place: what can end it.
        tag: what marks it.
        control: whether it is what ends others, and itself needs only its standard input closed.
    """

    def __init__(self, channel: Channel, place: SshPlace, tag: str, *, control: bool = False) -> None:
        self._channel = channel
        self._place = place
        self._tag = tag
        self._control = control
        self._ended = False
        self.stdin: ByteSendStream = channel.process.stdin
        self.stdout: ByteReceiveStream = channel.process.stdout
        self.stderr: ByteReceiveStream = channel.process.stderr

    async def wait(self) -> int:
        status = await self._channel.process.wait()
        self._ended = True
        self._channel.released()
        return status

    async def kill(self, grace: float = 1.0) -> None:
        if not self._control:
            await self._place.end_tagged(self._tag, self._channel.pid, grace)
        await self._channel.process.kill(0.0)
        await self.wait()

    async def aclose(self) -> None:
        try:
            if not self._ended:
                await self.kill()
        finally:
            await self._channel.aclose()


class ChannelProcess(Process):
    """A program at the far end, on a channel of its own.

    Args:
        channel: a far shell that waits for its line.
        place: what can end what it starts.
        tag: what marks the program.
        marker: what reports begin with.
        command: what is run, for errors.
    """

    def __init__(self, channel: Channel, place: SshPlace, tag: str, marker: bytes, command: Command) -> None:
        self.tag = tag
        self._channel = channel
        self._place = place
        self._command = command
        loop = asyncio.get_running_loop()
        self._began: asyncio.Future[bytes] = loop.create_future()
        self._status: asyncio.Future[int] = loop.create_future()
        self._killed = self._closed = False
        near = channel.process
        self.stdin: ByteSendStream = near.stdin
        self.stdout: ChannelStream = ChannelStream(near.stdout, ChannelCutter(b"", marker), self._on_report)
        hello = hello_of(channel.token)
        self.stderr: ChannelStream = ChannelStream(near.stderr, ChannelCutter(hello, marker), self._on_report)

    async def say(self, lines: bytes) -> None:
        """Hand over what is to be run."""
        with contextlib.suppress(BrokenPipeError):  # the end of the streams says so
            await self._channel.process.stdin.send(lines)

    async def begin(self, lines: bytes) -> None:
        """Hand over what is to be run, and return when it starts.

        Raises:
            ProgramNotFound: there is no such program.
            WorkdirError: its directory cannot be entered.
            ShellLost: the connection was lost.
        """
        await self.say(lines)
        report = await asyncio.shield(self._began)
        if report == b"n":
            raise program_not_found(self._command, self._place.name)
        if report.startswith(b"c "):
            error = OSError(int(report[2:]), os.strerror(int(report[2:])))
            kind = {2: FileNotFoundError, 20: NotADirectoryError}.get(int(report[2:]), OSError)
            error = kind(error.errno, error.strerror)
            raise workdir_error(self._command.cwd or b"", error, str(self._command), self._place.name)

    def _on_report(self) -> None:
        out, err = self.stdout, self.stderr
        reports = out.cutter.reports
        if reports and not self._began.done():
            self._began.set_result(reports[0])
        if len(reports) > 1 and (len(err.cutter.reports) > 1 or err.ended) and not self._status.done():
            self._status.set_result(int(reports[1]))
        elif out.ended and err.ended and not self._status.done():
            self._lose(bool(reports))

    def _lose(self, began: bool) -> None:
        if self._killed:
            self._status.set_result(_KILLED)
            return
        lost = ShellLost(
            "the connection was lost while the command ran", started="yes" if began else "unknown",
            command=str(self._command), location=self._place.name,
        )  # fmt: skip
        for waiter in (self._began, self._status):
            if not waiter.done():
                waiter.set_exception(lost)
                waiter.exception()  # that nobody waits for it is no mistake

    async def wait(self) -> int:
        return await asyncio.shield(self._status)

    async def kill(self, grace: float = 1.0) -> None:
        self._killed = True
        near = self._channel.process
        for pause in _KILL_PAUSES:
            if not await self._place.end_tagged(self.tag, self._channel.pid, grace):
                break
            # With what it wrote last on its way, the client ends by itself; if it does not, then what is to be ended
            # was about to start, and carried no tag yet.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await near.wait()
                    break
        await near.kill(0.0)
        if not self._status.done():
            self._status.set_result(_KILLED)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if not self._status.done():
                await self.kill()
        finally:
            for stream in (self.stdout, self.stderr):
                await stream.aclose()
            await self.stdin.aclose()
            await self._channel.aclose()


def _looked_at(task: asyncio.Task[None]) -> None:
    """An error that nobody waits for any more is no mistake."""
    if not task.cancelled():
        task.exception()


def _new_marker() -> bytes:
    return secrets.token_hex(16).encode() + b" "


def _short_directory() -> str:
    """A directory for sockets: names of sockets must be short."""
    given = tempfile.gettempdir()
    return given if len(given) < _SHORT else "/tmp"  # noqa: S108 - the directory made in it is for this user only
