"""SSH hosts, by the OpenSSH client or asyncssh."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

from warmshell.connector.far.place import FarPlace
from warmshell.connector.local import LocalPlace
from warmshell.connector.openssh import Target
from warmshell.connector.ssh_link import USUAL_SESSIONS, Link, SshChannel, choose
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.shell.detachable import Detach

_SHORT = 40  # bytes of a directory's name in which sockets can have names


class SshPlace(FarPlace):
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
        super().__init__(target.name, shell=shell, server=server, cwd=cwd, detach=detach)
        self._target = target
        self._options: dict[str, Any] = {
            "retries": retries, "delay": retry_delay, "password": password, "passphrase": passphrase,
            "sessions": sessions, "connections": connections,
        }  # fmt: skip
        self._transport = transport
        self._near = LocalPlace(name=f"ssh to {self.name}")
        self._home: str | None = None
        self._link: Link | None = None

    @property
    def reached(self) -> bool:
        return self._link is not None

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

    async def leave(self) -> None:
        if self._link is not None:
            await self._link.aclose()
            self._link = None
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._near.host.remove_directory(self._home)
            self._home = None
        await self._near.aclose()

    @property
    def lanes(self) -> int | None:
        connections: int | None = self._options["connections"]
        if self._session is not None or connections is None:
            return None
        sessions: int = self._options["sessions"] or USUAL_SESSIONS
        return max(1, connections * sessions - 2)  # one is the keeper's, one is left for processes of their own

    @property
    def has_more_channels(self) -> bool:
        return (self._options["connections"], self._options["sessions"]) != (1, 1)

    async def channel(self) -> SshChannel:
        return await self._channel(terminal=False)

    async def terminal(self) -> SshChannel:
        return await self._channel(terminal=True)

    async def _channel(self, *, terminal: bool) -> SshChannel:
        self._check()
        assert self._link is not None  # noqa: S101 - for the type checker
        return await self._link.channel(terminal=terminal)

    def words_to(self) -> list[str]:
        host, port, user = ("", "", "") if self._link is None else self._link.address
        return ["ssh", "-o", "BatchMode=yes", "-p", port, "-l", user, "--", host]

    async def cut(self) -> None:
        if self._link is not None:
            await self._link.cut()


def _short_directory() -> str:
    """A directory for sockets: names of sockets must be short."""
    given = tempfile.gettempdir()
    return given if len(given) < _SHORT else "/tmp"  # noqa: S108 - the directory made in it is for this user only
