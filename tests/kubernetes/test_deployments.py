"""The life of what manifests ask for: applied, waited for, used, taken away, whatever happens to whom."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import warmshell
from kubernetes.lab import BUSYBOX, PYTHON, Kubernetes, container, manifest, pod, spec
from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
from ssh.lab import Lab
from warmshell.connector.kubernetes import manifests
from warmshell.connector.kubernetes.connector import KubernetesConnector
from warmshell.deployment.file import Deployment, Wraps
from warmshell.deployment.manager import DeploymentManager
from warmshell.testing import eventually


def deployment(name: str, replicas: int = 2, *containers: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec(*containers)},
        },
    }  # fmt: skip


async def test_objects_are_applied_used_and_removed(kube: Kubernetes, tmp_path: Path) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"A": "it's *"}}
    reads = container(
        envFrom=[{"configMapRef": {"name": "words"}}],
        resources={"limits": {"cpu": "2500m"}, "requests": {"cpu": "10m"}},
    )
    objects = manifest(tmp_path / "a.yaml", config, deployment("many", 2, reads, container(name="side")))
    async with kube.connector([objects, manifest(tmp_path / "b.yaml", pod("one"))]) as connector:
        found = await connector.get_available_locations()
        assert {each.service for each in found.values()} == {"main", "side"}
        assert sorted(name.rpartition(":")[2] for name in found) == ["main", "main", "one", "side", "side"]
        node = kube.ask("get", "nodes", "-o", "name").removeprefix("node/")
        assert {each.hostname for each in found.values()} == {node}
        mains = await connector.get_available_locations(service="main")
        assert {each.slots for name, each in mains.items() if name != "one"} == {2}
        for name in mains:
            result = await connector.run(name, 'echo "$A"', capture_output=True)
            assert result.text == ("\n" if name == "one" else "it's *\n")
        with pytest.raises(warmshell.LocationError, match="there are main, side"):
            await connector.get_available_locations(service="none")
    assert kube.names("pods", "deployments") == []
    assert "configmap/words" not in kube.names("configmaps")


NEVER = {"exec": {"command": ["false"]}, "periodSeconds": 1}
"""A probe by which nothing is ever ready, as what ends soon may be for a moment."""


def job(name: str, script: str, **more: Any) -> dict[str, Any]:
    template = {"spec": spec(container(command=["sh", "-c", script], **more), restartPolicy="Never")}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": template}}  # fmt: skip


async def test_the_pods_of_jobs_and_stateful_sets_are_locations(kube: Kubernetes, tmp_path: Path) -> None:
    settled = deployment("set", 1)
    settled["kind"] = "StatefulSet"
    settled["spec"]["serviceName"] = "set"
    items = {"apiVersion": "v1", "kind": "List", "items": [settled, job("works", "sleep 1000000")]}
    async with kube.connector([manifest(tmp_path / "a.yaml", items)]) as connector:
        names = sorted(await connector.get_available_locations())
        assert names[0] == "set-0"
        assert names[1].startswith("works-")
        assert (await connector.run(names[1], ["echo", "in"], capture_output=True)).text == "in\n"
    assert kube.names() == []


async def test_what_is_there_already_is_only_used(kube: Kubernetes, tmp_path: Path) -> None:
    name = kube.start("mine")
    file = manifest(tmp_path / "mine.yaml", pod("mine"))
    try:
        for options in ({"files": [file]}, {"selector": "who=me"}):
            kube.within("label", "pod", name, "who=me", "--overwrite")
            connector = kube.connector(**options)  # type: ignore[arg-type]
            await connector.deploy(external=True)
            assert list(await connector.get_available_locations()) == [name]
            await connector.undeploy(external=True)
            assert kube.names("pods") == [f"pod/{name}"]
        async with kube.connector([file]) as connector:  # not external: brought to what the file says, and left
            assert list(await connector.get_available_locations()) == [name]
        assert kube.names("pods") == [f"pod/{name}"]
    finally:
        kube.remove(name)
    connector = kube.connector([file])
    with pytest.raises(warmshell.ConnectError, match="there is no Pod 'mine'"):
        await connector.deploy(external=True)
    await connector.undeploy(external=True)


async def test_objects_of_a_kind_that_is_defined_with_them(kube: Kubernetes, tmp_path: Path) -> None:
    group = f"{kube.namespace}.example.org"
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }  # fmt: skip
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "a"}}
    # Any custom object ends the API server of the tests' own cluster: 1.20 built by a Go that is too new for it.
    objects = [definition] if kube.own else [definition, thing]
    async with kube.connector([manifest(tmp_path / "a.yaml", *objects)]) as connector:
        assert await connector.get_available_locations() == {}
        assert kube.own or kube.within("get", f"things.{group}", "-o", "name") == f"thing.{group}/a"
    assert f"things.{group}" not in kube.ask("get", "customresourcedefinitions", "-o", "name")


# -- what is left by whom ---------------------------------------------------------------------------------------------


def client(kube: Kubernetes, file: str, body: str) -> subprocess.Popen[str]:
    program = f"""
        import asyncio
        from warmshell.connector.kubernetes.connector import KubernetesConnector
        async def main():
            options = dict(kubeconfig={kube.kubeconfig!r}, namespace={kube.namespace!r}, files=[{file!r}])
            async with KubernetesConnector("d", **options) as connector:
                [name] = await connector.get_available_locations()
                print(name, flush=True)
                {body}
        asyncio.run(main())
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)


def test_a_client_that_is_interrupted_leaves_nothing(kube: Kubernetes, tmp_path: Path) -> None:
    file = manifest(tmp_path / "a.yaml", pod("interrupted"))
    with client(kube, file, 'await connector.run(name, "sleep 1000")') as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "interrupted\n"
        process.send_signal(signal.SIGINT)
        process.wait()
    assert kube.names() == []


async def test_what_a_killed_client_left_is_ended_inside_and_swept(kube: Kubernetes, tmp_path: Path) -> None:
    file = manifest(tmp_path / "a.yaml", pod("left"))
    with client(kube, file, 'await connector.run(name, "exec sleep 4242")') as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "left\n"
        async with kube.connect("left") as node:
            await eventually(lambda: runs(node, "sleep 4242"))
            process.send_signal(signal.SIGKILL)
            process.wait()
            await eventually(lambda: runs(node, "sleep 4242", not_any=True), 20.0)
    assert kube.names("pods") == ["pod/left"]
    async with kube.connector([manifest(tmp_path / "c.yaml", pod("next"))]):
        assert kube.names("pods") == ["pod/next"]


async def runs(node: warmshell.Location, words: str, *, not_any: bool = False) -> bool:
    listed = (await node.run("ps -o args || ps ax -o args")).text
    return any(line.strip() == words for line in listed.splitlines()) != not_any


async def test_another_client_that_lives_is_left_alone(kube: Kubernetes, tmp_path: Path) -> None:
    async with kube.connector([manifest(tmp_path / "a.yaml", pod("first"))]):
        async with kube.connector([manifest(tmp_path / "b.yaml", pod("second"))]):
            assert sorted(kube.names("pods")) == ["pod/first", "pod/second"]
        assert kube.names("pods") == ["pod/first"]


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (pod("a", "warm/nowhere:1"), "image 'warm/nowhere:1' of the container main of pod a cannot be had"),
        (deployment("b", 1, container("warm/nowhere:1")), "image 'warm/nowhere:1' of the container main of pod b-"),
        (
            pod("c", command=["sh", "-c", "echo no licence >&2; exit 3"], readinessProbe=NEVER),
            "again and again with status 3.*no licence",
        ),
        (job("d", "echo no file; exit 4", readinessProbe=NEVER), "Job d has failed.*no file"),
        (pod("e", nodeSelector={"disk": "none"}), "no node takes pod e: .* didn't match"),
        (deployment("f", 1, container(resources={"requests": {"cpu": "9999"}})), "no node takes pod f-.*cpu"),
        (pod("g", envFrom=[{"configMapRef": {"name": "none"}}]), 'cannot be started: configmap "none" not found'),
        ({**pod("h"), "spec": {"containers": []}}, "Pod 'h' in the namespace .* cannot be applied: .*containers"),
        ({**pod("Bad Name!")}, "cannot be applied: .*Bad Name"),
        ({**pod("i"), "kind": "Pot"}, "knows no Pot of v1"),
        ({**pod("j"), "apiVersion": "nowhere/v9"}, "knows no Pod of nowhere/v9"),
        (pod("k", command=["no-such-program"]), "cannot be started: .*no-such-program|again and again"),
    ],
    ids=lambda value: value["metadata"]["name"] if isinstance(value, dict) else "",
)
async def test_what_cannot_be_is_one_clear_error_and_leaves_nothing(
    kube: Kubernetes, tmp_path: Path, wanted: dict[str, Any], words: str
) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "before"}, "data": {}}
    connector = kube.connector([manifest(tmp_path / "a.yaml", config, wanted)], scheduleTimeout=2.0)
    with pytest.raises(warmshell.ConnectError, match=words) as error:
        await connector.deploy()
    assert "\n" not in str(error.value)
    assert kube.names() == []
    assert "configmap/before" not in kube.names("configmaps")
    await connector.undeploy()


async def test_not_ready_in_time_is_told_with_what_it_does(kube: Kubernetes, tmp_path: Path) -> None:
    unready = deployment("never", 1, container(readinessProbe=NEVER))
    connector = kube.connector([manifest(tmp_path / "a.yaml", unready)], timeout=4.0)
    with pytest.raises(warmshell.ConnectError, match="not ready within 4 s: Deployment never is not ready: 0 of 1"):
        await connector.deploy()
    assert kube.names() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod\n", "x.yaml:1: no object of Kubernetes"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", "generateName will not do"),
        ("a: [1\n", "x.yaml:2:1"),
        ("---\n---\n", "there are no objects in"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(warmshell.LocationError, match=words):
        KubernetesConnector("d", str(tmp_path), files=["x.yaml"])


def test_files_or_a_selector() -> None:
    with pytest.raises(warmshell.LocationError, match="give files"):
        KubernetesConnector("d")


def test_numbers_in_manifests_are_those_of_kubernetes(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: A\nmetadata: {name: a}\nmode: 0644\nlist: [on, no, 08, 1.5, 0x10]\n"
    (tmp_path / "x.yaml").write_text(text)
    [found] = manifests.read(["x.yaml"], str(tmp_path))
    assert found["mode"] == 0o644
    assert found["list"] == ["on", "no", 8, 1.5, 16]


# -- by kubectl -------------------------------------------------------------------------------------------------------


async def test_everything_by_kubectl(kube: Kubernetes, tmp_path: Path) -> None:
    files = [manifest(tmp_path / "a.yaml", deployment("many", 1), pod("one"))]
    async with kube.connector(files, kubectl="kubectl") as connector:
        found = await connector.get_available_locations()
        assert len(found) == 2
        assert (await connector.run("one", ["printf", "it's *"], capture_output=True)).text == "it's *"
    assert kube.names() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kubectl": "no-kubectl-here"}, "no-kubectl-here"),
        ({"kubectl": "kubectl", "kubeContext": "nowhere"}, "nowhere"),
        ({"kubectl": "kubectl", "kubeconfig": "/nowhere"}, "kubectl fails"),
    ],
)
async def test_what_kubectl_cannot(kube: Kubernetes, tmp_path: Path, options: dict[str, str], words: str) -> None:
    connector = kube.connector([manifest(tmp_path / "a.yaml", pod("one"))], **options)
    with pytest.raises(warmshell.WarmshellError, match=words):
        await connector.deploy()
    await connector.undeploy()


@pytest.mark.parametrize("image", [BUSYBOX, PYTHON])
async def test_pods_of_a_cluster_that_an_ssh_host_can_reach(
    kube: Kubernetes,
    lab: Lab,  # noqa: F811
    tmp_path: Path,
    image: str,
) -> None:
    config = {"files": [manifest(tmp_path / "a.yaml", pod("far", image))], "kubeconfig": kube.kubeconfig,
              "namespace": kube.namespace}  # fmt: skip
    outer = Deployment("outer", "ssh", {"nodes": ["hostA"], "config": lab.config})
    async with DeploymentManager([outer, Deployment("inner", "kubernetes", config, wraps=Wraps("outer"))]) as manager:
        connector = manager.connector("inner")
        [found] = (await connector.get_available_locations()).values()
        assert found.wraps is not None
        assert found.wraps.name == "hostA"
        node = await connector.location(found)
        assert (await node.run(["printf", "%s", "it's *"])).stdout == b"it's *"
        assert (await node.run("cat", stdin=b"x" * 300_000)).stdout == b"x" * 300_000
        with pytest.raises(warmshell.CommandTimeout):
            await node.run("sleep 4343 & wait", timeout=1.0)
        assert not await runs(node, "sleep 4343")
    assert kube.names() == []
