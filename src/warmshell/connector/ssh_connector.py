"""SSH hosts as a deployment: several nodes, each a location."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from warmshell.connector.base import TRANSFER_BUFFER, Connector, Member
from warmshell.connector.ssh_config import HOST, SESSIONS, Host, checked
from warmshell.errors import LocationError

if TYPE_CHECKING:
    from warmshell.shell.shells import Limits


class SshConnector(Connector):
    """Hosts that are there already, reached by SSH; nothing is deployed on them.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        nodes: the hosts; each a name (``host``, ``host:port``) or an object with ``hostname`` and options of its own.
        services: templates for jobs by name of the service, each the name of a file.
        file: the template for jobs of no service.
        dataTransferConnection: a host through which data is moved to and from all nodes, as an entry of ``nodes``.
        sharedPaths: directories that all nodes share.
        transferBufferSize: bytes of one piece of a stream.
        shell: the shell for isolated commands.
        limits: how many warm shells a node has, and for how long.
        **options: those of a host, for all nodes that do not say otherwise, and those of its connections;
            ``docs/ssh.md`` lists them.

    Raises:
        LocationError: an option is not known or has a bad value.
    """

    def __init__(
        self, deployment_name: str, config_dir: str | None = None, *, nodes: Sequence[str | Mapping[str, Any]],
        services: Mapping[str, str] | None = None, file: str | None = None,
        dataTransferConnection: str | Mapping[str, Any] | None = None,  # noqa: N803 - as published
        sharedPaths: Sequence[str] | None = None, transferBufferSize: int = TRANSFER_BUFFER,  # noqa: N803
        shell: str = "sh", limits: Limits | None = None, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            deployment_name, config_dir, transfer_buffer_size=transferBufferSize, shell=shell, limits=limits
        )
        given = checked(options, {**HOST, **SESSIONS}, deployment_name)
        hosts = {name: value for name, value in given.items() if name in HOST}
        self._sessions = {name: value for name, value in given.items() if name in SESSIONS}
        self._nodes = _nodes(nodes, hosts, config_dir)
        transfers = dataTransferConnection
        self._transfers = None if transfers is None else Host.of(transfers, hosts, config_dir, "dataTransferConnection")
        self._default = None if file is None else self._read(file)
        self._templates = {name: self._read(path) for name, path in (services or {}).items()}
        self.shared_paths = tuple(sharedPaths or ())

    def _read(self, path: str) -> str:
        name = os.path.join(self.config_dir or "", os.path.expanduser(path))
        try:
            with open(name, encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise LocationError(f"{self.deployment_name}: the template {name!r} cannot be read: {error}") from error

    async def places(self, service: str | None = None) -> Sequence[Member]:
        if service is not None and service not in self._templates:
            known = ", ".join(self._templates) or "none"
            raise LocationError(f"{self.deployment_name}: there is no service {service!r}", hint=f"it has {known}")
        return [self._member(host, service) for host in self._nodes.values()]

    def _member(self, host: Host, service: str | None) -> Member:
        transfers = self._transfers
        return Member(
            host.name, functools.partial(host.place, self._sessions, self._shell, host.name), hostname=host.name,
            service=service,
            transfers=None if transfers is None else functools.partial(transfers.place, self._sessions, self._shell),
        )  # fmt: skip

    def template(self, service: str | None) -> str | None:
        return self._default if service is None else self._templates.get(service, self._default)


def _nodes(given: object, inherited: Mapping[str, Any], base: str | None) -> dict[str, Host]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise LocationError(f"nodes= is a list of hosts, not {given!r}")
    nodes: dict[str, Host] = {}
    for at, entry in enumerate(given):
        host = Host.of(entry, inherited, base, f"nodes[{at}]")
        if host.name in nodes:
            raise LocationError(f"nodes[{at}]: {host.name!r} is there already", hint="locations have different names")
        nodes[host.name] = host
    return nodes
