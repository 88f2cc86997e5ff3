"""The words of ``kubectl``, where everything goes by it: at another location, or because it was asked for."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from warmshell.connector.kubernetes.cluster import MANAGER, unknown_kind
from warmshell.connector.kubernetes.manifests import Ref
from warmshell.connector.place import Place
from warmshell.connector.wrapped import Wrap
from warmshell.errors import ConnectError


def base_words(program: str, kubeconfig: str | None, context: str | None) -> list[str]:
    """What every call begins with."""
    words = [program]
    if kubeconfig is not None:
        words.append(f"--kubeconfig={kubeconfig}")
    if context is not None:
        words.append(f"--context={context}")
    return words


def exec_wrap(base: Sequence[str], namespace: str | None, pod: str, container: str | None) -> Wrap:
    """What makes the words that run others inside of a container."""
    words = [*base, "exec", "--stdin", "--quiet", pod]
    if namespace is not None:
        words.insert(len(base), f"--namespace={namespace}")
    if container is not None:
        words.append(f"--container={container}")
    start = [os.fsencode(word) for word in [*words, "--"]]
    return lambda inside: [*start, *inside]


class KubectlCluster:
    """A cluster by ``kubectl``.

    Args:
        base: what every call begins with.
        run: runs words where the program is; fails as what they say.
        reach: makes what reaches a container.
        namespace: the namespace that is meant where none is named.
    """

    def __init__(self, base: Sequence[str], run: Run, reach: Reach, namespace: str) -> None:
        self._base = list(base)
        self._run = run
        self._reach = reach
        self._namespace = namespace
        self._kinds: dict[tuple[str, str], bool] = {}

    @property
    def namespace(self) -> str:
        return self._namespace

    async def _ask(self, words: Sequence[str], data: bytes | None = None) -> Any:
        text = await self._run([*self._base, *words], data)
        try:
            return json.loads(text) if text.strip() else None
        except ValueError:
            raise ConnectError(f"kubectl tells no JSON, but {text.strip()[:200]!r}", command=" ".join(words)) from None

    async def is_in_namespace(self, version: str, kind: str) -> bool:
        if (version, kind) not in self._kinds:
            group = version.rpartition("/")[0]
            text = await self._run([*self._base, "api-resources", f"--api-group={group}", "--no-headers"], None)
            for line in text.splitlines():
                *_, in_namespace, name = line.split()  # the last two in each version of the program
                self._kinds[version, name] = in_namespace == "true"
        if (version, kind) not in self._kinds:
            raise unknown_kind(version, kind)
        return self._kinds[version, kind]

    async def get(self, ref: Ref) -> dict[str, Any] | None:
        words = [
            "get",
            kind_word(ref.version, ref.kind),
            ref.name,
            *_within(ref),
            "--ignore-not-found",
            "--output=json",
        ]
        found: dict[str, Any] | None = await self._ask(words)
        return found

    async def apply(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        words = ["apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}", "--filename=-"]
        made: dict[str, Any] = await self._ask([*words, "--output=json"], json.dumps(wanted).encode())
        return made

    async def delete(self, ref: Ref) -> None:
        kind = kind_word(ref.version, ref.kind)
        words = ["delete", kind, ref.name, *_within(ref), "--ignore-not-found", "--wait=false"]
        await self._run([*self._base, *words], None)

    async def listed(
        self, version: str, kind: str, namespace: str | None, selector: str | None = None, fields: str | None = None
    ) -> list[dict[str, Any]]:
        words = ["get", kind_word(version, kind), f"--namespace={namespace or self._namespace}", "--output=json"]
        words += [] if selector is None else [f"--selector={selector}"]
        words += [] if fields is None else [f"--field-selector={fields}"]
        found = await self._ask(words)
        return list(found.get("items") or ()) if isinstance(found, Mapping) else []

    async def log(self, namespace: str, pod: str, container: str) -> str:
        words = ["logs", pod, f"--namespace={namespace}", f"--container={container}", "--tail=3"]
        for previous in ("true", "false"):
            with contextlib.suppress(ConnectError):
                if text := (await self._run([*self._base, *words, f"--previous={previous}"], None)).strip():
                    return text
        return ""

    def place(self, name: str, namespace: str, pod: str, container: str) -> Place:
        return self._reach(name, exec_wrap(self._base, namespace, pod, container))


class Run(Protocol):
    """Runs words where ``kubectl`` is."""

    async def __call__(self, words: Sequence[str], data: bytes | None) -> str:
        """What they write.

        Args:
            words: the program's.
            data: what it reads.

        Raises:
            ConnectError: they fail; it says what they said.
        """


class Reach(Protocol):
    """Makes what reaches a container."""

    def __call__(self, name: str, wrap: Wrap) -> Place:
        """The place."""


def kind_word(version: str, kind: str) -> str:
    """A kind as ``kubectl`` takes it, of exactly this version."""
    group, _, number = version.rpartition("/")
    return f"{kind}.{number}.{group}" if group else f"{kind}.{number}."


def _within(ref: Ref) -> list[str]:
    return [] if ref.namespace is None else [f"--namespace={ref.namespace}"]
