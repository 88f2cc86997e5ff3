"""Services of Compose files, by ``docker compose``, at any location where that is."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from warmshell.connector.base import Member
from warmshell.connector.compose_words import (
    IGNORED,
    ComposeOptions,
    Container,
    compose_words,
    containers,
    docker_words,
    down_words,
    labels,
    project,
    up_words,
)
from warmshell.connector.docker_daemon import ASK_SECONDS, Daemon, hint, said
from warmshell.connector.docker_words import exec_by
from warmshell.connector.owner import this_client
from warmshell.connector.wrapped import WrappedPlace
from warmshell.connector.wrapper import ConnectorWrapper
from warmshell.errors import CommandTimeout, ConnectError, LocationError, WarmshellError
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.command import Result
    from warmshell.location import Location

_log = logging.getLogger(__name__)
_LAST = 3  # lines of a container's log that are passed on


class ComposeConnector(ConnectorWrapper[ComposeOptions]):
    """The services of Compose files: every container of each is a location.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        **options: those of :class:`~warmshell.connector.compose_words.ComposeOptions` and of
            :class:`~warmshell.connector.wrapper.ConnectorWrapper`; the connector is the one at whose location
            ``docker`` is.
    """

    config: ClassVar[type[Any]] = ComposeOptions

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **options)
        self._words: list[str] = []
        self._program_length = 0
        self._project = ""
        self._services: list[str] = []
        self._is_up = False

    # -- life -------------------------------------------------------------------------------------------------------

    async def bring_up(self, external: bool) -> None:
        await super().bring_up(external)
        for name in IGNORED:
            if getattr(self.options, name):
                _log.warning("%s: %s has no meaning for Compose version 2", self.deployment_name, name)
        location = await self._around()
        await self._read(location)
        if external:
            if not [each for each in await self._containers() if each.state == "running"]:
                raise ConnectError(f"no service of the project {self._project!r} runs", location=self.deployment_name,
                                   hint="without external it is brought up")  # fmt: skip
            return
        await self._sweep(self._daemon(location))
        self._is_up = True
        try:
            await self._up(location)
        except BaseException:
            await shielded(self._down())
            raise

    async def take_down(self, external: bool) -> None:
        try:
            await self._down()
        finally:
            await super().take_down(external)

    async def _around(self) -> Location:
        return await self.connector.location(await self.one_around())

    async def _read(self, location: Location) -> None:
        """Learn the project's name and its services; errors in its files are told here."""
        program = await self._program(location)
        files = self._files(local=(await self.one_around()).local)
        self._words, self._program_length = compose_words(self.options, program, files), len(program)
        result = await self._compose(location, "config", "--format=json")
        if not result.ok:
            raise self._failed(result, "the Compose files cannot be used")
        try:
            self._project, self._services = project(result.text)
        except ValueError as error:
            raise self._failed(result, f"Compose does not say what is in its files ({error})") from None

    def _files(self, *, local: bool) -> list[str]:
        """The names of the files; on this machine relative ones begin where the deployment file is."""
        if not local:
            return self.options.files
        return [os.path.join(self.config_dir or "", os.path.expanduser(name)) for name in self.options.files]

    async def _program(self, location: Location) -> list[str]:
        """The words of Compose: docker's plugin, or the program of its own."""
        docker = docker_words(self.options)
        for words in ([*docker, "compose"], ["docker-compose"]):
            try:
                result = await location.run([*words, "version", "--short"], timeout=ASK_SECONDS)
            except (WarmshellError, OSError):
                continue
            if result.ok and not result.text.strip().startswith("1."):
                return words
        raise ConnectError(
            f"there is neither '{docker[0]} compose' nor a docker-compose of version 2", location=self.deployment_name,
            hint="install Compose version 2, the plugin docker-compose",
        )  # fmt: skip

    async def _compose(
        self, location: Location, *words: str, stdin: bytes | None = None, seconds: float = ASK_SECONDS,
        cwd: str | None = None,
    ) -> Result:  # fmt: skip
        extra = ["--file=-"] if stdin is not None else []
        # A docker-compose of its own takes no --host.
        env = {} if self.options.host is None else {"DOCKER_HOST": self.options.host}
        try:
            return await location.run([*self._words, *extra, *words], stdin=stdin, timeout=seconds, env=env, cwd=cwd)
        except CommandTimeout:
            raise ConnectError(
                f"'docker compose {words[0]}' did not end within {seconds:g} s", location=self.deployment_name
            ) from None

    def _failed(self, result: Result, what: str, more: str = "") -> ConnectError:
        lines = [line for line in said(result.stderr).splitlines() if line.strip() and not line.startswith(" ")]
        text = "; ".join(line.strip() for line in lines[-_LAST:])
        return ConnectError(
            f"{what} (status {result.returncode}): {text or 'without a word'}{more}",
            command=" ".join(self._words), location=self.deployment_name, hint=hint(text),
        )  # fmt: skip

    async def _sweep(self, daemon: Daemon) -> None:
        """Remove what clients that have ended left; what another one has brought up is not touched.

        Raises:
            ConnectError: another client has this project up.
        """
        for one in await daemon.owned():
            if one.project == self._project and not one.is_left_behind:
                raise ConnectError(
                    f"the project {self._project!r} is up, and belongs to another client ({one.client})",
                    location=self.deployment_name,
                    hint="reach it with external: true, give this one another projectName, or end it with "
                    f"`docker compose --project-name {self._project} down`",
                )
        await daemon.sweep()

    def _daemon(self, location: Location) -> Daemon:
        return Daemon(location, docker_words(self.options), self.deployment_name)

    async def _up(self, location: Location) -> None:
        mine = labels(self._services, this_client())
        words = up_words(self.options)
        result = await self._compose(location, *words, stdin=mine, seconds=self.options.deployTimeout)
        if not result.ok:
            raise self._failed(result, "the services did not come up", await self._ailing(location))

    async def _ailing(self, location: Location) -> str:
        """What is wrong with which containers, and what they said last."""
        found = []
        daemon = self._daemon(location)
        try:
            for each in [one for one in await self._containers() if one.ails][:_LAST]:
                log = await daemon.run("logs", f"--tail={_LAST}", each.name)
                text = said(log.stdout + log.stderr).replace("\n", " | ")
                found.append(f"; {each.name} {each.ails}" + (f", and said last: {text}" if text else ""))
        except WarmshellError:
            pass  # what is known is told
        return "".join(found)

    async def _down(self) -> None:
        if not self._is_up:
            return
        self._is_up = False
        location = await self._around()
        words = down_words(self.options)
        result = await self._compose(location, *words, seconds=self.options.deployTimeout)
        if not result.ok:  # the files may have changed meanwhile: then by the project's name alone
            self._words = [*self._words[: self._program_length], f"--project-name={self._project}"]
            result = await self._compose(location, *words, seconds=self.options.deployTimeout, cwd="/")
        if not result.ok:
            raise self._failed(result, "the services were not taken down")

    # -- what there is ----------------------------------------------------------------------------------------------

    async def _containers(self) -> list[Container]:
        location = await self._around()
        result = await self._compose(location, "ps", "--all", "--format=json")
        if not result.ok:
            raise self._failed(result, "Compose does not say which containers there are")
        try:
            return containers(result.text)
        except ValueError as error:
            raise self._failed(result, f"Compose does not say which containers there are ({error})") from None

    async def places(self, service: str | None = None) -> Sequence[Member]:
        if service is not None and service not in self._services:
            raise LocationError(f"{self.deployment_name}: there is no service {service!r}",
                                hint="it has " + (", ".join(self._services) or "none"))  # fmt: skip
        around, found = await asyncio.gather(self.one_around(), self._containers())
        return [
            Member(each.name, functools.partial(self._place, each.name, around.name), hostname=each.name,
                   service=each.service, wraps=self.seen(around))
            for each in found if each.state == "running" and service in (None, each.service)
        ]  # fmt: skip

    def _place(self, name: str, around: str) -> WrappedPlace:
        return self.inside(name, around, exec_by(docker_words(self.options), name))
