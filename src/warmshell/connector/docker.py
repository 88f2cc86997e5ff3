"""Containers of Docker or Podman, by their command line, at any location where that is."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from warmshell.command import Command
from warmshell.connector.docker_daemon import Daemon, hint, said
from warmshell.connector.docker_words import (
    DockerOptions,
    base_words,
    exec_wrap,
    run_environment,
    run_words,
)
from warmshell.connector.kept import Kept, KeptConnector, greeted
from warmshell.connector.owner import this_client
from warmshell.connector.wrapped import WrappedPlace
from warmshell.errors import ConnectError, LocationError, WarmshellError

if TYPE_CHECKING:
    from warmshell.location import Location
    from warmshell.process import Process

_END_SECONDS = 10.0  # for a container to end with its input
_PAUSE = 0.2  # seconds between two looks at a container that tells nothing by itself


class DockerConnector(KeptConnector[DockerOptions]):
    """Containers that are made from an image, or that run already.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        **options: those of :class:`~warmshell.connector.docker_words.DockerOptions` and of
            :class:`~warmshell.connector.wrapper.ConnectorWrapper`; the connector is the one at whose location
            ``docker`` is.

    Raises:
        LocationError: neither an image nor containers are given, or both.
    """

    config: ClassVar[type[Any]] = DockerOptions
    kind: ClassVar[str] = "container"

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **options)
        given = self.options
        sources = [given.image or given.containerId, given.containers]
        if sources.count(None) != 1:
            raise LocationError(
                f"{deployment_name}: give either image, to make containers from, or containers, which run already"
            )

    # -- life -------------------------------------------------------------------------------------------------------

    def running(self, external: bool) -> Sequence[str] | None:
        if self.options.containers is not None:
            return self.options.containers
        if external and self.options.containerId is not None:
            return [self.options.containerId]
        if external or self.options.image is None:
            raise LocationError(
                f"{self.deployment_name}: an external deployment names its containers, and only that has a containerId"
            )
        return None

    async def sweep(self, location: Location) -> None:
        await self._daemon(location).sweep()

    def held(self) -> dict[str, Any]:
        if not self.started:
            return {}
        return {"image": None, "containerId": None, "containers": [each.name for each in self.started]}

    def names(self) -> list[str]:
        return self.numbered(self.options.name or f"warm-{secrets.token_hex(6)}")

    async def launch(self, location: Location, name: str) -> None:
        hello = secrets.token_hex(8)
        words = run_words(self.options, name, this_client(), hello)
        process = await location.place.open(Command(words, env=run_environment(self.options)))
        self.keep(name, process)
        if self.options.command is not None:
            await self._runs(location, name, process, words)
        elif not await greeted(process, hello):
            raise await self._not_started(process, words)

    async def _runs(self, location: Location, name: str, process: Process, words: Sequence[str]) -> None:
        """Wait until a container that greets nobody runs."""
        ended = asyncio.ensure_future(process.wait())
        try:
            while not await self._is_running(location, name):
                if ended.done():
                    raise await self._not_started(process, words)
                await asyncio.wait([ended], timeout=_PAUSE)
        finally:
            ended.cancel()

    async def _not_started(self, process: Process, words: Sequence[str]) -> ConnectError:
        status = await process.wait()
        await process.stderr.settled()
        text = said(process.stderr.rest())
        return ConnectError(
            f"no container could be started (status {status}): {text or 'without a word'}",
            command=" ".join(words[:8]) + " …", location=self.deployment_name, hint=hint(text),
        )  # fmt: skip

    async def end(self, kept: Kept) -> None:
        """A container ends with its input; one that does not is removed."""
        process = kept.process
        try:
            with contextlib.suppress(WarmshellError, OSError):
                await process.stdin.aclose()
            if self.options.command is None and self.options.rm:
                with contextlib.suppress(TimeoutError, WarmshellError):
                    async with asyncio.timeout(_END_SECONDS):
                        await process.wait()
                        return
            location = await self.connector.location(await self.one_around())
            await self._daemon(location).run("rm", "--force", kept.name)
        finally:
            await process.aclose()

    # -- what there is ----------------------------------------------------------------------------------------------

    def _daemon(self, location: Location) -> Daemon:
        return Daemon(location, base_words(self.options), self.deployment_name)

    async def _inspect(self, location: Location, name: str, template: str) -> str | None:
        daemon = self._daemon(location)
        result = await daemon.run("inspect", "--type=container", f"--format={template}", "--", name)
        if result.ok:
            return result.text.strip()
        if b"no such" in result.stderr.lower():
            return None
        raise daemon.silent(result)

    async def _is_running(self, location: Location, name: str) -> bool:
        return await self._inspect(location, name, "{{.State.Running}}") == "true"

    async def check_running(self, location: Location, name: str) -> None:
        state = await self._inspect(location, name, "{{.State.Status}}")
        if state is None:
            raise ConnectError(f"there is no container {name!r}", location=self.deployment_name,
                               hint=f"`{self.options.program} ps --all` lists those that there are")  # fmt: skip
        if state != "running":
            raise ConnectError(f"the container {name!r} does not run: it is {state}", location=self.deployment_name,
                               hint=f"`{self.options.program} start {name}` starts it")  # fmt: skip

    def place(self, name: str, around: str) -> WrappedPlace:
        return self.inside(name, around, exec_wrap(self.options, name, ours=not self.found))


class PodmanConnector(DockerConnector):
    """The same by ``podman``, which takes the same words.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        **options: those of :class:`DockerConnector`.
    """

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **{"program": "podman", **options})
