"""Sessions in containers over the API server: what is used, what is lost, and what is said of it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import warmshell
from kubernetes.lab import BUSYBOX, PYTHON, Kubernetes, container, manifest, spec
from transfer.trees import facts, make
from warmshell.connector.kubernetes.place import KubernetesPlace
from warmshell.testing import eventually


@pytest.fixture(scope="module")
def busy(cluster: Kubernetes) -> Iterator[str]:
    yield cluster.start("busy", BUSYBOX)
    cluster.remove("busy")


@pytest.fixture(scope="module")
def python(cluster: Kubernetes) -> Iterator[str]:
    yield cluster.start("python", PYTHON)
    cluster.remove("python")


async def test_sixteen_lanes_are_on_one_socket(kube: Kubernetes, python: str) -> None:
    async with kube.connect(python, shells=16) as node:
        assert isinstance(node.place, KubernetesPlace)
        results = await asyncio.gather(*[node.run("echo $$; sleep 0.5") for _ in range(16)])
        assert len({result.text for result in results}) == 16
        assert len([program for program in node.place._programs if program.outcome is None]) == 1


@pytest.mark.parametrize("image", [BUSYBOX, PYTHON])
async def test_files_of_every_kind_there_and_back(
    kube: Kubernetes, busy: str, python: str, tmp_path: Path, image: str
) -> None:
    make(os.fsencode(tmp_path / "tree"))
    (tmp_path / "tree" / "sparse").unlink()  # 80 MB
    async with kube.connect(busy if image == BUSYBOX else python) as node:
        await node.put(tmp_path / "tree", "/tmp/tree")
        await node.get("/tmp/tree", tmp_path / "back")
        await node.run("rm -rf /tmp/tree")
    there, back = (without_times(facts(os.fsencode(tmp_path / name))) for name in ("tree", "back"))
    assert back == there


def without_times(rows: dict[bytes, tuple[Any, ...]]) -> dict[bytes, tuple[Any, ...]]:
    """The tar of busybox keeps whole seconds only, and none of directories and links."""
    return {name: (row[0], row[-1]) if stat.S_ISLNK(row[0]) else row[:2] + row[3:] for name, row in rows.items()}


async def test_much_goes_both_ways_at_once_within_bounds(kube: Kubernetes, busy: str) -> None:
    """What nobody reads is not sent: a program that only writes waits for its reader."""
    data = os.urandom(1 << 20) * 8
    async with kube.connect(busy) as node, node.open(["cat"]) as process:
        near = process._channel.process  # type: ignore[attr-defined]

        async def send() -> None:
            for at in range(0, len(data), 1 << 16):
                await process.stdin.send(data[at : at + (1 << 16)])
            await process.stdin.aclose()

        sending = asyncio.ensure_future(send())
        got = b""
        while piece := await process.stdout.receive():
            got += piece
            assert near.stdout.size < 1 << 20
        await sending
        assert got == data
        assert await process.wait() == 0


async def test_input_that_nobody_reads_loses_no_output(kube: Kubernetes, busy: str) -> None:
    """A real server of version 4 loses the last of it when more is sent to a program that has ended."""
    async with kube.connect(busy) as node:
        for _ in range(3):
            assert (await node.run(["head", "-c", "5"], stdin=b"12345" + bytes(3_000_000))).stdout == b"12345"


async def test_a_pod_of_several_containers_asks_for_one(kube: Kubernetes, tmp_path: Path) -> None:
    two = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "two"},
           "spec": spec(container(), container(name="side"))}  # fmt: skip
    async with kube.connector([manifest(tmp_path / "a.yaml", two)]):
        async with kube.connect("two", "side") as node:
            assert (await node.run("echo in")).text == "in\n"
        with pytest.raises(warmshell.ConnectError, match="several containers: main, side"):
            async with kube.connect("two"):
                pass
        with pytest.raises(warmshell.ConnectError, match="'none' of the pod 'two' is not there: it has main, side"):
            async with kube.connect("two", "none"):
                pass


async def test_a_pod_that_is_not_there(kube: Kubernetes) -> None:
    for name in ("nowhere", None):
        with pytest.raises(warmshell.ConnectError, match="there is no pod 'nowhere' in the namespace"):
            async with kube.connect("nowhere", name):
                pass


@pytest.mark.parametrize("url", ["k8s:", "k8s://", "k8s://a", "k8s://a/b/c/d", "k8s://a//c", "k8s:a/b", "k8s://a/-b"])
def test_what_names_no_container(url: str) -> None:
    with pytest.raises(warmshell.LocationError, match="no container in"):
        warmshell.connect(url)


# -- what is lost -----------------------------------------------------------------------------------------------------


async def running(node: warmshell.Location, other: warmshell.Location, script: str) -> asyncio.Task[warmshell.Result]:
    """A command that has certainly begun."""
    task = asyncio.ensure_future(node.run(f"echo begun > /tmp/begun; {script}"))
    await eventually(lambda: begun(other), 10.0)
    return task


async def begun(node: warmshell.Location) -> bool:
    return (await node.run("test -e /tmp/begun && rm /tmp/begun")).ok


@pytest.mark.parametrize("image", [BUSYBOX, PYTHON])
async def test_a_pod_that_is_deleted_loses_its_command_and_says_so(kube: Kubernetes, image: str) -> None:
    name = kube.start("deleted", image)
    async with kube.connect(name) as node:
        async with kube.connect(name) as other:
            task = await running(node, other, "sleep 1000")
        await asyncio.to_thread(kube.within, "delete", "pod", name, "--wait=false")
        with pytest.raises(warmshell.ShellLost) as lost:
            await task
        assert lost.value.started == "yes"
        kube.within("wait", "--for=delete", f"pod/{name}", "--timeout=60s")
        with pytest.raises(warmshell.ConnectError, match="there is no pod 'deleted'"):
            await node.run("true")


@pytest.mark.parametrize("image", [BUSYBOX, PYTHON])
async def test_a_container_that_is_killed_loses_its_command_and_comes_back(kube: Kubernetes, image: str) -> None:
    name = "killed"
    kube.within("apply", "-f", "-", data=json.dumps({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": spec(container(image, command=["sh", "-c", "trap 'exit 1' USR1; while :; do sleep 0.1; done"])),
    }))  # fmt: skip
    kube.within("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    try:
        async with kube.connect(name) as node:
            async with kube.connect(name) as other:
                task = await running(node, other, "sleep 1000")
            kube.within("exec", name, "--", "kill", "-USR1", "1")
            with pytest.raises(warmshell.ShellLost) as lost:
                await task
            assert lost.value.started == "yes"
            await eventually(lambda: answers(node), 60.0)
    finally:
        kube.remove(name)


async def answers(node: warmshell.Location) -> bool:
    try:
        return (await node.run("echo again")).text == "again\n"
    except (warmshell.ConnectError, warmshell.ShellLost):
        await asyncio.sleep(0.2)
        return False


async def test_an_api_server_that_is_started_anew(
    kube: Kubernetes, alone: None, busy: str, python: str, tmp_path: Path
) -> None:
    """Its sessions are lost, and what ran in them is ended; new ones are had without being asked for."""
    if kube.own is None:
        pytest.skip("the API server of a cluster that is not the tests' own is left alone")
    file = manifest(tmp_path / "a.yaml", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}})
    async with kube.connect(busy) as one, kube.connect(python) as two, kube.connector([file]):
        tasks = []
        for node, name in ((one, busy), (two, python)):
            async with kube.connect(name) as other:
                tasks.append(await running(node, other, "exec sleep 4321"))
        await asyncio.to_thread(kube.own.run, "restart")
        for task in tasks:
            with pytest.raises(warmshell.ShellLost) as lost:
                await task
            assert lost.value.started == "yes"
        for node in (one, two):
            assert (await node.run("echo again")).text == "again\n"
            await eventually(lambda node=node: ended(node), 20.0)  # type: ignore[misc]
    assert "configmap/kept" not in kube.names("configmaps")


async def ended(node: warmshell.Location) -> bool:
    return "sleep 4321" not in (await node.run("ps -o args || ps ax -o args")).text


# -- who asks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ("expired", "does not know the user of context 'expired': Unauthorized.*log in again"),
        ("nobody", "the user of context 'nobody' may not do that: .*nobody.*cannot"),
        ("none", "there is no context 'none'.*there are lab, token, nobody, expired"),
    ],
)
async def test_one_who_may_not(kube: Kubernetes, busy: str, tmp_path: Path, context: str, words: str) -> None:
    if kube.own is None:
        pytest.skip("the contexts are those of the tests' own cluster")
    with pytest.raises(warmshell.WarmshellError, match=words):
        async with kube.connect(busy, kubeContext=context):
            pass
    file = manifest(tmp_path / "a.yaml", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
    connector = kube.connector([file], kubeContext=context)
    with pytest.raises(warmshell.WarmshellError, match=words.partition(":")[0]):
        await connector.deploy()
    await connector.undeploy()


async def test_by_a_token_and_without_looking_at_the_certificate(kube: Kubernetes, busy: str) -> None:
    if kube.own is None:
        pytest.skip("the contexts are those of the tests' own cluster")
    async with kube.connect(busy, kubeContext="token") as node:
        assert (await node.run("echo in")).text == "in\n"


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "{current-context: a, contexts: [{name: a, context: {cluster: a}}],"
        " clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]}"
    )
    with pytest.raises(warmshell.ConnectError, match=r"API server https://127\.0\.0\.1:1 cannot be reached"):
        async with warmshell.connect("k8s://default/a/b", kubeconfig=str(tmp_path / "config")):
            pass
