"""Waiting until objects are ready, or will not be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from warmshell.connector.kubernetes import judge
from warmshell.connector.kubernetes.api import Refusal
from warmshell.connector.kubernetes.cluster import Cluster
from warmshell.connector.kubernetes.judge import Verdict
from warmshell.connector.kubernetes.manifests import ref_of
from warmshell.errors import AuthenticationError, ConnectError

_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_SURE_SECONDS = 2.0  # for which something must look as if it would never be ready: a missing object may follow
_BACK_SECONDS = 20.0  # for an API server that is started anew
_SAID = 300
_LAST = "last words: "
T = TypeVar("T")


class Readiness:
    """Objects that are to be ready.

    Args:
        cluster: where they are.
        objects: as the cluster has them.
        deployment: the name of the deployment, for errors.
    """

    def __init__(self, cluster: Cluster, objects: Sequence[Mapping[str, Any]], deployment: str) -> None:
        self._cluster = cluster
        self._objects = objects
        self._deployment = deployment
        self._bad_since: dict[str, float] = {}

    async def come(self, seconds: float, patience: float) -> None:
        """Wait for all of them.

        Args:
            seconds: how long.
            patience: how long it may be that no node takes a pod.

        Raises:
            ConnectError: something will not be ready, or is not in time; it says what, and why.
        """
        waiting: list[Mapping[str, Any]] = list(self._objects)
        last = Verdict("waiting")
        try:
            async with asyncio.timeout(seconds):
                pause = _PAUSE
                while waiting:
                    verdict, pod = await in_spite_of_a_restart(lambda: self._look(waiting[0]))
                    if verdict.state == "ready":
                        waiting.pop(0)
                        continue
                    last = verdict
                    await self._judge(verdict, pod, patience)
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, _LONGEST_PAUSE)
        except TimeoutError:
            raise await self._error(last, None, f"not ready within {seconds:g} s: ") from None

    async def _look(self, wanted: Mapping[str, Any]) -> tuple[Verdict, Mapping[str, Any] | None]:
        """What is to be made of an object, and the pod that it is about."""
        found = await self._cluster.get(ref_of(wanted))
        if found is None:
            return Verdict("failed", f"{judge.title(wanted)} is not there any more"), None
        if found["kind"] == "Pod":
            return judge.of_pod(found), found
        verdict = judge.of_maker(found)
        selector = judge.selector_of(found)
        if selector is None or (verdict == judge.READY and found["kind"] != "Job"):
            return verdict, None
        return await self._look_at_pods(found, selector, verdict)

    async def _look_at_pods(
        self, found: Mapping[str, Any], selector: str, verdict: Verdict
    ) -> tuple[Verdict, Mapping[str, Any] | None]:
        pods = await self._cluster.listed("v1", "Pod", found["metadata"].get("namespace"), selector)
        pods = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        if verdict.state == "failed":
            return verdict, next((pod for pod in pods if judge.crashed_container(pod)), None)
        for pod in pods:
            if pod.get("status", {}).get("phase") == "Failed":
                continue  # there is another one in its place, or will be
            about = judge.of_pod(pod, made=True)
            if about.state in ("failed", "unschedulable"):
                return about, pod
            if about.state == "waiting" and verdict.state == "ready":
                verdict = about
        return verdict, None

    async def _judge(self, verdict: Verdict, pod: Mapping[str, Any] | None, patience: float) -> None:
        now = asyncio.get_running_loop().time()
        if verdict.state == "waiting":
            self._bad_since.clear()
            return
        sure = patience if verdict.state == "unschedulable" else _SURE_SECONDS
        since = self._bad_since.setdefault(verdict.state, now)
        if now - since >= sure:
            raise await self._error(verdict, pod)

    async def _error(self, verdict: Verdict, pod: Mapping[str, Any] | None, before: str = "") -> ConnectError:
        hint = None
        if verdict.image:
            hint = "check the image's name, and whether the node can pull it"
        elif verdict.state == "unschedulable":
            hint = "lower what the pod requests, or raise scheduleTimeout= if a node is still to come"
        words = "" if pod is None else await self._last_words(pod, verdict.crashed or judge.crashed_container(pod))
        return ConnectError(before + (verdict.why or "nothing is known of it") + words,
                            location=self._deployment, hint=hint)  # fmt: skip

    async def _last_words(self, pod: Mapping[str, Any], container: str | None) -> str:
        """What a container that has failed said last."""
        if container is None:
            return ""
        try:
            said = await self._cluster.log(pod["metadata"]["namespace"], pod["metadata"]["name"], container)
        except ConnectError:
            return ""
        return f"; {_LAST}{' | '.join(said.splitlines())[-_SAID:]}" if said else ""


async def in_spite_of_a_restart(what: Callable[[], Awaitable[T]]) -> T:
    """The outcome of a request that harms nothing if it is made again, though the API server is away for a while.

    Raises:
        ConnectError: it is away for too long, or says no.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _BACK_SECONDS
    while True:
        try:
            return await what()
        except (Refusal, AuthenticationError):
            raise
        except ConnectError:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(_LONGEST_PAUSE / 2)
