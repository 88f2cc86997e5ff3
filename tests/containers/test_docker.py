"""The life of containers: made, used, ended, whatever happens to whom."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import warmshell
from containers.lab import Docker
from warmshell.connector.docker_words import LABEL, DockerOptions, RunOptions, flag, run_flags, run_words
from warmshell.connector.local_connector import LocalConnector
from warmshell.deployment.file import DeploymentFile
from warmshell.deployment.manager import DeploymentManager
from warmshell.deployment.types import connector_class


async def test_containers_are_made_used_and_removed(docker: Docker) -> None:
    async with docker.connector(count=3) as connector:
        names = list(await connector.get_available_locations())
        assert len(names) == 3
        hosts = {(await connector.run(name, "hostname", capture_output=True)).text for name in names}
        assert len(hosts) == 3
        assert len(docker.containers()) == 3
    assert docker.containers() == []


async def test_what_leaves_no_parent_is_reaped(docker: Docker) -> None:
    async with docker.connector() as connector:
        [name] = await connector.get_available_locations()
        for _ in range(5):
            await connector.run(name, "(sleep 0 &) ; (sleep 0 &)")
        left = await connector.run(name, "sleep 0.1; ps -o stat | grep -c Z || true", capture_output=True)
        assert left.text.strip() == "0"


async def test_no_value_of_a_variable_is_on_a_command_line(docker: Docker) -> None:
    async with docker.connector(env=["SECRET=a b'c", "PLAIN=1"]) as connector:
        [name] = await connector.get_available_locations()
        assert (await connector.run(name, 'echo "$SECRET$PLAIN"', capture_output=True)).text == "a b'c1\n"
        lines = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert "--env=SECRET" in lines
        assert "a b'c" not in lines


async def test_a_command_of_its_own(docker: Docker) -> None:
    async with docker.connector(command=["sleep", "100000"], name=f"own-{os.getpid()}") as connector:
        [name] = await connector.get_available_locations()
        assert (await connector.run(name, "cat /proc/1/cmdline", capture_output=True)).stdout == b"sleep\x00100000\x00"


async def test_those_that_run_are_left_running(docker: Docker) -> None:
    name = docker.start("warm/busybox:1")
    try:
        async with docker.connector(containers=[name]) as connector:
            assert list(await connector.get_available_locations()) == [name]
            assert (await connector.run(name, "echo in", capture_output=True)).text == "in\n"
        streamflow = docker.connector(image="warm/busybox:1", containerId=name)  # as StreamFlow writes it
        await streamflow.deploy(external=True)
        assert list(await streamflow.get_available_locations()) == [name]
        await streamflow.undeploy(external=True)
        assert docker.ask("inspect", "--format={{.State.Running}}", name) == "true"
    finally:
        docker.remove(name)


def client(docker: Docker, body: str) -> subprocess.Popen[str]:
    program = f"""
        import asyncio, warmshell
        from warmshell.connector.docker import DockerConnector
        async def main():
            options = dict(image="warm/busybox:1", network="none", **{docker.options!r})
            async with DockerConnector("d", **options) as connector:
                [name] = await connector.get_available_locations()
                print(name, flush=True)
                {body}
        asyncio.run(main())
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_is_killed_leaves_no_container(docker: Docker, number: signal.Signals) -> None:
    with client(docker, 'await connector.run(name, "sleep 1000")') as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(number)
        docker.nothing_left()
        process.wait()


async def test_what_a_dead_client_left_is_swept_and_nothing_else(docker: Docker) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    labels = {"dead": f"{boot}:1:1", "other machine": "elsewhere:1:1"}
    ids = {
        what: docker.ask("run", "-d", "--network=none", f"--label={LABEL}={label}", "warm/busybox:1", "sleep", "1000")
        for what, label in labels.items()
    }
    try:
        async with docker.connector() as connector:
            assert await connector.get_available_locations()
            listed = docker.ask("ps", "--all", "--quiet", "--no-trunc").split()
            assert ids["dead"] not in listed
            assert ids["other machine"] in listed
    finally:
        docker.remove(ids["other machine"])


@pytest.mark.parametrize("image", ["warm/busybox:1", "warm/python:1"])
async def test_a_container_that_is_killed_loses_its_command_and_says_so(docker: Docker, image: str) -> None:
    name = docker.start(image)
    async with docker.connect(name) as node:
        running = asyncio.ensure_future(node.run("echo began > /tmp/began; sleep 1000"))
        async with docker.connect(name) as other:
            while not (await other.run("test -e /tmp/began")).ok:
                pass
        docker.remove(name)
        with pytest.raises(warmshell.ShellLost) as lost:
            await running
        assert lost.value.started == "yes"
        with pytest.raises(warmshell.ConnectError, match=f"[Nn]o such container: {name}"):
            await node.run(["true"])


@pytest.mark.parametrize("image", ["warm/busybox:1", "warm/python:1"])
async def test_a_container_that_is_removed_while_nothing_runs(docker: Docker, image: str) -> None:
    name = docker.start(image)
    async with docker.connect(name) as node, node.shell() as shell:
        await shell.run("cd /tmp")
        await node.run(["true"])
        docker.remove(name)
        with pytest.raises((warmshell.ConnectError, warmshell.ShellLost)) as first:
            await node.run(["true"])  # it may have been sent before the end was noticed
        assert getattr(first.value, "started", "no") != "yes"
        with pytest.raises(warmshell.ConnectError, match=f"[Nn]o such container: {name}"):
            await node.run(["true"])
        with pytest.raises(warmshell.ShellLost) as lost:
            await shell.run("pwd")
        assert lost.value.started == "no"


async def test_one_of_a_deployment_that_is_removed_leaves_the_others(docker: Docker) -> None:
    async with docker.connector(count=2) as connector:
        gone, other = await connector.get_available_locations()
        docker.remove(gone)
        with pytest.raises(warmshell.WarmshellError, match=f"[Nn]o such container: {gone}"):
            await connector.run(gone, "true")
        assert (await connector.run(other, "echo in", capture_output=True)).text == "in\n"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root becomes another user")
async def test_an_account_that_may_not_use_the_daemon(docker: Docker, tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text('#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups docker "$@"\n')
    program.chmod(0o755)
    for given in ({"image": "warm/busybox:1"}, {"containers": ["any"]}):
        connector = docker.connector(program=str(program), **given)
        with pytest.raises(warmshell.ConnectError, match=r"permission denied.*add it to the group"):
            await connector.deploy()
        await connector.undeploy()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "warm/nowhere:1", "pull": "never"}, "warm/nowhere"),
        ({"image": "warm/busybox:1", "host": "unix:///nowhere.sock"}, "start the daemon"),
        ({"image": "warm/busybox:1", "program": "no-docker-here"}, "no-docker-here"),
        ({"image": "warm/busybox:1", "volume": ["a:b:c:d"]}, "no container could be started"),
        ({"containers": ["no-such-container"]}, "no-such-container"),
    ],
)
async def test_what_cannot_be_is_one_clear_error(docker: Docker, options: dict[str, object], words: str) -> None:
    connector = docker.connector(**options)  # type: ignore[arg-type]
    with pytest.raises(warmshell.WarmshellError, match=words):
        await connector.deploy()
    await connector.undeploy()
    assert docker.containers() == []


async def test_a_container_that_does_not_run_is_named(docker: Docker) -> None:
    name = docker.ask("create", "--network=none", "warm/busybox:1", "true")[:12]
    try:
        connector = docker.connector(containers=[name])
        with pytest.raises(warmshell.ConnectError, match="created"):
            await connector.deploy()
        await connector.undeploy()
    finally:
        docker.remove(name)


async def test_in_a_file_it_is_deployed_when_it_is_used(docker: Docker, tmp_path: Path) -> None:
    config = {"image": "warm/busybox:1", "network": "none", "host": docker.socket}
    file = tmp_path / "warmshell.yaml"
    file.write_text(json.dumps({"deployments": {"box": {"type": "docker", "config": config}}}))
    async with DeploymentManager(DeploymentFile(str(file))) as manager:
        assert docker.containers() == []
        connector = manager.connector("box")
        [name] = await connector.get_available_locations()
        assert (await connector.run(name, ["echo", "in"], capture_output=True)).text == "in\n"
    assert docker.containers() == []


# -- words, without a daemon ------------------------------------------------------------------------------------------


async def test_what_one_process_holds_others_reach(docker: Docker, tmp_path: Path) -> None:
    path = tmp_path / "warmshell.yaml"
    options = {"image": "warm/busybox:1", "network": "none", "host": docker.socket, "env": ["A=1"]}
    path.write_text(json.dumps({"deployments": {"box": {"type": "docker", "config": options}}}))
    file = DeploymentFile(str(path))
    async with DeploymentManager(file) as holder:
        held = (await holder.deploy("box")).held()
        [name] = held["containers"]
        async with DeploymentManager(file, held={"box": held}) as other:
            assert (await other.connector("box").run(name, "echo $A", capture_output=True)).text == "1\n"
        assert len(docker.containers()) == 1
    assert docker.containers() == []


def test_every_option_is_a_flag_that_docker_knows(docker: Docker) -> None:
    known = docker.ask("run", "--help")
    names = set(RunOptions.__dataclass_fields__) - set(RunOptions.__mro__[1].__dataclass_fields__)  # type: ignore[attr-defined]
    assert {name for name in names if flag(name) + " " not in known} <= {"annotation", "cgroupns"}  # as they came later


def test_words() -> None:
    options = DockerOptions(
        image="i",
        capAdd=["A", "B"],
        cpus=1.5,
        init=True,
        privileged=False,
        env=["X=1"],
        context="c",
        memory=1000,
        sigProxy=False,
        logOpt=["a=b"],
    )
    flags = run_flags(options)
    assert flags[:5] == ["--cap-add=A", "--cap-add=B", "--cpus=1.5", "--env=X", "--init"]
    assert flags[5:] == ["--log-opt=a=b", "--memory=1000", "--rm", "--sig-proxy=false"]
    assert run_words(options, "n", "l", "h")[:6] == ["docker", "--context", "c", "run", "--interactive", "--name=n"]


@pytest.mark.parametrize("given", [{}, {"image": "a", "containers": ["b"]}])
def test_an_image_or_containers(given: dict[str, object]) -> None:
    with pytest.raises(warmshell.LocationError, match="either image"):
        connector_class("docker")("d", **given)  # type: ignore[arg-type]


def test_around_is_one_location() -> None:
    assert isinstance(connector_class("podman")("d", image="i").connector, LocalConnector)  # type: ignore[call-arg]
