"""Manifests: the objects that files ask for, and what each is told by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from warmshell import marked_yaml
from warmshell.errors import LocationError

LABEL = "warmshell.client"
"""The label of objects that belong to a client: which one, so that what a dead one left can be told."""


class Ref(NamedTuple):
    """What an object is told by.

    Attributes:
        version: its ``apiVersion``.
        kind: its kind.
        namespace: where it is; of kinds that are in none, ``None``.
        name: its name.
    """

    version: str
    kind: str
    namespace: str | None
    name: str

    def __str__(self) -> str:
        where = "" if self.namespace is None else f" in the namespace {self.namespace!r}"
        return f"{self.kind} {self.name!r}{where}"


def ref_of(found: Mapping[str, Any]) -> Ref:
    """What tells an object that an API server has, or that has been read from a file."""
    metadata = found["metadata"]
    return Ref(found["apiVersion"], found["kind"], metadata.get("namespace"), metadata["name"])


def read(files: Sequence[str], directory: str | None) -> list[dict[str, Any]]:
    """The objects of some files, in order; of each file all documents, and all items of lists.

    Args:
        files: their names.
        directory: where relative ones begin.

    Raises:
        LocationError: a file cannot be read, or holds something else.
    """
    found: list[dict[str, Any]] = []
    for file in files:
        path = os.path.join(directory or "", os.path.expanduser(file))
        try:
            with open(path, encoding="utf-8") as text:
                documents = marked_yaml.documents(text.read(), path)
        except (OSError, UnicodeDecodeError) as error:
            raise LocationError(f"the manifests {path!r} cannot be read: {error}") from None
        for document in documents:
            where = f"{path}:{document.where(()).line}"
            found += _objects(document.value, where)
    if files and not found:
        raise LocationError(f"there are no objects in {', '.join(files)}")
    return found


def _objects(value: object, where: str) -> Iterator[dict[str, Any]]:
    if value is None:
        return
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or not value.get("apiVersion"):
        raise LocationError(f"{where}: no object of Kubernetes: apiVersion and kind are asked for")
    if value["kind"].endswith("List") and isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _objects(item, where)
        return
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise LocationError(f"{where}: the {value['kind']} has no metadata.name",
                            hint="generateName will not do: it would be another object each time")  # fmt: skip
    yield value


def labelled(wanted: Mapping[str, Any], client: str | None, namespace: str | None) -> dict[str, Any]:
    """The object as it is asked for: with the label of a client, in its namespace, without what servers say."""
    metadata = {key: value for key, value in wanted["metadata"].items() if key != "managedFields"}
    if client is not None:
        metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: client}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {**{key: value for key, value in wanted.items() if key != "status"}, "metadata": metadata}


def client_of(found: Mapping[str, Any]) -> str | None:
    """The client that an object belongs to."""
    client = (found["metadata"].get("labels") or {}).get(LABEL)
    return None if client is None else str(client)
