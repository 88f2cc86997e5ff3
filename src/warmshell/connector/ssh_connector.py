"""SSH hosts as a deployment: several nodes, each a location."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from warmshell.connector.base import TRANSFER_BUFFER, Connector, Member
from warmshell.connector.options import Count, Options, Positive, Seconds
from warmshell.connector.ssh_config import HOST, SESSIONS, Host, checked
from warmshell.errors import LocationError

if TYPE_CHECKING:
    from warmshell.shell.shells import Limits


@dataclass(frozen=True, kw_only=True)
class HostOptions:
    """How to get into a host.

    Attributes:
        config: another configuration file of the ssh client
        username: the account
        sshKey: the file with the private key
        sshKeyPassphraseFile: a file with its passphrase
        passwordFile: a file with a password
        checkHostKey: whether the host's key must be known (true)
        connectTimeout: seconds to connect in (30)
        tunnel: a host to go through
    """

    config: str | None = None
    username: str | None = None
    sshKey: str | None = None  # noqa: N815 - these are the published names
    sshKeyPassphraseFile: str | None = None  # noqa: N815
    passwordFile: str | None = None  # noqa: N815
    checkHostKey: bool | None = None  # noqa: N815
    connectTimeout: Seconds | None = None  # noqa: N815
    tunnel: str | NodeOptions | None = None


@dataclass(frozen=True, kw_only=True)
class NodeOptions(HostOptions):
    """A host.

    Attributes:
        hostname: its name or alias, or name:port
    """

    hostname: str


@dataclass(frozen=True, kw_only=True)
class SshOptions(HostOptions, Options):
    """Hosts reached by SSH.

    Attributes:
        nodes: the hosts, each a name or an object with options of its own
        services: files with templates for jobs, by name of the service
        file: the file with the template for jobs of no service
        dataTransferConnection: a host through which data is moved
        sharedPaths: directories that all nodes share
        retries: how often a host that turns connections away is asked again (6)
        retryDelay: seconds before the first of these (0.2)
        maxConcurrentSessions: sessions that a connection may carry
        maxConnections: connections that there may be
        server: whether to use the session server where there is a Python (true)
        cwd: the directory in which commands run by default
        transport: what connects; openssh by default
    """

    nodes: list[str | NodeOptions]
    services: dict[str, str] | None = None
    file: str | None = None
    dataTransferConnection: str | NodeOptions | None = None  # noqa: N815
    sharedPaths: list[str] | None = None  # noqa: N815
    retries: Count | None = None
    retryDelay: Seconds | None = None  # noqa: N815
    maxConcurrentSessions: Positive | None = None  # noqa: N815
    maxConnections: Positive | None = None  # noqa: N815
    server: bool | None = None
    cwd: str | None = None
    transport: Literal["openssh", "asyncssh"] | None = None


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

    config: ClassVar[type] = SshOptions

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
