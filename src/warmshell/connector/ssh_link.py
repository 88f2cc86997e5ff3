"""The connections to one host, and channels on them.

One connection carries as many sessions as its server allows (``MaxSessions``); where that is not enough there are more
connections. Nothing here is locked: whoever needs a channel takes one that there is room for, or waits for a connection
that is being made.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from warmshell.command import Command
from warmshell.connector import openssh
from warmshell.connector.far.channel import Channel, rest_of_line
from warmshell.connector.far.framing import hello_line, hello_of
from warmshell.errors import AuthenticationError, ConnectError
from warmshell.shield import shielded

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmshell.connector.local import LocalPlace
    from warmshell.process import ByteReceiveStream, Process

USUAL_SESSIONS = 10
"""Sessions that sshd allows on a connection unless it was told otherwise."""

_SOCKET_MOST = 107 - 17  # bytes of a socket's name, less what ssh appends while it makes it
_AT_ONCE = 4  # connections being made: sshd turns some away when ten have not logged in yet
_TAIL = 4096


class _Full(ConnectError):
    """The connection takes no more sessions."""


class _Gone(ConnectError):
    """The connection is gone; nothing was run."""


class Connection:
    """One connection that channels use.

    Args:
        socket: where the client offers it.
        process: the client that makes it; ``None`` for one that the user has made.

    Attributes:
        used: channels that it carries, or is about to.
        limit: how many it can carry, as far as is known.
        freed: called when it carries one less.
        channels: those that it carries.
        alive: whether it can be used.
    """

    def __init__(self, socket: str, process: Process | None) -> None:
        self.socket = socket
        self.process = process
        self.used = 0
        self.limit: int | None = None
        self.alive = True
        self.freed: Callable[[], None] = _nothing
        self.channels: set[SshChannel] = set()
        self._tasks: list[asyncio.Task[None]] = []
        if process is not None:
            self._tasks = [asyncio.ensure_future(_drain(s)) for s in (process.stdout, process.stderr)]
            self._tasks.append(asyncio.ensure_future(self._watch(process)))

    async def _watch(self, process: Process) -> None:
        await process.wait()
        self.alive = False

    @property
    def has_room(self) -> bool:
        """Whether one more channel may be tried."""
        return self.alive and (self.limit is None or self.used < self.limit)

    def give_back(self) -> None:
        """It carries one channel less."""
        self.used -= 1
        self.freed()

    async def cut(self) -> None:
        """End all of its channels: the other side is not there any more."""
        self.alive = False
        processes = [channel.process for channel in self.channels]
        if self.process is not None:
            processes.append(self.process)
        await asyncio.gather(*[process.kill(0.0) for process in processes], return_exceptions=True)

    async def aclose(self) -> None:
        """End it, if it is ours."""
        self.alive = False
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self.process is not None:
            await self.process.kill(0.2)
            await self.process.aclose()


class SshChannel(Channel):
    """A session on a connection.

    Its process is the ssh client of the channel, and its pid that of the far shell, which leads its session.
    """

    def __init__(self, process: Process, connection: Connection, token: str) -> None:
        super().__init__(process, token)
        self._connection: Connection | None = connection

    def released(self) -> None:
        """Give the session back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.channels.discard(self)
            connection.give_back()


class Link:
    """All connections to one host.

    Args:
        target: the host and how to get in.
        near: what starts the ssh clients.
        home: a private directory for sockets and messages, with a short name.
        password: a file with a password, or ``None``.
        passphrase: a file with the passphrase of a key, or ``None``.
        retries: how often a host that turns connections away is asked again.
        delay: seconds before the first of these; doubled each time, with jitter.
        sessions: how many sessions a connection may carry, at most; as many as the host allows by default.
        connections: how many connections there may be, at most.
    """

    def __init__(
        self, target: openssh.Target, near: LocalPlace, home: str, *,
        password: str | None = None, passphrase: str | None = None, retries: int = 6, delay: float = 0.2,
        sessions: int | None = None, connections: int | None = None,
    ) -> None:  # fmt: skip
        self._target = target
        self._near = near
        self._home = home
        self._secrets = password, passphrase
        self._retries = retries
        self._delay = delay
        self._most_sessions = sessions
        self._most_connections = connections
        self._config: dict[str, str] = {}
        self._cipher: str | None = None
        self._shared: str | None = None
        self._connections: list[Connection] = []
        self._starting: set[asyncio.Task[Connection]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._freed = asyncio.Event()
        self._numbers = itertools.count(1)
        self._closed = False

    @property
    def address(self) -> tuple[str, str, str]:
        """Host, port and account, as the user's configuration has them."""
        return self._config.get("hostname", ""), self._config.get("port", "22"), self._config.get("user", "")

    # -- connections ------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Learn what the user's configuration says.

        Raises:
            ConnectError: it cannot be read.
        """
        identity = self._target.identity
        if identity is not None and not os.path.exists(os.path.expanduser(identity)):  # noqa: ASYNC240 - a local name
            raise AuthenticationError(f"there is no private key {identity!r}", location=self._target.name)
        said, default = await asyncio.gather(
            self._ask(openssh.config_words(self._target)), self._ask(openssh.default_words(self._target))
        )
        self._target = await self._asked_on_the_way(self._target)
        self._config = openssh.parse_config(said)
        self._cipher = openssh.ciphers(self._config, openssh.parse_config(default))
        self._shared = openssh.own_master(self._config)

    async def _asked_on_the_way(self, target: openssh.Target) -> openssh.Target:
        """The same, with what is known of how the hosts that it goes through ask for passwords."""
        proxy = target.proxy
        if proxy is None:
            return target
        said = await self._ask(openssh.config_words(proxy.target)) if proxy.password is not None else ""
        behind = await self._asked_on_the_way(proxy.target)
        asked = openssh.asked_as(openssh.parse_config(said))
        return replace(target, proxy=replace(proxy, target=behind, asked=asked))

    async def _ask(self, words: list[str]) -> str:
        process = await self._near.open(Command(words))
        try:
            said, complaint = await asyncio.gather(process.stdout.read(), process.stderr.read())
            if await process.wait() != 0:
                text = complaint.decode("utf-8", "replace")
                raise openssh.cause(text, self._target.host, self._target.name)
            return said.decode("utf-8", "replace")
        finally:
            await process.aclose()

    async def _connection(self) -> Connection:
        """A connection with room for a channel, which is counted already."""
        self._waiting += 1
        try:
            while True:
                self._let_go()
                for connection in self._connections:
                    if connection.has_room:
                        connection.used += 1
                        return connection
                self._start_more()
                if self._closed:
                    raise ConnectError("the connection was closed", location=self._target.name)
                await self._more_room()
        finally:
            self._waiting -= 1

    async def _more_room(self) -> None:
        """Return when a connection has been made, or carries one channel less."""
        self._freed.clear()
        freed = asyncio.ensure_future(self._freed.wait())
        try:
            async with asyncio.timeout(None if self._starting else self._target.connect_timeout):
                done, _ = await asyncio.wait({*self._starting, freed}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise ConnectError(
                "all sessions that are allowed are in use", location=self._target.name,
                hint="raise maxConcurrentSessions or maxConnections, or lower shells=",
            ) from None  # fmt: skip
        finally:
            freed.cancel()
        for task in done:
            if task.cancelled():
                raise ConnectError("the connection was closed", location=self._target.name)
            task.result()

    def _let_go(self) -> None:
        """Forget connections that are gone, and close what is left of them."""
        gone = [c for c in self._connections if not c.alive and not c.used]
        self._connections = [c for c in self._connections if c not in gone]
        for connection in gone:
            task = asyncio.ensure_future(connection.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _start_more(self) -> None:
        limits = [c.limit for c in self._connections if c.limit is not None]
        usual = max(1, min([USUAL_SESSIONS, *limits]))
        allowed = _AT_ONCE
        if self._most_connections is not None:
            allowed = min(allowed, self._most_connections - sum(c.alive for c in self._connections))
        while len(self._starting) < min(allowed, -(-self._waiting // usual)) and not self._closed:
            task = asyncio.ensure_future(self._connect())
            self._starting.add(task)
            task.add_done_callback(self._started)
            if not self._connections:
                break  # the first one tells whether there is any use

    def _started(self, task: asyncio.Task[Connection]) -> None:
        self._starting.discard(task)
        if not task.cancelled() and task.exception() is None:
            connection = task.result()
            connection.limit = self._most_sessions
            connection.freed = self._freed.set
            self._connections.append(connection)

    async def _connect(self) -> Connection:
        shared = await self._shared_connection()
        if shared is not None:
            return shared
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._target.connect_timeout
        for attempt in itertools.count():
            try:
                return await self._log_in()
            except ConnectError as error:
                pause = self._pause(attempt)
                if not vars(error).get("busy") or attempt >= self._retries or loop.time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    def _pause(self, attempt: int) -> float:
        return self._delay * 2.0**attempt * (0.5 + random.random())  # noqa: S311 - jitter

    async def _log_in(self) -> Connection:
        socket = os.path.join(self._home, f"c{next(self._numbers)}")
        if len(os.fsencode(socket)) > _SOCKET_MOST:
            raise ConnectError("the directory for temporary files has too long a name", hint="set TMPDIR to /tmp")
        log = self._log()
        env = self._askpass()
        words = openssh.master_words(self._target, socket, log, self._config, self._cipher, helper=self._helper)
        process = await self._near.open(Command(words, env=env))
        try:
            async with asyncio.timeout(self._target.connect_timeout + 1.0):
                if await _seen(process.stdout, openssh.READY):
                    return Connection(socket, process)
                await process.wait()
            said = _text(log) + process.stderr.rest().decode("utf-8", "replace")
            error = openssh.cause(said, self._target.host, self._target.name)
            vars(error)["busy"] = openssh.is_busy(said)
        except TimeoutError:
            error = openssh.cause("timed out", self._target.host, self._target.name)
        except BaseException:
            await shielded(_dispose(process))
            raise
        await shielded(_dispose(process))
        raise error

    async def _shared_connection(self) -> Connection | None:
        """The connection that the user shares already, if one lives and is not used here yet."""
        path = self._shared
        if path is None or not os.path.exists(path) or path in [c.socket for c in self._connections]:  # noqa: ASYNC240
            return None
        process = await self._near.open(Command(openssh.check_words(self._target, path)))
        try:
            return Connection(path, None) if await process.wait() == 0 else None
        finally:
            await process.aclose()

    def _askpass(self) -> dict[str, str] | None:
        password, passphrase = self._secrets
        helper = Path(self._helper)
        if (self._target.asks or self._target.proxy is not None) and not helper.exists():
            helper.write_text(openssh.askpass())
            helper.chmod(0o700)
        if password is None and passphrase is None:
            return None
        return openssh.askpass_environment(str(helper), openssh.asked_as(self._config), password, passphrase)

    @property
    def _helper(self) -> str:
        return os.path.join(self._home, "askpass")

    def _log(self) -> str:
        return os.path.join(self._home, f"l{next(self._numbers)}")

    # -- channels ---------------------------------------------------------------------------------------------------

    async def channel(self, *, terminal: bool = False) -> SshChannel:
        """A session: a far shell that has said hello.

        Args:
            terminal: whether its streams are a terminal.

        Raises:
            ConnectError: the host cannot be reached, or takes no session in time. Nothing was run.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._target.connect_timeout
        for attempt in itertools.count():
            connection = await self._connection()
            try:
                return await self._channel(connection, terminal)
            except (_Full, _Gone) as error:
                self._learn(connection, error)
                pause = self._pause(min(attempt, 4))
                if loop.time() + pause > deadline:
                    raise ConnectError(error.message, location=self._target.name, hint=error.hint) from None
                if isinstance(error, _Gone) or connection.used == 0:
                    await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    @staticmethod
    def _learn(connection: Connection, error: ConnectError) -> None:
        if isinstance(error, _Gone):
            connection.alive = False
        else:  # those that are used now may themselves be refused yet, which lowers it further
            connection.limit = max(1, connection.used)

    async def _channel(self, connection: Connection, terminal: bool) -> SshChannel:
        token = secrets.token_hex(8)
        log = self._log()
        try:
            process = await self._session(connection, hello_line(token, terminal=terminal), log, terminal)
        except BaseException:
            connection.give_back()
            raise
        channel = SshChannel(process, connection, token)
        connection.channels.add(channel)
        try:
            await self._greet(channel, log)
        except BaseException:
            await shielded(channel.aclose())
            raise
        finally:
            with contextlib.suppress(OSError):
                os.unlink(log)
        return channel

    async def _session(self, connection: Connection, line: str, log: str, terminal: bool) -> Process:
        socket = connection.socket
        words = openssh.channel_words(self._target, socket, log, line, self._config, terminal=terminal)
        return await self._near.open(Command(words))

    async def _greet(self, channel: SshChannel, log: str) -> None:
        try:
            async with asyncio.timeout(self._target.connect_timeout):
                hello = await rest_of_line(channel.process.stdout, hello_of(channel.token))
                if hello is None:
                    await channel.process.wait()
        except TimeoutError:
            raise ConnectError("the far login shell does not answer", location=self._target.name) from None
        if hello is None:
            raise self._refused(_text(log), channel)
        channel.pid = int(hello) if hello.isdigit() else 0

    def _refused(self, said: str, channel: SshChannel) -> ConnectError:
        name = self._target.name
        if openssh.is_full(said):
            return _Full("the host takes no more sessions", location=name, hint="see MaxSessions of its sshd_config")
        connection_ended = "UNKNOWN port" in said or not said.strip()
        if connection_ended and not channel.process.stderr.rest():
            return _Gone("the connection to the host has ended", location=name)
        return openssh.cause(said, self._target.host, name)

    async def cut(self) -> None:
        """Give up all connections: the host has been silent for too long."""
        await asyncio.gather(*[connection.cut() for connection in self._connections])

    async def aclose(self) -> None:
        """End all connections."""
        self._closed = True
        for task in list(self._starting):
            task.cancel()
        if self._starting:
            await asyncio.wait(set(self._starting))
        self._freed.set()
        for connection in self._connections:
            await connection.aclose()
        self._connections.clear()
        if self._closing:
            await asyncio.wait(set(self._closing))


def _nothing() -> None:
    """Nobody waits for a session."""


def choose(asked: str | None, location: str) -> type[Link]:
    """What makes the connections: the ssh client, or asyncssh where that is asked for or there is no client.

    Raises:
        ConnectError: it is not installed.
    """
    client = shutil.which("ssh") is not None
    if client and asked != "asyncssh":
        return Link
    missing = "asyncssh is not" if client else "there is no ssh client here, nor asyncssh"
    try:
        if asked != "openssh":
            from warmshell.connector.ssh_asyncssh import AsyncsshLink

            return AsyncsshLink
        missing = "there is no ssh client here"
    except ImportError:
        pass
    raise ConnectError(missing, location=location, hint="install openssh-client or warmshell[asyncssh]")


async def _seen(stream: ByteReceiveStream, what: bytes) -> bool:
    tail = b""
    while data := await stream.receive():
        tail = tail[-_TAIL:] + data
        if what in tail:
            return True
    return False


async def _drain(stream: ByteReceiveStream) -> None:
    with contextlib.suppress(OSError):
        async for _ in stream:
            pass


async def _dispose(process: Process) -> None:
    await process.kill(0.2)
    await process.aclose()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
