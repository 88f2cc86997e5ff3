"""Connections by asyncssh instead of the OpenSSH client: for machines that have none, in the same process.

Of the user's configuration holds what asyncssh reads of it; there are no shared connections, and host keys are checked
whatever ``StrictHostKeyChecking`` says.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import asyncssh

from warmshell.connector import openssh
from warmshell.connector.ssh_asyncssh_session import Session, SessionProcess
from warmshell.connector.ssh_link import Connection, Link, SshChannel, _Full, _Gone
from warmshell.errors import AuthenticationError, ConnectError
from warmshell.process import Process
from warmshell.shield import shielded

_REFUSED = (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, asyncssh.OPEN_CONNECT_FAILED, asyncssh.OPEN_RESOURCE_SHORTAGE)
_KNOWN = {
    "UserKnownHostsFile": ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"],
    "GlobalKnownHostsFile": ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"],
}


class Client(asyncssh.SSHClient):
    """What asyncssh tells of a connection."""

    lost = False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - that it ended is all that matters
        self.lost = True


class AsyncsshConnection(Connection):
    """A connection, and those that it goes through.

    Args:
        client: knows whether it is lost.
        hops: all of them, the nearest first.
    """

    def __init__(self, client: Client, hops: Sequence[asyncssh.SSHClientConnection]) -> None:
        super().__init__("", None)
        self.client = client
        self.ssh = hops[-1]
        self._ending = asyncio.ensure_future(self._end(hops))

    async def _end(self, hops: Sequence[asyncssh.SSHClientConnection]) -> None:
        await self.ssh.wait_closed()
        self.alive = False
        await _close(hops[:-1])

    async def cut(self) -> None:
        self.alive = False
        self.ssh.abort()

    async def aclose(self) -> None:
        self.alive = False
        self.ssh.close()
        await self._ending


async def _close(hops: Sequence[asyncssh.SSHClientConnection]) -> None:
    for hop in reversed(hops):
        hop.abort()
        await hop.wait_closed()


class AsyncsshLink(Link):
    """All connections to one host, made by asyncssh."""

    async def prepare(self) -> None:
        identity = self._target.identity
        if identity is not None and not os.path.exists(os.path.expanduser(identity)):  # noqa: ASYNC240 - a local name
            raise AuthenticationError(f"there is no private key {identity!r}", location=self._target.name)

    async def _log_in(self) -> Connection:
        hops: list[asyncssh.SSHClientConnection] = []
        way = _Way(self._target, self._secrets, hops)
        try:
            async with asyncio.timeout(self._target.connect_timeout):
                await way.go()
            return AsyncsshConnection(way.client, hops)
        except (asyncssh.Error, OSError, ValueError) as error:
            await shielded(_close(hops))
            raise way.cause(error) from error
        except BaseException:
            await shielded(_close(hops))
            raise

    async def _session(self, connection: Connection, line: str, log: str, terminal: bool) -> Process:  # noqa: ARG002
        assert isinstance(connection, AsyncsshConnection)  # noqa: S101 - for the type checker
        asked = asyncio.ensure_future(
            connection.ssh.create_session(
                Session,
                line,
                encoding=None,
                request_pty="force" if terminal else False,
                x11_forwarding=False,
                subsystem=None,
            )
        )
        try:
            async with asyncio.timeout(self._target.connect_timeout):
                _, session = await asyncio.shield(asked)
        except BaseException as error:
            asked.add_done_callback(_abandon)  # a session that nobody wants any more would be kept
            if isinstance(error, asyncssh.Error | OSError):
                raise self._no_session(connection, error) from error
            raise
        assert isinstance(session, Session)  # noqa: S101 - for the type checker
        return SessionProcess(session)

    def _no_session(self, connection: AsyncsshConnection, error: Exception) -> ConnectError:
        name = self._target.name
        if isinstance(error, TimeoutError):
            return openssh.cause("timed out", self._target.host, name)
        if isinstance(error, asyncssh.ChannelOpenError) and not connection.client.lost:
            if error.code in _REFUSED:
                return _Full("the host takes no more sessions", location=name, hint="its MaxSessions is low")
            return ConnectError(f"{self._target.host}: {error.reason}", location=name)
        return _Gone("the connection to the host has ended", location=name)

    def _refused(self, said: str, channel: SshChannel) -> ConnectError:  # noqa: ARG002 - there are no messages of a client
        name = self._target.name
        if isinstance(channel.process, SessionProcess) and channel.process.lost:
            return _Gone("the connection to the host has ended", location=name)
        lines = channel.process.stderr.rest().decode("utf-8", "replace").strip().splitlines()
        why = lines[-1] if lines else "it has said nothing"
        return ConnectError(f"{self._target.host}: the far login shell ended: {why}", location=name)


def _abandon(asked: asyncio.Task[tuple[Any, Any]]) -> None:
    if not asked.cancelled() and asked.exception() is None:
        asked.result()[0].abort()


class _Way:
    """The way to a host, over others where the configuration or the caller says so.

    Args:
        target: the host.
        secrets: the files with the password and the passphrase.
        hops: where connections are kept as they are made.

    Attributes:
        client: of the last connection.
    """

    def __init__(
        self, target: openssh.Target, secrets: tuple[str | None, str | None], hops: list[asyncssh.SSHClientConnection]
    ) -> None:
        self._target = target
        self._secrets = secrets
        self._hops = hops
        self._config = {} if target.config is None else {"config": _files(target.config)}
        self._host = target.host
        self.client = Client()
        self._known: tuple[asyncssh.SSHKnownHosts, str, int] | None = None

    async def go(self) -> None:
        """Connect, and let the connections be kept."""
        target = self._target
        password, passphrase = (path and _secret(path) for path in self._secrets)
        more: dict[str, Any] = {"password": password, "passphrase": passphrase}
        if target.identity is not None:
            more |= {"client_keys": _files(target.identity), "agent_path": None}
        if not target.check_host_key:
            more["known_hosts"] = None
        await self._hop(target.host, target.user, target.port, target.jump, more)

    async def _through(self, jumps: str) -> None:
        *earlier, last = [jump.strip().removeprefix("ssh://") for jump in jumps.split(",")]
        user, _, host = last.rpartition("@")
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit() or host.endswith("]"):
            name, port = host, ""
        passphrase = self._secrets[1]
        more = {} if passphrase is None else {"passphrase": _secret(passphrase), "ignore_encrypted": True}
        await self._hop(name.strip("[]"), user or None, int(port) if port else None, ",".join(earlier) or None, more)

    async def _hop(self, host: str, user: str | None, port: int | None, jump: str | None, more: dict[str, Any]) -> None:
        where: dict[str, Any] = {"host": host, "port": port or (), "username": user or (), **self._config}
        plan = asyncssh.SSHClientConnectionOptions(**where, client_keys=None)
        jumps = jump or plan.tunnel
        if isinstance(jumps, str):
            await self._through(jumps)
        self._host = host
        if "known_hosts" not in more:
            known = _known_hosts(plan)
            self._known = known, str(plan.config.get("HostKeyAlias") or plan.host), plan.port
            more = {**more, "known_hosts": known}
        if "Ciphers" not in plan.config.get_options(False):
            more = {**more, "encryption_algs": f"^{openssh.GCM}"}
        connection, client = await asyncssh.create_connection(
            Client, **where, **more, tunnel=self._hops[-1] if self._hops else (), connect_timeout=None,
            login_timeout=0, keepalive_interval=self._target.alive, keepalive_count_max=3,
        )  # fmt: skip
        assert isinstance(client, Client)  # noqa: S101 - for the type checker
        self.client = client
        self._hops.append(connection)

    def cause(self, error: Exception) -> ConnectError:
        """What an error on the way means."""
        said = self._said(error)
        cause = openssh.cause(said, self._host, self._target.name)
        vars(cause)["busy"] = openssh.is_busy(said)
        return cause

    def _said(self, error: Exception) -> str:
        """What the OpenSSH client would have said."""
        if isinstance(error, asyncssh.HostKeyNotVerifiable) or "host key" in str(error):
            changed = self._known is not None and any(self._known[0].match(self._known[1], "", self._known[2])[:3])
            return "REMOTE HOST IDENTIFICATION HAS CHANGED" if changed else "Host key verification failed"
        if isinstance(error, asyncssh.KeyImportError) and re.search("assphrase|decrypt", str(error)):
            return "incorrect passphrase"
        return next((said for kind, said in _SAID if isinstance(error, kind)), str(error))


_SAID: tuple[tuple[type[Exception], str], ...] = (
    (asyncssh.PermissionDenied, "Permission denied"),
    (asyncssh.KeyExchangeFailed, "Unable to negotiate"),
    (asyncssh.KeyEncryptionError, "incorrect passphrase"),
    (asyncssh.KeyImportError, "Load key: invalid format"),
    (asyncssh.ConfigParseError, "Bad configuration option"),
    (asyncssh.ConnectionLost, "Connection closed by the host"),
    (socket.gaierror, "Could not resolve hostname"),
    (FileNotFoundError, "Can't open user configuration file"),
    (PermissionError, "Can't open user configuration file"),
    (ConnectionRefusedError, "Connection refused"),
    (ConnectionError, "Connection reset by the host"),
    (TimeoutError, "timed out"),
)


def _files(path: str) -> list[str]:
    return [] if path == "none" else [os.path.expanduser(path)]


def _secret(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")


def _known_hosts(plan: asyncssh.SSHClientConnectionOptions) -> asyncssh.SSHKnownHosts:
    """The keys that the configuration's files hold; unlike asyncssh's own choice, ``none`` means none."""
    names: list[str] = []
    for option, usual in _KNOWN.items():
        names += cast("list[str]", plan.config.get(option, usual))
    return asyncssh.read_known_hosts([path for name in names if os.access(path := os.path.expanduser(name), os.R_OK)])
