"""What deploys each deployment once, after what it wraps, and takes all of them down in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from warmshell.connector.options import arguments
from warmshell.deployment import types
from warmshell.deployment.file import Deployment, DeploymentFile
from warmshell.deployment.future import FutureConnector
from warmshell.deployment.typed import Problem, check, fields_of
from warmshell.errors import ClosedError, LocationError
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.connector.base import Connector

_log = logging.getLogger(__name__)


class Managed:
    """A deployment that somebody has asked for.

    Args:
        deployment: the deployment.
        connector: what manages it, as others see it.
    """

    def __init__(self, deployment: Deployment, connector: FutureConnector) -> None:
        self.deployment = deployment
        self.connector = connector
        self.ending: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether it is deployed."""
        return self.connector.inner.state == "deployed"


class DeploymentManager:
    """The connectors of a file's deployments.

    Used as an asynchronous context manager: those that are not lazy are deployed when it is entered, all that were
    deployed are taken down when it is left, whatever has happened meanwhile.

    Args:
        deployments: those there are: a file, or deployments made by hand.
        directory: where relative names of files begin; that of the file by default.
        held: what another process has deployed: by name, the options by which it is reached as an external one.
    """

    def __init__(
        self, deployments: DeploymentFile | Iterable[Deployment], directory: str | None = None, *,
        held: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self._held = held or {}
        self._file = deployments if isinstance(deployments, DeploymentFile) else None
        self._given: Mapping[str, Deployment] = (
            {} if isinstance(deployments, DeploymentFile) else {each.name: each for each in deployments}
        )
        self._directory = directory if self._file is None or directory is not None else self._file.directory
        self._managed: dict[str, Managed] = {}
        self._closed = False

    @property
    def names(self) -> list[str]:
        """The names of all deployments."""
        return list(self._given) if self._file is None else self._file.names

    def deployment(self, name: str) -> Deployment:
        """A deployment.

        Raises:
            LocationError: there is none of this name, or something is wrong with it.
        """
        if self._file is not None:
            found = self._file.deployment(name)
        elif name in self._given:
            found = self._given[name]
        else:
            raise LocationError(f"there is no deployment {name!r}", hint="there are " + ", ".join(self._given))
        if name not in self._held:
            return found
        return replace(found, external=True, config={**found.config, **self._held[name]})

    # -- connectors -------------------------------------------------------------------------------------------------

    def connector(self, name: str) -> Connector:
        """The connector of a deployment, always the same one. Nothing is deployed until it is used.

        Raises:
            LocationError: there is none of this name, or something is wrong with it or what it wraps.
            ClosedError: the manager is closed.
        """
        if self._closed:
            raise ClosedError("the deployments were taken down")
        return self._get(name, ()).connector

    def _get(self, name: str, inside: tuple[str, ...]) -> Managed:
        if name in inside:
            raise LocationError(f"{name!r} wraps itself: " + " in ".join([*inside, name]))
        if name not in self._managed:
            deployment = self.deployment(name)
            inner = self._make(deployment, (*inside, name))
            future = FutureConnector(inner, lambda: self._ready(name), lambda: self.undeploy(name))
            self._managed[name] = Managed(deployment, future)
        return self._managed[name]

    def _make(self, deployment: Deployment, inside: tuple[str, ...]) -> Connector:
        kind: Any = types.connector_class(deployment.type)
        options = types.options_class(deployment.type)
        if options is not None and (problems := check(dict(deployment.config), options)):
            raise LocationError(f"{deployment.name}: {_words(problems[0])}", hint=problems[0].hint)
        config = arguments(dict(deployment.config))
        if deployment.workdir is not None and options is not None and "cwd" in fields_of(options):
            config.setdefault("cwd", deployment.workdir)
        if deployment.wraps is not None:
            if not types.can_wrap(deployment.type):
                raise LocationError(f"{deployment.name}: a deployment of type {deployment.type!r} wraps no other")
            config["connector"] = self._get(deployment.wraps.deployment, inside).connector
            config["service"] = deployment.wraps.service
        try:
            made: Connector = kind(deployment.name, self._directory, **config)
        except TypeError as error:  # an option that only the connector knows not to have
            raise LocationError(f"{deployment.name}: {error}") from error
        return made

    # -- life -------------------------------------------------------------------------------------------------------

    async def deploy(self, name: str) -> Connector:
        """Deploy one now, after what it wraps; nothing if it is deployed.

        Raises:
            WarmshellError: it cannot be deployed. Every caller who waits is told; a later attempt may succeed.
        """
        connector = self.connector(name)
        await self._ready(name)
        return connector

    async def _ready(self, name: str) -> None:
        managed = self._managed[name]
        if managed.is_up:  # also while those inside of it are taken down, which may need it for that
            return
        if self._closed:
            raise ClosedError("the deployments were taken down", location=name)
        if managed.deployment.wraps is not None:
            await self._ready(managed.deployment.wraps.deployment)
        await managed.connector.inner.deploy(managed.deployment.external)

    async def undeploy(self, name: str) -> None:
        """Take one down, after all that wrap it; nothing if it is not deployed. It may be deployed again.

        Within bounds, and not interrupted by a cancellation, which is raised afterwards.

        Raises:
            WarmshellError: something could not be taken down; what it wraps was, all the same.
        """
        if name not in self._managed:
            self.deployment(name)
            return
        await shielded(self._outcome(self._end(name)))

    def _end(self, name: str) -> asyncio.Task[None]:
        managed = self._managed[name]
        if managed.ending is None:
            managed.ending = asyncio.ensure_future(self._undeploy(managed))
        return managed.ending

    async def _undeploy(self, managed: Managed) -> None:
        name = managed.deployment.name
        outer = [other for other, each in self._managed.items() if _wraps(each.deployment, name)]
        problems: list[BaseException] = []
        try:
            if outer:
                ended = await asyncio.gather(*map(self._end, outer), return_exceptions=True)
                problems += [problem for problem in ended if isinstance(problem, BaseException)]
            await managed.connector.inner.undeploy(managed.deployment.external)
        except Exception as error:  # noqa: BLE001 - told below, after all else is taken down
            problems.append(error)
        finally:
            managed.ending = None
        for problem in problems[1:]:
            _log.warning("%s: it could not be taken down: %s", name, problem)
        if problems:
            raise problems[0]

    @staticmethod
    async def _outcome(task: asyncio.Task[None]) -> None:
        await asyncio.wait([task])
        task.result()

    async def aclose(self) -> None:
        """Take all down, those that wrap others first. Nothing can be deployed any more.

        Raises:
            WarmshellError: something could not be taken down; the others were.
        """
        self._closed = True
        await shielded(self._end_all())

    async def _end_all(self) -> None:
        ends = [self._end(name) for name in self._managed]
        ended = await asyncio.gather(*ends, return_exceptions=True)
        problems = list(dict.fromkeys(problem for problem in ended if isinstance(problem, BaseException)))
        for problem in problems[1:]:
            _log.warning("a deployment could not be taken down: %s", problem)
        if problems:
            raise problems[0]

    async def __aenter__(self) -> Self:
        try:
            for name in self._eager():
                await self.deploy(name)
        except BaseException:
            await self.aclose()
            raise
        return self

    def _eager(self) -> list[str]:
        """Those that are not lazy; what is wrong with one is told to whoever uses it."""
        found: list[str] = []
        for name in self.names:
            with contextlib.suppress(LocationError):
                found += [] if self.deployment(name).lazy else [name]
        return found

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def managed(self) -> Mapping[str, Managed]:
        """Those that somebody has asked for, by name."""
        return self._managed


def _wraps(deployment: Deployment, name: str) -> bool:
    return deployment.wraps is not None and deployment.wraps.deployment == name


def _words(problem: Problem) -> str:
    where = ".".join(str(step) for step in (problem.path[:-1] if problem.at_key else problem.path))
    return f"{where}: {problem.message}" if where else problem.message
