"""Containers of pods as a deployment: by the API server from here, or by ``kubectl`` at the location around."""

from __future__ import annotations

import asyncio
import collections
import functools
import os
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from warmshell.connector.base import Member
from warmshell.connector.kubernetes import judge, manifests
from warmshell.connector.kubernetes.api import Api
from warmshell.connector.kubernetes.cluster import ApiCluster, Cluster
from warmshell.connector.kubernetes.config import Access, access
from warmshell.connector.kubernetes.kubectl import KubectlCluster, base_words
from warmshell.connector.kubernetes.objects import Objects, Source, pods_of
from warmshell.connector.kubernetes.options import ClusterOptions, KubernetesOptions
from warmshell.connector.kubernetes.place import KubernetesPlace
from warmshell.connector.place import Place
from warmshell.connector.wrapped import Wrap
from warmshell.connector.wrapper import ConnectorWrapper
from warmshell.errors import AuthenticationError, CommandTimeout, ConnectError, LocationError
from warmshell.shield import shielded

_ASK_SECONDS = 60.0
_SAID = 400
ClusterOptionsT = TypeVar("ClusterOptionsT", bound=ClusterOptions)


class _Shared:
    """The connector's client of the API server, for its places."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def enter(self) -> Api:
        return self._api

    async def leave(self) -> None:
        """The connector closes it."""


class PodsConnector(ConnectorWrapper[ClusterOptionsT]):
    """A deployment whose locations are containers of pods.

    A concrete one says :meth:`pods`, and how they come to be there.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        **options: those of :class:`~warmshell.connector.kubernetes.options.ClusterOptions` and of
            :class:`~warmshell.connector.wrapper.ConnectorWrapper`.
    """

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **options)
        program = self.options.kubectl or ("kubectl" if self._own is None else None)
        self._kubectl = program
        self._api: Api | None = None
        self._cluster: Cluster | None = None
        self._seen: tuple[float, Sequence[Mapping[str, Any]]] | None = None

    @property
    def cluster(self) -> Cluster:
        """The cluster, once it has been brought up."""
        assert self._cluster is not None  # noqa: S101 - for the type checker
        return self._cluster

    @abstractmethod
    async def pods(self) -> Sequence[Mapping[str, Any]]:
        """The pods that there are now."""

    # -- life -------------------------------------------------------------------------------------------------------

    async def bring_up(self, external: bool) -> None:
        await super().bring_up(external)
        self._cluster = await (self._by_api() if self._kubectl is None else self._by_kubectl(self._kubectl))

    async def take_down(self, external: bool) -> None:
        self._seen = self._cluster = None
        api, self._api = self._api, None
        try:
            if api is not None:
                await api.aclose()
        finally:
            await super().take_down(external)

    async def _by_api(self) -> Cluster:
        options = self.options
        self._api = Api(self.access(), seconds=options.connectTimeout, connections=options.maxConcurrentConnections,
                        debug=options.debug)  # fmt: skip
        return ApiCluster(self._api, self._reach, options.namespace)

    def access(self) -> Access:
        """Where the API server is, and who asks."""
        options = self.options
        return access(self._near(options.kubeconfig), options.kubeContext, os.environ, in_cluster=options.inCluster)

    def _near(self, file: str | None) -> str | None:
        return None if file is None else os.path.join(self.config_dir or "", os.path.expanduser(file))

    def _reach(self, api: Api, name: str, namespace: str, pod: str, container: str) -> Place:
        options = self.options
        return KubernetesPlace(
            name, _Shared(api), namespace, pod, container, shell=options.shell, use_server=options.server,
            cwd=options.cwd, connect_timeout=options.connectTimeout,
        )  # fmt: skip

    # -- by kubectl -------------------------------------------------------------------------------------------------

    async def _by_kubectl(self, program: str) -> Cluster:
        around = await self.one_around()
        base = base_words(program, self.options.kubeconfig, self.options.kubeContext)

        def reach(name: str, wrap: Wrap) -> Place:
            return self.inside(name, around.name, wrap)

        async def run(words: Sequence[str], data: bytes | None) -> str:
            return await self._say(around, words, data)

        namespace = self.options.namespace
        if namespace is None:
            namespace = await run([*base, "config", "view", "--minify", "--output=jsonpath={..namespace}"], None)
        return KubectlCluster(base, run, reach, namespace.strip() or "default")

    async def _say(self, around: Member, words: Sequence[str], data: bytes | None) -> str:
        return await self.say(around, words, _ASK_SECONDS, stdin=data)

    async def say(self, around: Member, words: Sequence[str], seconds: float, **more: Any) -> str:
        """What words of a program write that knows the cluster.

        Args:
            around: where they are run.
            words: the program's.
            seconds: how long they may take.
            **more: of :meth:`warmshell.Location.run`.

        Raises:
            AuthenticationError: they fail because of who asks.
            ConnectError: they fail; it says what they said.
        """
        location = await self.connector.location(around)
        try:
            result = await location.run(list(words), timeout=seconds, **more)
        except CommandTimeout:
            raise ConnectError(f"{words[0]} has not answered within {seconds:g} s", command=" ".join(words[:3]) + " …",
                               location=self.deployment_name) from None  # fmt: skip
        if result.ok:
            return result.text
        said = result.stderr.decode("utf-8", "replace").strip()[-_SAID:]
        kind = AuthenticationError if re.search(r"Unauthorized|Forbidden|must be logged in", said) else ConnectError
        raise kind(f"{words[0]} fails: {said or 'without a word'}", command=" ".join(words[:3]) + " …",
                   location=self.deployment_name)  # fmt: skip

    # -- locations --------------------------------------------------------------------------------------------------

    async def places(self, service: str | None = None) -> Sequence[Member]:
        pods = await self._recent_pods()
        found = [(pod, name) for pod in pods for name in judge.running_containers(pod)]
        services = list(dict.fromkeys(name for _, name in found))
        if service is not None and service not in services:
            raise LocationError(f"{self.deployment_name}: there is no container {service!r}",
                                hint="there are " + (", ".join(services) or "none"))  # fmt: skip
        around = None if self._kubectl is None else self.seen(await self.one_around())
        names = _names(found)
        return [
            Member(
                name, functools.partial(self._place, name, pod["metadata"]["namespace"], pod["metadata"]["name"], each),
                hostname=pod.get("spec", {}).get("nodeName"), service=each, slots=_slots(pod, each), wraps=around,
            )
            for name, (pod, each) in zip(names, found, strict=True)
            if service in (None, each)
        ]  # fmt: skip

    def _place(self, name: str, namespace: str, pod: str, container: str) -> Place:
        return self.cluster.place(name, namespace, pod, container)

    async def _recent_pods(self) -> Sequence[Mapping[str, Any]]:
        now = asyncio.get_running_loop().time()
        if self._seen is None or now - self._seen[0] >= self.options.same_for:
            self._seen = now, await self.pods()
        return self._seen[1]


class KubernetesConnector(PodsConnector[KubernetesOptions]):
    """Containers of pods: of manifests that are applied, or that are there already.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        **options: those of :class:`~warmshell.connector.kubernetes.options.KubernetesOptions` and of
            :class:`~warmshell.connector.wrapper.ConnectorWrapper`; the connector is the one at whose location
            ``kubectl`` is.

    Raises:
        LocationError: neither files nor a selector are given, or a file holds no manifests.
    """

    config: ClassVar[type[Any]] = KubernetesOptions

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **options)
        if not self.options.files and self.options.selector is None:
            raise LocationError(f"{deployment_name}: give files, the manifests to apply, or selector, the labels of "
                                "pods that run already")  # fmt: skip
        self._wanted = manifests.read(self.options.files or (), config_dir)
        self._objects: Objects | None = None

    async def bring_up(self, external: bool) -> None:
        try:
            await super().bring_up(external)
            self._objects = Objects(self.cluster, self._wanted, self.deployment_name)
            await self._have(self._objects, external)
        except BaseException:
            await shielded(self.take_down(external))
            raise

    async def _have(self, objects: Objects, external: bool) -> None:
        if external:
            await objects.find()
            return
        await objects.apply()
        if self.options.wait:
            await objects.ready(self.options.timeout, self.options.scheduleTimeout)

    async def take_down(self, external: bool) -> None:
        objects, self._objects = self._objects, None
        try:
            if objects is not None:
                await objects.remove()
        finally:
            await super().take_down(external)

    async def pods(self) -> Sequence[Mapping[str, Any]]:
        found = [] if self._objects is None else await self._objects.pods()
        if self.options.selector is not None:
            found += await pods_of(self.cluster, [Source(self.cluster.namespace, selector=self.options.selector)])
        return list({each["metadata"]["uid"]: each for each in found}.values())


def _names(found: Sequence[tuple[Mapping[str, Any], str]]) -> list[str]:
    """A name for each container: its pod's where it is the only one, else with its own."""
    names = []
    for pod, container in found:
        alone = len(pod.get("spec", {}).get("containers") or ()) == 1
        name = pod["metadata"]["name"]
        names.append(name if alone else f"{name}:{container}")
    count = collections.Counter(names)
    return [
        name if count[name] == 1 else f"{pod['metadata']['namespace']}/{name}"
        for name, (pod, _) in zip(names, found, strict=True)
    ]


def _slots(pod: Mapping[str, Any], container: str) -> int | None:
    cores = judge.cores_of(pod, container)
    return None if cores is None else max(1, int(cores))
