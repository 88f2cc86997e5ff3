"""Occam: containers on the nodes of a facility, by its programs ``occam-run``, ``occam-exec`` and ``occam-kill``."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from warmshell.connector.base import Connector, Member
from warmshell.connector.command import Template
from warmshell.connector.wrapped import WrappedPlace
from warmshell.connector.wrapper import ACT_SECONDS, ConnectorWrapper, InsideOptions
from warmshell.errors import ConnectError, LocationError
from warmshell.protocol.quoting import quote
from warmshell.shield import shielded

HOST = "occam.c3s.unito.it"
_NODE = "node22"
_OPTIONS = {"stdin": "-i", "jobidFile": "-c", "shmSize": "-s", "volumes": "-v", "x11": "-x"}
_SERVICE = {"image", "command", "nodes", "workdir", *_OPTIONS}


@dataclass(frozen=True, kw_only=True)
class OccamOptions(InsideOptions):
    """Containers of the Occam facility.

    Attributes:
        file: the description of the services, in YAML: by name, their image, command, nodes, workdir, volumes, shmSize,
            stdin, jobidFile, x11
        hostname: the front end, where the deployment wraps no other
        username: the account there
        sshKey: the file with the private key
        sshKeyPassphraseFile: a file with its passphrase
        containers: names of containers that run already, for an external deployment
    """

    file: str | None = None
    hostname: str = HOST
    username: str | None = None
    sshKey: str | None = None  # noqa: N815 - these are the published names
    sshKeyPassphraseFile: str | None = None  # noqa: N815
    containers: list[str] | None = None


class OccamConnector(ConnectorWrapper[OccamOptions]):
    """Containers of the services of a file, one for each of their nodes; each is a location.

    Without a deployment to wrap, it is reached by SSH.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        connector: the front end.
        **options: those of :class:`OccamOptions` and of :class:`~warmshell.connector.wrapper.ConnectorWrapper`.

    Raises:
        LocationError: the description cannot be read.
    """

    config: ClassVar[type[Any]] = OccamOptions

    def __init__(
        self, deployment_name: str, config_dir: str | None = None, *, connector: Connector | None = None, **options: Any
    ) -> None:
        self._front = None if connector is not None else _front(deployment_name, config_dir, OccamOptions(**options))
        super().__init__(deployment_name, config_dir, connector=connector or self._front, **options)
        self._template = Template(["occam-exec", "{location}"], "exec")
        self._services = self._description()
        self._containers: list[tuple[str | None, str]] = []

    def _description(self) -> dict[str, Mapping[str, Any]]:
        from warmshell.marked_yaml import read

        if self.options.file is None:
            return {}
        path = os.path.join(self.config_dir or "", os.path.expanduser(self.options.file))
        try:
            with open(path, encoding="utf-8") as file:
                found = read(file.read(), path).value
        except (OSError, UnicodeDecodeError) as error:
            raise LocationError(f"{self.deployment_name}: {path!r} cannot be read: {error}") from error
        for name, service in found.items() if isinstance(found, dict) else [("", found)]:
            if not isinstance(service, dict) or not isinstance(service.get("image"), str):
                raise LocationError(f"{path}: {name}: a service has an image")
            if unknown := set(service) - _SERVICE:
                raise LocationError(f"{path}: {name}: has no {min(map(str, unknown))!r}")
        return found or {}

    # -- life -------------------------------------------------------------------------------------------------------

    async def bring_up(self, external: bool) -> None:
        await super().bring_up(external)
        if self._front is not None:
            await self._front.deploy()
        self._containers = [(None, name) for name in self.options.containers or ()] if external else []
        if external:
            return
        try:
            for name, service in self._services.items():
                nodes = service.get("nodes") or [_NODE]
                await asyncio.gather(*[self._run(name, service, str(node)) for node in nodes])
        except BaseException:
            await shielded(self._kill())
            raise

    async def _run(self, name: str, service: Mapping[str, Any], node: str) -> None:
        words = run_words(service, node)
        script = " ".join(quote(os.fsencode(word)).decode("utf-8", "surrogateescape") for word in words)
        if service.get("workdir") is not None:
            script = f"cd {quote(os.fsencode(str(service['workdir']))).decode()} && {script}"
        result = await self.act(await self.one_around(), script, f"occam-run of {name!r} on {node}")
        started = re.search(rf"\b{re.escape(node)}-[0-9]+", result.text)
        if started is None:
            raise ConnectError(f"occam-run of {name!r} names no container of {node}: {result.text.strip()[-200:]}",
                               location=self.deployment_name)  # fmt: skip
        self._containers.append((name, started[0]))

    async def take_down(self, external: bool) -> None:
        try:
            if not external:
                await self._kill()
        finally:
            if self._front is not None:
                await self._front.undeploy()
            await super().take_down(external)

    async def _kill(self) -> None:
        containers, self._containers = self._containers, []
        if not containers:
            return
        around = await self.one_around()
        await asyncio.gather(
            *[self.act(around, ["occam-kill", name], f"occam-kill {name}", ACT_SECONDS / 10) for _, name in containers]
        )

    def held(self) -> dict[str, Any]:
        return {"containers": [name for _, name in self._containers]}

    # -- locations --------------------------------------------------------------------------------------------------

    async def places(self, service: str | None = None) -> Sequence[Member]:
        if service is not None and service not in self._services:
            known = ", ".join(self._services) or "none"
            raise LocationError(f"{self.deployment_name}: there is no service {service!r}", hint=f"it has {known}")
        around = await self.one_around()
        return [
            Member(name, partial(self._place, name, around.name), hostname=name.rpartition("-")[0],
                   service=of, wraps=self.seen(around))
            for of, name in self._containers if service in (None, of)
        ]  # fmt: skip

    def _place(self, name: str, around: str) -> WrappedPlace:
        return self.inside(name, around, self._template.wrap(name))


def run_words(service: Mapping[str, Any], node: str) -> list[str]:
    """The words that start a container of a service on a node."""
    words = ["occam-run", "-n", node]
    for name, flag in _OPTIONS.items():
        value = service.get(name)
        if value is True:
            words.append(flag)
        elif isinstance(value, list):
            words += [word for item in value for word in (flag, str(item))]
        elif value is not None and value is not False:
            words += [flag, str(value)]
    command = service.get("command") or []
    return [*words, service["image"], *([command] if isinstance(command, str) else map(str, command))]


def _front(name: str, config_dir: str | None, options: OccamOptions) -> Connector:
    from warmshell.connector.ssh_connector import SshConnector

    given = {key: getattr(options, key) for key in ("username", "sshKey", "sshKeyPassphraseFile")}
    return SshConnector(
        f"{name}: front end", config_dir, nodes=[options.hostname],
        **{key: value for key, value in given.items() if value is not None},
    )  # fmt: skip
