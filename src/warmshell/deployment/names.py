"""Names of deployments in the place of URLs: ``NAME``, or ``NAME/LOCATION`` where there are several locations."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from warmshell.connector.place import Place
from warmshell.connector.registry import common, is_url, known_schemes
from warmshell.deployment.file import DEFAULT_NAME, DeploymentFile, find
from warmshell.deployment.holder import held
from warmshell.deployment.manager import DeploymentManager
from warmshell.errors import ConnectError, LocationError
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.command import Command
    from warmshell.fileops.asked import Ask
    from warmshell.location import Location
    from warmshell.process import Process
    from warmshell.shell.lane import Lane
    from warmshell.shell.session import Session

_Key = tuple[asyncio.AbstractEventLoop, str]


class Shared:
    """The managers that are in use, one for each file: what it names is deployed once, however many use it."""

    def __init__(self) -> None:
        self._used: dict[_Key, tuple[DeploymentManager, int]] = {}

    async def take(self, file: DeploymentFile) -> DeploymentManager:
        """The manager for a file; to be given back. What another process holds is only reached."""
        key = self._key(file)
        there = {} if key in self._used else await held(file.path)
        manager, users = self._used.get(key) or (DeploymentManager(file, held=there), 0)
        self._used[key] = manager, users + 1
        return manager

    async def give_back(self, file: DeploymentFile) -> None:
        """It is not used any more: the last one who says so takes down what was deployed."""
        key = self._key(file)
        manager, users = self._used[key]
        if users > 1:
            self._used[key] = manager, users - 1
            return
        del self._used[key]
        await manager.aclose()

    @staticmethod
    def _key(file: DeploymentFile) -> _Key:
        return asyncio.get_running_loop(), os.path.abspath(file.path)


_SHARED = Shared()
_WARM = ("shell", "shells", "idle", "age")
"""Options of deployments that a location is told when it is made."""


class DeployedPlace(Place):
    """A location of a deployment of a file: deployed, if it is not, and let go together with all others.

    Args:
        file: the file.
        name: ``NAME`` or ``NAME/LOCATION``.

    Raises:
        LocationError: there is no such deployment, or something is wrong with it.
    """

    def __init__(self, file: DeploymentFile, name: str) -> None:
        self.name = name
        self._file = file
        self._deployment, _, self._location = name.partition("/")
        file.deployment(self._deployment)
        self._manager: DeploymentManager | None = None
        self._inner: Place | None = None

    @property
    def inner(self) -> Place:
        """What reaches the location.

        Raises:
            ConnectError: it is not connected.
        """
        if self._inner is None:
            raise ConnectError("the location is not connected", location=self.name, hint="use 'async with'")
        return self._inner

    async def connect(self) -> None:
        self._manager = await _SHARED.take(self._file)
        try:
            connector = await self._manager.deploy(self._deployment)
            where = self._location or await self._only(await connector.places())
            self._inner = (await connector.location(where)).place
        except BaseException:
            await shielded(self.aclose())
            raise

    async def _only(self, members: Any) -> str:
        names = [member.name for member in members]
        if len(names) != 1:
            there = ", ".join(f"{self.name}/{name}" for name in names) or "none"
            raise LocationError(f"{self.name!r} has {len(names)} locations", hint=f"name one: {there}")
        return str(names[0])

    async def aclose(self) -> None:
        manager, self._manager, self._inner = self._manager, None, None
        if manager is not None:
            await _SHARED.give_back(self._file)

    # -- what the location can do, by what reaches it ---------------------------------------------------------------

    @property
    def itself(self) -> Place:
        return self.inner.itself

    async def surroundings(self) -> Location | None:
        return await self.inner.surroundings()

    @property
    def framing(self) -> str:
        return "markers" if self._inner is None else self._inner.framing

    @property
    def session(self) -> Session | None:
        return None if self._inner is None else self._inner.session

    @property
    def lanes(self) -> int | None:
        return None if self._inner is None else self._inner.lanes

    async def reopen(self, line: bytes) -> Process:
        return await self.inner.reopen(line)

    async def open(self, command: Command) -> Process:
        return await self.inner.open(command)

    async def open_bulk(self, command: Command) -> Process:
        return await self.inner.open_bulk(command)

    def words_to(self) -> list[str]:
        return self.inner.words_to()

    async def end_tagged(self, tag: str, session: int, grace: float) -> bool:
        return await self.inner.end_tagged(tag, session, grace)

    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        return await self.inner.lane(shell, blank=blank)

    def asking(self) -> Ask | None:
        return self.inner.asking()

    def room(self) -> int:
        return self.inner.room()


def named(where: str, options: dict[str, Any], given: str | None = None) -> tuple[DeployedPlace, dict[str, Any]]:
    """The place for the name of a deployment, and the options that are the location's own.

    Args:
        where: ``NAME`` or ``NAME/LOCATION``.
        options: those of the location.
        given: the deployment file; the usual one by default.

    Raises:
        LocationError: there is no such file, or no such deployment in it, or something is wrong with it.
    """
    path = find(given)
    if path is None:
        raise LocationError(
            f"unknown location {where!r}",
            hint=f"a location is a URL of a kind known here ({known_schemes()}), or a name of {DEFAULT_NAME}, which is "
            "not here",
        )
    file = DeploymentFile(path)
    place = DeployedPlace(file, where)
    config = file.deployment(where.partition("/")[0]).config
    own = {name: config[name] for name in _WARM if config.get(name) is not None}
    return place, {**own, **common(options, where)}


async def each_location(stack: AsyncExitStack, where: str) -> list[str]:
    """The names of all locations that a name means: those of its deployment, which stays deployed as long as the stack.

    Args:
        stack: lets go of the deployment.
        where: ``NAME``, ``NAME/LOCATION``, or a URL, which means itself.

    Raises:
        WarmshellError: the deployment cannot be deployed.
    """
    path = None if is_url(where) or "/" in where else find()
    if path is None:
        return [where]
    file = DeploymentFile(path)
    file.deployment(where)
    manager = await _SHARED.take(file)
    stack.push_async_callback(_SHARED.give_back, file)
    members = await manager.connector(where).places()
    return [where] if len(members) == 1 else [f"{where}/{member.name}" for member in members]
