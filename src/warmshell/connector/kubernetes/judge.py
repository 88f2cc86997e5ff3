"""What the state of Kubernetes' objects means: ready, not yet, or never. Nothing here asks for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

Object = Mapping[str, Any]

_NEVER = {
    "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError",
    "RegistryUnavailable", "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
    "CrashLoopBackOff", "PreStartHookError", "PostStartHookError",
}  # fmt: skip
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class Verdict(NamedTuple):
    """What is to be made of an object.

    Attributes:
        state: ``ready``, ``waiting`` or ``failed``; ``unschedulable``: waiting for a node, of which there may be none.
        why: in words, where it is not ready.
        crashed: the container whose log tells more.
        image: whether it is for its image.
    """

    state: Literal["ready", "waiting", "failed", "unschedulable"]
    why: str = ""
    crashed: str | None = None
    image: bool = False


READY = Verdict("ready")


def title(found: Object) -> str:
    """An object's kind and name."""
    return f"{found.get('kind', 'object')} {found.get('metadata', {}).get('name', '?')}"


def of_pod(pod: Object, *, made: bool = False) -> Verdict:
    """What is to be made of a pod.

    Args:
        pod: as the API server has it.
        made: whether something has made it, which may mean it to end.
    """
    name, status = f"pod {pod['metadata']['name']}", pod.get("status", {})
    if status.get("phase") == "Succeeded":
        return READY if made else Verdict("failed", f"the {name} has ended already")
    for state in _states(status):
        if (verdict := _of_container(name, state)) is not None:
            return verdict
    if status.get("phase") == "Failed":
        return Verdict("failed", f"{name} has failed: {_because(status)}")
    conditions = _conditions(status)
    if conditions.get("Ready", {}).get("status") == "True":
        return READY
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Verdict("unschedulable", f"no node takes {name}: {scheduled.get('message') or 'Unschedulable'}")
    return Verdict("waiting", f"{name} is not ready: {_what_it_does(status)}")


def _states(status: Object) -> Iterator[Object]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _of_container(pod: str, state: Object) -> Verdict | None:
    """A verdict about the pod, if this container of it settles it."""
    what = f"the container {state.get('name')} of {pod}"
    waiting = (state.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason"), waiting.get("message") or ""
    if reason not in _NEVER:
        return None
    if reason in _IMAGE:
        return Verdict("failed", f"the image {state.get('image')!r} of {what} cannot be had: {message or reason}",
                       image=True)  # fmt: skip
    if reason == "CrashLoopBackOff":
        return Verdict("failed", f"{what} ends again and again{_ended(state)}", crashed=str(state.get("name")))
    return Verdict("failed", f"{what} cannot be started: {message or reason}")


def _ended(state: Object) -> str:
    last = (state.get("lastState") or {}).get("terminated") or (state.get("state") or {}).get("terminated") or {}
    if "exitCode" not in last:
        return ""
    reason = last.get("reason")
    return f" with status {last['exitCode']}" + (f" ({reason})" if reason not in (None, "Error", "Completed") else "")


def _because(status: Object) -> str:
    if status.get("message") or status.get("reason"):
        return str(status.get("message") or status["reason"])
    ended = [f"{state.get('name')} ended{_ended(state)}" for state in _states(status) if _ended(state)]
    return ", ".join(ended) or "without a word"


def _what_it_does(status: Object) -> str:
    reasons = [
        f"{state.get('name')}: {waiting.get('reason')}"
        for state in _states(status)
        if (waiting := (state.get("state") or {}).get("waiting"))
    ]
    return ", ".join(reasons) or str(status.get("phase") or "nothing is known of it")


def _conditions(status: Object) -> dict[str, Object]:
    return {str(each.get("type")): each for each in status.get("conditions") or ()}


def crashed_container(pod: Object) -> str | None:
    """The container of a failed pod whose log tells more."""
    for state in _states(pod.get("status", {})):
        ended = (state.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return str(state.get("name"))
    return None


def why_not_running(pod: Object, container: str) -> str | None:
    """Why nothing can be run in a container of a pod, as far as the pod tells; continues a sentence about it."""
    names = [str(each.get("name")) for each in pod.get("spec", {}).get("containers") or ()]
    if container not in names:
        return f"is not there: it has {', '.join(names)}"
    for state in pod.get("status", {}).get("containerStatuses") or ():
        if state.get("name") != container:
            continue
        if "running" in (state.get("state") or {}):
            return None
        waiting = (state.get("state") or {}).get("waiting") or {}
        return f"does not run{_ended(state)}" + (f": {waiting['reason']}" if waiting.get("reason") else "")
    return f"does not run: the pod is {pod.get('status', {}).get('phase', 'unknown')}"


# -- what makes pods --------------------------------------------------------------------------------------------------


def has_pods(found: Object) -> bool:
    """Whether an object is a pod or makes pods that can be found."""
    return found.get("kind") == "Pod" or selector_of(found) is not None


def selector_of(found: Object) -> str | None:
    """The selector of the pods that an object makes; ``None``: it makes none that can be found."""
    if found.get("kind") in ("Service", "NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim"):
        return None
    wanted = found.get("spec") or {}
    selector = wanted.get("selector") if isinstance(wanted, Mapping) else None
    if not isinstance(selector, Mapping):
        return None
    if found.get("kind") == "ReplicationController":
        selector = {"matchLabels": selector}
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    parts += [_expression(each) for each in selector.get("matchExpressions") or ()]
    return ",".join(parts) or None


def _expression(each: Object) -> str:
    key, values = each.get("key"), ",".join(map(str, each.get("values") or ()))
    return {
        "In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": f"{key}", "DoesNotExist": f"!{key}",
    }.get(str(each.get("operator")), f"{key}")  # fmt: skip


def of_maker(found: Object) -> Verdict:
    """What is to be made of an object other than a pod; of kinds that have nothing to wait for, ``ready``."""
    judge = _MAKERS.get(str(found.get("kind")))
    if judge is None:
        return READY
    status = found.get("status") or {}
    seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    for kind in ("ReplicaFailure", "Failed"):
        condition = _conditions(status).get(kind, {})
        if condition.get("status") == "True":
            why = condition.get("message") or condition.get("reason") or kind
            return Verdict("failed", f"{title(found)} has failed: {why}")
    progress = _conditions(status).get("Progressing", {})
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return Verdict("failed", f"{title(found)} makes no progress: {progress.get('message')}")
    ready, wanted = judge(found.get("spec") or {}, status)
    if ready >= wanted and (seen or found.get("kind") in ("Job", "CustomResourceDefinition")):
        return READY
    return Verdict("waiting", f"{title(found)} is not ready: {ready} of {wanted}")


def _deployment(spec: Object, status: Object) -> tuple[int, int]:
    return min(status.get("availableReplicas", 0), status.get("updatedReplicas", 0)), spec.get("replicas", 1)


def _replicas(spec: Object, status: Object) -> tuple[int, int]:
    return status.get("readyReplicas", 0), spec.get("replicas", 1)


def _daemons(_: Object, status: Object) -> tuple[int, int]:
    return status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)


def _job(spec: Object, status: Object) -> tuple[int, int]:
    """That its pods run is seen from them: here only whether there are any."""
    return status.get("active", 0) + status.get("succeeded", 0), min(1, spec.get("parallelism", 1))


def _definition(_: Object, status: Object) -> tuple[int, int]:
    return int(_conditions(status).get("Established", {}).get("status") == "True"), 1


_MAKERS = {
    "Deployment": _deployment, "ReplicaSet": _replicas, "StatefulSet": _replicas, "ReplicationController": _replicas,
    "DaemonSet": _daemons, "Job": _job, "CustomResourceDefinition": _definition,
}  # fmt: skip


# -- containers -------------------------------------------------------------------------------------------------------


def running_containers(pod: Object) -> list[str]:
    """The containers of a pod in which something can be run; none of one that is about to go."""
    if pod["metadata"].get("deletionTimestamp"):
        return []
    states = pod.get("status", {}).get("containerStatuses") or ()
    there = {state.get("name") for state in states if "running" in (state.get("state") or {})}
    return [str(each["name"]) for each in pod.get("spec", {}).get("containers") or () if each.get("name") in there]


def cores_of(pod: Object, container: str) -> float | None:
    """The processors that a container may use, where that is limited."""
    for each in pod.get("spec", {}).get("containers") or ():
        if each.get("name") == container:
            cpu = ((each.get("resources") or {}).get("limits") or {}).get("cpu")
            return None if cpu is None else quantity(str(cpu))
    return None


def quantity(text: str) -> float | None:
    """A quantity of Kubernetes, such as ``500m`` or ``2Gi``; ``None``: it is none."""
    match = re.fullmatch(r"([0-9.]+(?:[eE][-+]?[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?", text)
    return None if match is None else float(match[1]) * _UNITS.get(match[2] or "", 1.0)
