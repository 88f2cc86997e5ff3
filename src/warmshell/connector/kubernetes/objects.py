"""The objects that a deployment consists of: made, waited for, removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from warmshell.connector.kubernetes import judge
from warmshell.connector.kubernetes.api import Refusal
from warmshell.connector.kubernetes.cluster import Cluster
from warmshell.connector.kubernetes.manifests import LABEL, Ref, client_of, labelled, ref_of
from warmshell.connector.kubernetes.readiness import Readiness, in_spite_of_a_restart
from warmshell.connector.owner import is_dead, this_client
from warmshell.errors import AuthenticationError, ConnectError, WarmshellError

_log = logging.getLogger(__name__)
_PAUSE, _LONGEST_PAUSE = 0.1, 1.0  # between two looks at what tells nothing by itself
_GONE_SECONDS = 60.0
_SEPARATOR = "."  # a value of a label has no colon


class Source(NamedTuple):
    """Where pods are found: by name, or by labels.

    Attributes:
        namespace: of the pods.
        pod: the name of the only one.
        selector: the labels of all.
    """

    namespace: str
    pod: str | None = None
    selector: str | None = None


class Objects:
    """The objects of one deployment.

    Args:
        cluster: where they are.
        wanted: as their files have them.
        deployment: the name of the deployment, for errors.
    """

    def __init__(self, cluster: Cluster, wanted: Sequence[Mapping[str, Any]], deployment: str) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._deployment = deployment
        self._there: list[dict[str, Any]] = []
        self._made: list[Ref] = []
        self._sources: list[Source] = []

    # -- making -----------------------------------------------------------------------------------------------------

    async def find(self) -> None:
        """Look for all of them, which are there already.

        Raises:
            ConnectError: one is not.
        """
        for wanted in self._wanted:
            ref = await self._ref(wanted)
            found = await self._cluster.get(ref)
            if found is None:
                raise ConnectError(f"there is no {ref}", location=self._deployment,
                                   hint="an external deployment is not created: leave out external=")  # fmt: skip
            self._note(found)

    async def apply(self) -> None:
        """Have the cluster make them, in order; what was there already is brought to what its file says, and stays.

        Raises:
            ConnectError: the cluster does not take one, or cannot be reached.
        """
        await self._sweep()
        for wanted in self._wanted:
            ref = await self._ref(wanted)
            there = await self._settled(ref)
            client = this_client(_SEPARATOR) if there is None else client_of(there)
            if there is None:
                self._made.append(ref)  # before it is asked for: whatever comes of that, it is looked for at the end
            try:
                made = await self._cluster.apply(labelled(wanted, client, ref.namespace))
            except Refusal as error:
                raise ConnectError(f"the {ref} cannot be applied: {error.message}", location=self._deployment,
                                   hint=error.hint) from None  # fmt: skip
            self._note(made)
            if wanted["kind"] == "CustomResourceDefinition":
                await Readiness(self._cluster, [made], self._deployment).come(_GONE_SECONDS, _GONE_SECONDS)

    async def _ref(self, wanted: Mapping[str, Any]) -> Ref:
        ref = ref_of(wanted)
        inside = await self._cluster.is_in_namespace(ref.version, ref.kind)
        return ref._replace(namespace=(ref.namespace or self._cluster.namespace) if inside else None)

    async def _settled(self, ref: Ref) -> dict[str, Any] | None:
        """An object that is there to stay; one that is about to go is waited for."""
        found = await self._cluster.get(ref)
        if found is not None and found["metadata"].get("deletionTimestamp"):
            await gone(self._cluster, [ref], [], self._deployment)
            return None
        return found

    def _note(self, found: dict[str, Any]) -> None:
        self._there.append(found)
        namespace = found["metadata"].get("namespace")
        selector = judge.selector_of(found)
        if found["kind"] == "Pod":
            self._sources.append(Source(namespace, pod=found["metadata"]["name"]))
        elif selector is not None and namespace is not None:
            self._sources.append(Source(namespace, selector=selector))

    async def ready(self, seconds: float, patience: float) -> None:
        """Wait until all are ready.

        Args:
            seconds: how long.
            patience: how long it may be that no node takes a pod.

        Raises:
            ConnectError: something will not be, or is not in time; it says what, and why.
        """
        await Readiness(self._cluster, self._there, self._deployment).come(seconds, patience)

    # -- what there is ----------------------------------------------------------------------------------------------

    async def pods(self) -> list[dict[str, Any]]:
        """The pods that they are, or have made."""
        return await pods_of(self._cluster, self._sources)

    # -- removing ---------------------------------------------------------------------------------------------------

    async def remove(self) -> None:
        """Have all that was made here go, the last first, and wait until it is gone.

        Raises:
            ConnectError: something does not go.
        """
        made, self._made = self._made, []
        sources = [source for source in self._sources if made]
        self._there, self._sources = [], []
        problems: list[WarmshellError] = []
        for ref in reversed(made):
            try:
                await in_spite_of_a_restart(lambda ref=ref: self._cluster.delete(ref))  # type: ignore[misc]
            except WarmshellError as error:
                _log.warning("%s: the %s is not removed: %s", self._deployment, ref, error)
                problems.append(error)
        if problems:
            raise problems[0]
        await gone(self._cluster, made, sources, self._deployment)

    async def _sweep(self) -> None:
        """Remove what clients of this machine that have ended left of the same kinds, in the same namespaces."""
        dead: list[Ref] = []
        for version, kind, namespace in {(ref.version, ref.kind, ref.namespace) for ref in await self._refs()}:
            try:
                found = await self._cluster.listed(version, kind, namespace, LABEL)
            except AuthenticationError:  # who may not list may still make
                continue
            dead += [ref_of(each) for each in found if is_dead(client_of(each) or "", _SEPARATOR)]
        for ref in dead:
            _log.info("%s: the %s was left by a client that has ended; it is removed", self._deployment, ref)
            await self._cluster.delete(ref)
        await gone(self._cluster, dead, [], self._deployment)

    async def _refs(self) -> list[Ref]:
        defined = {
            str(wanted["spec"].get("names", {}).get("kind"))
            for wanted in self._wanted
            if wanted["kind"] == "CustomResourceDefinition"
        }
        return [await self._ref(wanted) for wanted in self._wanted if wanted["kind"] not in defined]


async def pods_of(cluster: Cluster, sources: Sequence[Source]) -> list[dict[str, Any]]:
    """The pods that can be found so, each once."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for source in sources:
        if source.pod is None:
            pods = await cluster.listed("v1", "Pod", source.namespace, source.selector)
        else:
            pod = await cluster.get(Ref("v1", "Pod", source.namespace, source.pod))
            pods = [] if pod is None else [pod]
        found.update({(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in pods})
    return list(found.values())


async def gone(cluster: Cluster, refs: Sequence[Ref], sources: Sequence[Source], deployment: str) -> None:
    """Wait until objects, and pods that can be found so, are gone.

    Args:
        cluster: where they are.
        refs: the objects.
        sources: of the pods.
        deployment: the name of the deployment, for errors.

    Raises:
        ConnectError: one is still there after a minute.
    """
    left = ""
    try:
        async with asyncio.timeout(_GONE_SECONDS):
            pause = _PAUSE
            while left := await in_spite_of_a_restart(lambda: _left(cluster, refs, sources)):
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
    except TimeoutError:
        raise ConnectError(
            f"{left or 'something'} is still there {_GONE_SECONDS:g} s after it was to go", location=deployment,
            hint="look at its finalizers, and at terminationGracePeriodSeconds",
        ) from None  # fmt: skip


async def _left(cluster: Cluster, refs: Sequence[Ref], sources: Sequence[Source]) -> str:
    for ref in refs:
        if await cluster.get(ref) is not None:
            return f"the {ref}"
    for pod in await pods_of(cluster, [source for source in sources if source.selector is not None]):
        return f"the pod {pod['metadata']['name']!r}"
    return ""
