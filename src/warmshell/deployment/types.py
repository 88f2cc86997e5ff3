"""The types of deployments by name: those that come with Warmshell, and those that others register."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from warmshell.errors import LocationError

if TYPE_CHECKING:
    from warmshell.connector.base import Connector

GROUP = "warmshell.connectors"
"""The group of entry points in which others register: the name is the type, the object a ``Connector`` class."""

_OWN = {
    "local": "warmshell.connector.local_connector:LocalConnector",
    "ssh": "warmshell.connector.ssh_connector:SshConnector",
    "command": "warmshell.connector.command:CommandConnector",
    "docker": "warmshell.connector.docker:DockerConnector",
    "podman": "warmshell.connector.docker:PodmanConnector",
    "docker-compose": "warmshell.connector.compose:ComposeConnector",
    "singularity": "warmshell.connector.singularity:SingularityConnector",
    "apptainer": "warmshell.connector.singularity:ApptainerConnector",
    "kubernetes": "warmshell.connector.kubernetes.connector:KubernetesConnector",
    "helm": "warmshell.connector.helm:HelmConnector",
    "helm3": "warmshell.connector.helm:Helm3Connector",
    "helm4": "warmshell.connector.helm:HelmConnector",
    "occam": "warmshell.connector.occam:OccamConnector",
}


def _others() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def known() -> list[str]:
    """The names of all types."""
    return [*_OWN, *sorted(set(_others()) - set(_OWN))]


def connector_class(name: str) -> type[Connector]:
    """The connector of a type; one that was registered takes the place of ours.

    Raises:
        LocationError: there is no such type, or what is registered for it is no connector.
    """
    from warmshell.connector.base import Connector

    entry = _others().get(name)
    if entry is None and name not in _OWN:
        near = difflib.get_close_matches(name, known(), 1)
        raise LocationError(
            f"there is no type {name!r}", hint=f"is it {near[0]!r}?" if near else "there are " + ", ".join(known())
        )
    try:
        if entry is not None:
            found: object = entry.load()
        else:
            module, _, attribute = _OWN[name].partition(":")
            found = getattr(import_module(module), attribute)
    except Exception as error:
        raise LocationError(f"the connector of type {name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise LocationError(f"what is registered for the type {name!r} is no connector: {found!r}")
    return found


def options_class(name: str) -> type | None:
    """The class of the type's options; ``None`` where its connector checks them itself.

    Raises:
        LocationError: there is no such type.
    """
    found = getattr(connector_class(name), "config", None)
    return found if isinstance(found, type) else None


def can_wrap(name: str) -> bool:
    """Whether deployments of the type can be inside of others.

    Raises:
        LocationError: there is no such type.
    """
    from warmshell.connector.wrapper import ConnectorWrapper

    return issubclass(connector_class(name), ConnectorWrapper)


def excluded(outer: str, inner: str) -> bool:
    """Whether deployments of the one type cannot be inside of those of the other one, which has a queue.

    Raises:
        LocationError: there is no such type.
    """
    from warmshell.connector.batch import BatchConnector

    return issubclass(connector_class(inner), BatchConnector) and getattr(
        connector_class(outer), "keeps_sessions", False
    )
