"""The objects of a cluster: asked for, made, removed; by the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from warmshell.connector.kubernetes.api import Api, Refusal
from warmshell.connector.kubernetes.manifests import Ref
from warmshell.connector.place import Place
from warmshell.errors import ConnectError

MANAGER = "warmshell"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_NOT_FOUND = 404


class Cluster(Protocol):
    """What a deployment does with a cluster."""

    @property
    def namespace(self) -> str:
        """The namespace that is meant where none is named."""

    async def is_in_namespace(self, version: str, kind: str) -> bool:
        """Whether objects of a kind are in namespaces.

        Raises:
            ConnectError: there is no such kind.
        """

    async def get(self, ref: Ref) -> dict[str, Any] | None:
        """An object, or ``None``."""

    async def apply(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Have an object be as it is asked for; what it is now."""

    async def delete(self, ref: Ref) -> None:
        """Have an object go; nothing if it is not there."""

    async def listed(
        self, version: str, kind: str, namespace: str | None, selector: str | None = None, fields: str | None = None
    ) -> list[dict[str, Any]]:
        """The objects of a kind."""

    async def log(self, namespace: str, pod: str, container: str) -> str:
        """The last lines that a container has written, or the one before it that has ended."""

    def place(self, name: str, namespace: str, pod: str, container: str) -> Place:
        """What reaches a container."""


class _Kind(NamedTuple):
    plural: str
    in_namespace: bool


class ApiCluster:
    """A cluster by its API server.

    Args:
        api: its client.
        reach: makes what reaches a container.
        namespace: the namespace that is meant where none is named.
    """

    def __init__(self, api: Api, reach: Reach, namespace: str | None = None) -> None:
        self._api = api
        self._reach = reach
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._namespace = namespace or api.access.namespace

    @property
    def namespace(self) -> str:
        return self._namespace

    async def is_in_namespace(self, version: str, kind: str) -> bool:
        return (await self._kind(version, kind)).in_namespace

    async def _kind(self, version: str, kind: str) -> _Kind:
        """What the server calls a kind: of a version whose kinds are all known once one is asked for."""
        if (version, kind) not in self._kinds:
            try:
                found = await self._api.ask("GET", _root(version))
            except Refusal as error:
                if error.code != _NOT_FOUND:
                    raise
                found = {}
            for each in found.get("resources", ()):
                if "/" not in each["name"]:
                    self._kinds[version, each["kind"]] = _Kind(each["name"], bool(each["namespaced"]))
        if (version, kind) not in self._kinds:
            raise unknown_kind(version, kind)
        return self._kinds[version, kind]

    async def _path(self, version: str, kind: str, namespace: str | None, name: str = "") -> str:
        known = await self._kind(version, kind)
        inside = f"/namespaces/{namespace or self._namespace}" if known.in_namespace else ""
        return f"{_root(version)}{inside}/{known.plural}" + (f"/{name}" if name else "")

    async def get(self, ref: Ref) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._api.ask(
                "GET", await self._path(ref.version, ref.kind, ref.namespace, ref.name)
            )
        except Refusal as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        return found

    async def apply(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        metadata = wanted["metadata"]
        path = await self._path(wanted["apiVersion"], wanted["kind"], metadata.get("namespace"), metadata["name"])
        params = [("fieldManager", MANAGER), ("force", "true")]
        made: dict[str, Any] = await self._api.ask("PATCH", path, params=params, body=wanted, kind=_APPLY)
        return made

    async def delete(self, ref: Ref) -> None:
        path = await self._path(ref.version, ref.kind, ref.namespace, ref.name)
        try:
            await self._api.text("DELETE", path, body={"propagationPolicy": "Background"})
        except Refusal as error:
            if error.code != _NOT_FOUND:
                raise

    async def listed(
        self, version: str, kind: str, namespace: str | None, selector: str | None = None, fields: str | None = None
    ) -> list[dict[str, Any]]:
        given = {"labelSelector": selector, "fieldSelector": fields}
        params = [(name, value) for name, value in given.items() if value is not None]
        found = await self._api.ask("GET", await self._path(version, kind, namespace), params=params)
        return [{"apiVersion": version, "kind": kind, **each} for each in found.get("items") or ()]

    async def log(self, namespace: str, pod: str, container: str) -> str:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        for previous in ("true", "false"):
            try:
                params = [("container", container), ("tailLines", "3"), ("previous", previous)]
                if text := (await self._api.text("GET", path, params=params)).strip():
                    return text
            except Refusal:
                continue
        return ""

    def place(self, name: str, namespace: str, pod: str, container: str) -> Place:
        return self._reach(self._api, name, namespace, pod, container)


class Reach(Protocol):
    """Makes what reaches a container."""

    def __call__(self, api: Api, name: str, namespace: str, pod: str, container: str) -> Place:
        """The place."""


def unknown_kind(version: str, kind: str) -> ConnectError:
    """The error for a kind that a cluster does not have."""
    return ConnectError(f"the cluster knows no {kind} of {version}",
                        hint="check apiVersion and kind; `kubectl api-resources` lists what there is")  # fmt: skip


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
