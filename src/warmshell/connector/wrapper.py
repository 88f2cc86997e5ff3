"""Connectors that are reached through another one: they build words, which are opened at the other's locations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from warmshell.connector.available import AvailableLocation
from warmshell.connector.base import TRANSFER_BUFFER, Connector, Member
from warmshell.connector.local_connector import LocalConnector
from warmshell.errors import CommandTimeout, ConnectError, LocationError

if TYPE_CHECKING:
    from warmshell.command import Result
    from warmshell.connector.place import Place
    from warmshell.location import Location
    from warmshell.shell.shells import Limits

ACT_SECONDS = 600.0
_SAID = 400  # bytes of a program's complaint that are passed on


class Through:
    """A location of another connector as the place around a wrapped one; it stays the other's to close.

    Args:
        connector: the other one.
        name: the location's name there.
    """

    def __init__(self, connector: Connector, name: str) -> None:
        self._connector = connector
        self._name = name

    async def enter(self) -> Place:
        return (await self._connector.location(self._name)).place

    async def leave(self) -> None:
        """The other connector closes it."""


class ConnectorWrapper(Connector):
    """A deployment inside another one.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        connector: the one that it is reached through; this machine by default. It is somebody else's to deploy.
        service: the service of that one whose locations are used.
        transfer_buffer_size: bytes of one piece of a stream.
        shell: the shell for isolated commands.
        limits: how many warm shells a location has, and for how long.
    """

    def __init__(
        self, deployment_name: str, config_dir: str | None = None, *, connector: Connector | None = None,
        service: str | None = None, transfer_buffer_size: int = TRANSFER_BUFFER, shell: str = "sh",
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            deployment_name, config_dir, transfer_buffer_size=transfer_buffer_size, shell=shell, limits=limits
        )
        self._own = LocalConnector(f"{deployment_name}: this machine", config_dir) if connector is None else None
        self.connector: Connector = connector or self._own or LocalConnector()
        self.service = service

    async def bring_up(self, external: bool) -> None:
        del external
        if self._own is not None:
            await self._own.deploy()

    async def take_down(self, external: bool) -> None:
        del external
        if self._own is not None:
            await self._own.undeploy()

    async def around(self) -> Sequence[Member]:
        """The locations that those of this deployment can be in."""
        return await self.connector.places(self.service)

    async def one_around(self) -> Member:
        """The only one.

        Raises:
            LocationError: there are several, or none.
        """
        members = await self.around()
        if len(members) != 1:
            names = ", ".join(member.name for member in members) or "none"
            raise LocationError(
                f"{self.deployment_name}: has to wrap one location, not {len(members)} ({names})",
                hint="give it a deployment, or a service of one, that has one location",
            )
        return members[0]

    def seen(self, member: Member) -> AvailableLocation:
        """A location around one of these, as far as is known without asking it."""
        return AvailableLocation(
            name=member.name, deployment=self.connector.deployment_name, hostname=member.hostname or member.name,
            service=member.service, slots=member.slots or 1, local=member.local, wraps=member.wraps,
        )  # fmt: skip

    async def act(self, member: Member, what: str | Sequence[str], doing: str, seconds: float = ACT_SECONDS) -> Result:
        """Run what belongs to the life of this deployment at a location around it.

        Args:
            member: where.
            what: words, or a script.
            doing: what it does, for errors.
            seconds: how long it may take.

        Raises:
            ConnectError: it failed; it says what the program said.
        """
        location = await self.connector.location(member)
        return await self.checked(location, what, doing, seconds)

    async def checked(self, location: Location, what: str | Sequence[str], doing: str, seconds: float) -> Result:
        """The same at a location that is known."""
        options: dict[str, Any] = {"timeout": seconds}
        try:
            result = await location.run(what if isinstance(what, str) else list(what), **options)
        except CommandTimeout:
            raise ConnectError(f"{doing} took more than {seconds:g} s", location=self.deployment_name) from None
        if not result.ok:
            said = (result.stderr or result.stdout).decode("utf-8", "replace").strip()[-_SAID:]
            raise ConnectError(
                f"{doing} failed with status {result.returncode}" + (f": {said}" if said else ""),
                command=str(result.command), location=self.deployment_name,
            )  # fmt: skip
        return result
