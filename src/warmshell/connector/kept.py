"""Locations that are each kept alive by a process which the client holds: they end with it, whatever becomes of it."""

from __future__ import annotations

import asyncio
import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from warmshell.connector.base import Member
from warmshell.connector.options import Positive
from warmshell.connector.wrapped import WrappedPlace
from warmshell.connector.wrapper import ConnectorWrapper, DeployOptions
from warmshell.errors import ConnectError, LocationError
from warmshell.shield import all_ended, shielded

if TYPE_CHECKING:
    from warmshell.location import Location
    from warmshell.process import Process


@dataclass(frozen=True, kw_only=True)
class KeptOptions(DeployOptions):
    """The options of deployments that start several of a kind.

    Attributes:
        count: how many
    """

    count: Positive = 1


KeptT = TypeVar("KeptT", bound=KeptOptions)


@dataclass
class Kept:
    """One that this client has started.

    Attributes:
        name: what it is called.
        process: what stays with it at this end.
        runs: whether it has been seen running.
    """

    name: str
    process: Process
    runs: bool = False


class KeptConnector(ConnectorWrapper[KeptT]):
    """Locations of one kind: started for this deployment, or such as run already and are only used.

    Attributes:
        kind: what a location is, for messages.
        started: those that were started.
        found: the names of those that are only used.
    """

    kind: ClassVar[str]

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **options)
        self.started: list[Kept] = []
        self.found: list[str] = []

    # -- what a connector of one kind says --------------------------------------------------------------------------

    async def prepare(self, location: Location) -> None:
        """Find out what has to be known of the location around; nothing, by default."""

    @abstractmethod
    def running(self, external: bool) -> Sequence[str] | None:
        """The names of those that are only to be used; ``None``: some are to be started.

        Raises:
            LocationError: it is external and names none.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """What those that are to be started are called."""

    @abstractmethod
    async def check_running(self, location: Location, name: str) -> None:
        """See whether one that is only to be used runs.

        Raises:
            ConnectError: it does not.
        """

    @abstractmethod
    async def sweep(self, location: Location) -> None:
        """End what clients of this machine that have ended left behind."""

    @abstractmethod
    async def launch(self, location: Location, name: str) -> None:
        """Start one: :meth:`keep` what stays with it, and wait until it runs."""

    @abstractmethod
    async def end(self, kept: Kept) -> None:
        """End one that was started, in whatever state it is, and close what stays with it."""

    @abstractmethod
    def place(self, name: str, around: str) -> WrappedPlace:
        """What reaches one."""

    # -- life -------------------------------------------------------------------------------------------------------

    async def bring_up(self, external: bool) -> None:
        await super().bring_up(external)
        location = await self.connector.location(await self.one_around())
        await self.prepare(location)
        running = self.running(external)
        if running is not None:
            for name in running:
                await self.check_running(location, name)
            self.found = list(running)
            return
        await self.sweep(location)
        seconds = self.options.deployTimeout
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*[self.launch(location, name) for name in self.names()])
        except TimeoutError:
            await shielded(self._end_all())
            raise ConnectError(
                f"the {self.kind}s did not start within {seconds:g} s", location=self.deployment_name
            ) from None
        except BaseException:
            await shielded(self._end_all())
            raise

    async def take_down(self, external: bool) -> None:
        self.found = []
        try:
            await self._end_all()
        finally:
            await super().take_down(external)

    async def _end_all(self) -> None:
        started, self.started = self.started, []
        await all_ended([self.end(kept) for kept in started])

    def keep(self, name: str, process: Process) -> Kept:
        """One is being started, and this process stays with it."""
        kept = Kept(name, process)
        self.started.append(kept)
        return kept

    def numbered(self, name: str) -> list[str]:
        """As many names as there are to be locations."""
        count = self.options.count
        return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]

    # -- locations --------------------------------------------------------------------------------------------------

    async def places(self, service: str | None = None) -> Sequence[Member]:
        if service is not None:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise LocationError(
                f"{self.deployment_name}: there is no service {service!r}: {article} {self.kind} has none"
            )
        around = await self.one_around()
        return [
            Member(
                name, functools.partial(self.place, name, around.name), hostname=self.hostname(name, around),
                wraps=self.seen(around),
            )
            for name in self.found or [kept.name for kept in self.started]
        ]  # fmt: skip

    def hostname(self, name: str, around: Member) -> str | None:
        """What the host is called that one is on, as far as is known without asking it."""
        del around
        return name


async def greeted(process: Process, hello: str) -> bool:
    """Wait until a process says what it was told to say; False if it ends without."""
    said, word = b"", hello.encode()
    while data := await process.stdout.receive():
        said += data
        if word in said:
            return True
        said = said[-len(word) :]
    return False
