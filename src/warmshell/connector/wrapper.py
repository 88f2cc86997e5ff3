"""Connectors that are reached through another one: they build words, which are opened at the other's locations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from warmshell.connector.available import AvailableLocation
from warmshell.connector.base import Connector, Member
from warmshell.connector.batch import REMEDY, BatchConnector, refusal
from warmshell.connector.local_connector import LocalConnector
from warmshell.connector.options import Options, Seconds
from warmshell.connector.wrapped import CONNECT_TIMEOUT, Wrap, WrappedPlace
from warmshell.errors import CommandTimeout, ConnectError, LocationError

if TYPE_CHECKING:
    from warmshell.command import Result
    from warmshell.connector.place import Place
    from warmshell.location import Location
    from warmshell.shell.shells import Limits

ACT_SECONDS = 600.0
OptionsT = TypeVar("OptionsT", bound=Options)
_SAID = 400  # bytes of a program's complaint that are passed on


@dataclass(frozen=True, kw_only=True)
class InsideOptions(Options):
    """The options of every deployment whose locations a program leads into.

    Attributes:
        server: whether to use the session server where there is a Python inside
        cwd: the directory in which commands run by default
        connectTimeout: seconds within which a shell inside has to answer
    """

    server: bool = True
    cwd: str | None = None
    connectTimeout: Seconds = CONNECT_TIMEOUT  # noqa: N815 - as the published names are


@dataclass(frozen=True, kw_only=True)
class DeployOptions(InsideOptions):
    """The same where something is deployed.

    Attributes:
        deployTimeout: seconds that deploying may take, with all that has to be fetched for it
    """

    deployTimeout: Seconds = ACT_SECONDS  # noqa: N815


class Through:
    """A location of another connector as the place around a wrapped one; it stays the other's to close.

    Args:
        connector: the other one.
        name: the location's name there.
    """

    def __init__(self, connector: Connector, name: str) -> None:
        self._connector = connector
        self._name = name

    async def location(self) -> Location:
        return await self._connector.location(self._name)

    async def enter(self) -> Place:
        return (await self.location()).place

    async def leave(self) -> None:
        """The other connector closes it."""


class ConnectorWrapper(Connector, Generic[OptionsT]):
    """A deployment inside another one.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        connector: the one that it is reached through; this machine by default. It is somebody else's to deploy.
        service: the service of that one whose locations are used.
        limits: how many warm shells a location has, and for how long.
        **options: the fields of :attr:`config`.

    Attributes:
        config: the class of the options of deployments of this type.
        keeps_sessions: whether it keeps sessions open at the locations around, so that no queue can be there.
        options: those of this one.

    Raises:
        LocationError: it keeps sessions open, and the connector executes through a queue.
    """

    config: ClassVar[type[Any]] = Options
    keeps_sessions: ClassVar[bool] = True
    options: OptionsT

    def __init__(
        self, deployment_name: str, config_dir: str | None = None, *, connector: Connector | None = None,
        service: str | None = None, limits: Limits | None = None, **options: Any,
    ) -> None:  # fmt: skip
        if self.keeps_sessions and isinstance(connector, BatchConnector):
            raise LocationError(
                f"{deployment_name}: {refusal(deployment_name, connector.deployment_name)}", hint=REMEDY
            )
        self.options = self.config(**options)
        super().__init__(
            deployment_name, config_dir, transfer_buffer_size=self.options.transferBufferSize,
            shell=self.options.shell, limits=limits,
        )  # fmt: skip
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

    def inside(self, name: str, around: str, wrap: Wrap, env: Mapping[str, str] | None = None) -> WrappedPlace:
        """What reaches one location that a program leads into.

        Args:
            name: the location's name.
            around: the name of the one that the program is at.
            wrap: makes the program's words.
            env: variables for the program.
        """
        options = self.options
        if not isinstance(options, InsideOptions):
            return WrappedPlace(name, Through(self.connector, around), wrap, shell=options.shell, env=env)
        return WrappedPlace(
            name, Through(self.connector, around), wrap, shell=options.shell, server=options.server, cwd=options.cwd,
            connect_timeout=options.connectTimeout, env=env,
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
