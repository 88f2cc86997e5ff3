"""SSH hosts by the OpenSSH client: one connection, one session server on it, a channel for every raw process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmshell.command import Command
from warmshell.connector import openssh
from warmshell.connector.base import Connector
from warmshell.connector.local import LocalConnector
from warmshell.errors import ConnectError, LocationError
from warmshell.process import ByteReceiveStream, ByteSendStream, Process
from warmshell.protocol import line
from warmshell.protocol.dialect import dialect
from warmshell.protocol.quoting import quote_all
from warmshell.server import pack
from warmshell.shell.marker_lane import MarkerLane
from warmshell.shell.server_lane import ServerLane
from warmshell.shell.session import NoPython, Session, new_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from warmshell.shell.lane import Lane

_ROOM = 128 * 1024  # what any system passes to a program (POSIX asks for 4 KiB; Linux gives 2 MiB)
_SOCKET_MOST = 107 - 17  # bytes of a socket's name, less what ssh appends while it makes it


class SshConnector(Connector):
    """One host by SSH.

    Args:
        target: the host and how to get in.
        shell: the shell for isolated commands.
        retries: how often a host that turns connections away (``MaxStartups``) is asked again.
        retry_delay: seconds before the first of these; doubled each time, with jitter.
        server: whether to use the session server where there is a Python.
        secret: a file with the password or passphrase.
    """

    def __init__(
        self,
        target: openssh.Target,
        *,
        shell: str = "sh",
        retries: int = 6,
        retry_delay: float = 0.2,
        server: bool = True,
        secret: str | None = None,
    ) -> None:
        self.name = f"{target.user}@{target.host}" if target.user else target.host
        self.shell = shell
        self._target = target
        self._retries = retries
        self._delay = retry_delay
        self._server = server
        self._secret = secret
        self._near = LocalConnector(name=f"ssh to {self.name}")
        self._home: str | None = None
        self._socket = ""
        self._master: Process | None = None
        self._session: Session | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._token = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._retired: list[Session] = []

    @property
    def framing(self) -> str:
        """The framing of its shells: ``server`` where there is a Python, else ``markers``."""
        return "server" if self._session is not None else "markers"

    # -- life -------------------------------------------------------------------------------------------------------

    async def deploy(self, *, external: bool = False) -> None:  # noqa: ARG002 - a host is always external
        if shutil.which("ssh") is None:
            raise ConnectError("there is no ssh client here", location=self.name, hint="install openssh-client")
        await self._near.deploy()
        try:
            self._home = tempfile.mkdtemp(prefix="warm-", dir=_short_directory())
            await self._connect()
        except BaseException:
            await self.undeploy()
            raise

    async def undeploy(self, *, external: bool = False) -> None:  # noqa: ARG002
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for session in [*self._retired, *([self._session] if self._session else [])]:
            await session.aclose()
        self._retired.clear()
        self._session = None
        if self._master is not None:
            await self._master.aclose()
            self._master = None
        await self._near.undeploy()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    async def _connect(self) -> None:
        """Have a connection, and a session on it; whoever asks first makes it, the others wait for the same."""
        if self._is_connected():
            return
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._make_connection())
        await asyncio.shield(self._connecting)

    def _is_connected(self) -> bool:
        if self._session is not None:
            return self._session.lost is None
        return self._socket != "" and not self._server

    async def _make_connection(self) -> None:
        if self._session is not None:
            self._retired.append(self._session)
            self._session = None
        for attempt in range(self._retries + 1):
            try:
                await self._open_master()
                break
            except ConnectError as error:
                if attempt == self._retries or not getattr(error, "busy", False):
                    raise
                await asyncio.sleep(self._delay * 2**attempt * (0.5 + random.random()))  # noqa: S311 - jitter
        if self._server:
            await self._open_session()

    async def _open_master(self) -> None:
        if self._master is not None:
            await self._master.aclose()
            self._master = None
        shared = await self._shared_connection()
        if shared is not None:
            self._socket = shared
            return
        assert self._home is not None  # noqa: S101 - made by deploy
        socket = os.path.join(self._home, f"c{next(self._numbers)}")
        if len(os.fsencode(socket)) > _SOCKET_MOST:
            raise ConnectError("the directory for temporary files has too long a name", hint="set TMPDIR to /tmp")
        log = self._log()
        words = openssh.master_words(self._target, socket, log)
        self._master = await self._near.open(Command(words, env=self._askpass()))
        try:
            async with asyncio.timeout(self._target.connect_timeout + 5.0):
                said = await self._master.stdout.receive()
        except TimeoutError:
            said = b""
        if openssh.READY not in said:
            raise self._failure(log)
        self._socket = socket

    async def _shared_connection(self) -> str | None:
        """The connection that the user shares already, if one lives."""
        config = openssh.parse_config(await self._ask(openssh.config_words(self._target)))
        path = openssh.own_master(config)
        if path is None or not os.path.exists(path):  # noqa: ASYNC240 - a name in a local directory
            return None
        process = await self._near.open(Command(openssh.check_words(self._target, path)))
        try:
            return path if await process.wait() == 0 else None
        finally:
            await process.aclose()

    async def _ask(self, words: list[str]) -> str:
        process = await self._near.open(Command(words))
        try:
            return (await process.stdout.read()).decode("utf-8", "replace")
        finally:
            await process.aclose()

    async def _open_session(self) -> None:
        token = new_token()
        process = await self._channel(pack.start_line(token).decode())
        session = Session(process, token, self.name)
        try:
            await session.start(pack.archive(), token=self._token)
        except NoPython:
            self._server = False
            await process.aclose()
        except BaseException:
            await session.aclose()
            raise
        else:
            self._session = session

    def _askpass(self) -> Mapping[str, str] | None:
        """How ssh asks for a secret without a terminal: a helper that prints a file, which no command line holds."""
        if self._secret is None:
            return None
        assert self._home is not None  # noqa: S101 - made by deploy
        helper = Path(self._home, "askpass")
        if not helper.exists():
            helper.write_text('#!/bin/sh\nexec cat -- "$WARMSHELL_SECRET_FILE"\n')
            helper.chmod(0o700)
        return {
            "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force",
            "WARMSHELL_SECRET_FILE": os.path.abspath(self._secret),
        }  # fmt: skip

    def _log(self) -> str:
        assert self._home is not None  # noqa: S101 - made by deploy
        return os.path.join(self._home, f"l{next(self._numbers)}")

    def _failure(self, log: str) -> ConnectError:
        text = Path(log).read_text(errors="replace") if os.path.exists(log) else ""
        error = openssh.cause(text, self._target.host, self.name)
        vars(error)["busy"] = openssh.is_busy(text)
        return error

    # -- opening ----------------------------------------------------------------------------------------------------

    async def _channel(self, text: str) -> Process:
        """A process of the login shell that runs this line."""
        words = openssh.channel_words(self._target, self._socket, self._log(), text)
        return await self._near.open(Command(words, env=self._askpass()))

    async def open(self, command: Command) -> Process:
        if command.pty:
            raise LocationError("pty=True is not available over SSH yet", location=self.name)
        await self._connect()
        tag = f"{self._token}.p{next(self._numbers)}"
        reader = line.reader_words()
        if command.user is not None:
            reader = [b"sudo", b"-n", b"-u", os.fsencode(command.user), b"--", *reader]
        process = await self._channel("exec " + quote_all(reader).decode("utf-8", "surrogateescape"))
        env = {**(command.env_only or {}), **(command.env or {})}
        spoken = line.line(command.argv, command.script, env, tag.encode())
        with contextlib.suppress(BrokenPipeError):
            await process.stdin.send(spoken)
        return SshProcess(process, self, tag)

    async def end_tagged(self, tag: str, grace: float) -> None:
        """End everything at the far end that carries a tag."""
        with contextlib.suppress(ConnectError):
            if self._session is not None and self._session.lost is None:
                await self._session.ask("end_tagged", tag=tag, grace=grace)
                return
            process = await self._channel("exec sh -c " + quote_all([_end_script(tag, grace)]).decode())
            try:
                await process.wait()
            finally:
                await process.aclose()

    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        await self._connect()
        name = f"{shell.split(maxsplit=1)[0].rsplit('/', maxsplit=1)[-1]}-{next(self._numbers)}"
        kind = dialect(shell)
        lane: Lane
        if self._session is not None:
            lane = ServerLane(name, kind, self.name, self._session, shell, blank=blank)
        else:
            tag = f"{self._token}.m{next(self._numbers)}"

            async def open_shell() -> Process:
                words = [*([b"env", b"-i"] if blank else []), *kind.argv]
                text = f"export WARMSHELL_COMMAND={tag}.0;exec " if not blank else "exec "
                process = await self._channel(
                    "exec sh -c " + quote_all([text.encode() + quote_all(words)]).decode("utf-8", "surrogateescape")
                )
                return SshProcess(process, self, tag)

            lane = MarkerLane(name, kind, self.name, tag.encode(), b"", open_shell)
        await lane.start()
        return lane

    def room(self) -> int:
        return _ROOM


class SshProcess(Process):
    """A process at the far end: the streams of an ssh client, and the means to end what the client only lets go."""

    def __init__(self, near: Process, connector: SshConnector, tag: str) -> None:
        self._near = near
        self._connector = connector
        self._tag = tag
        self._ended = False
        self.stdin: ByteSendStream = near.stdin
        self.stdout: ByteReceiveStream = near.stdout
        self.stderr: ByteReceiveStream = near.stderr

    async def wait(self) -> int:
        status = await self._near.wait()
        self._ended = True
        return status

    async def kill(self, grace: float = 1.0) -> None:
        await self._connector.end_tagged(self._tag, grace)
        await self._near.kill(0.0)
        self._ended = True

    async def aclose(self) -> None:
        if not self._ended:
            await self.kill()
        await self._near.aclose()


def _end_script(tag: str, grace: float) -> bytes:
    """A script that ends what carries a tag, where there is ``/proc`` and no Python."""
    return (
        b'f() { for p in $(grep -l "WARMSHELL_COMMAND=%s" /proc/[0-9]*/environ 2>/dev/null); do p=${p#/proc/};'
        b" p=${p%%/environ}; [ $p = $$ ] || kill -$1 $p 2>/dev/null; done; }; f TERM; f CONT; n=%d;"
        b" while [ $n -gt 0 ] && f 0 && grep -q WARMSHELL_COMMAND=%s /proc/[0-9]*/environ 2>/dev/null;"
        b" do sleep 1; n=$((n-1)); done; f KILL"
    ) % (tag.encode(), max(0, round(grace)), tag.encode())


def _short_directory() -> str:
    """A directory for sockets: names of sockets must be short."""
    given = tempfile.gettempdir()
    return given if len(given) < 40 else "/tmp"  # noqa: S108 - the directory made in it is for this user only


def make(url: str, options: dict[str, Any]) -> SshConnector:
    """The connector for ``ssh://user@host:port`` and options.

    Raises:
        LocationError: there is no host in the URL.
    """
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise LocationError(f"bad location {url!r}: {error}") from None
    if not host or host.startswith("-"):
        raise LocationError(f"no host in {url!r}", hint="write ssh://user@host:port")
    # hostname is in lower case: aliases of the configuration need not be.
    written = parts.netloc.rpartition("@")[2]
    host = written.partition(":")[0] if host == written.partition(":")[0].lower() else host
    target = openssh.Target(
        host=host,
        user=unquote(parts.username) if parts.username else options.get("username"),
        port=port,
        config=options.get("config"),
        identity=options.get("sshKey"),
        jump=options.get("tunnel"),
        check_host_key=options.get("checkHostKey", True),
        connect_timeout=options.get("connectTimeout", 30.0),
        asks=bool(options.get("passwordFile") or options.get("sshKeyPassphraseFile")),
    )
    return SshConnector(
        target,
        shell=options.get("shell", "sh"),
        retries=options.get("retries", 6),
        retry_delay=options.get("retryDelay", 0.2),
        server=options.get("server", True),
        secret=options.get("passwordFile") or options.get("sshKeyPassphraseFile"),
    )
