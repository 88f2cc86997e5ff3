"""Containers inside of other places, and other places inside of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import warmshell
from containers.lab import Docker
from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
from ssh.lab import Lab
from warmshell.deployment.file import Deployment, Wraps
from warmshell.deployment.manager import DeploymentManager


def box(docker: Docker, image: str = "warm/busybox:1", **more: object) -> dict[str, object]:
    return {"image": image, "network": "none", "host": docker.socket, **more}


@pytest.mark.parametrize("host", ["hostA", "hostB-via-A"])
@pytest.mark.parametrize("image", ["warm/busybox:1", "warm/python:1"])
async def test_a_container_at_an_ssh_host(
    docker: Docker,
    lab: Lab,  # noqa: F811
    tmp_path: Path,
    host: str,
    image: str,
) -> None:
    outer = Deployment("outer", "ssh", {"nodes": [host], "config": lab.config})
    inner = Deployment("inner", "docker", box(docker, image, count=2), wraps=Wraps("outer"))
    async with DeploymentManager([outer, inner]) as manager:
        connector = manager.connector("inner")
        names = list(await connector.get_available_locations())
        assert len(names) == len(docker.containers()) == 2
        node = await connector.location(names[0])
        assert (await node.run(["printf", "%s", "it's *"])).stdout == b"it's *"
        with pytest.raises(warmshell.CommandTimeout):
            await node.run("sleep 1000 & echo begun; wait", timeout=1.0)
        listed = (await node.run("ps -o pid,ppid,stat,args; true")).text
        assert "sleep 1000" not in listed
        (tmp_path / "file").write_bytes(os.urandom(1_000_000))
        await node.put(tmp_path / "file", "/root/file")
        await node.get("/root/file", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert docker.containers() == []


async def test_a_program_inside_of_a_container(docker: Docker) -> None:
    outer = Deployment("outer", "docker", box(docker))
    inner = Deployment("inner", "command", {"exec": "chroot /"}, wraps=Wraps("outer"))
    async with DeploymentManager([outer, inner]) as manager:
        connector = manager.connector("inner")
        [name] = await connector.get_available_locations()
        inside = await (await connector.location(name)).run("hostname")
        assert inside.text.strip() in docker.ask("ps", "--quiet", "--no-trunc")
    assert docker.containers() == []


BWRAP = "bwrap --dev-bind / / --unshare-pid --proc /proc --tmpfs /mnt --die-with-parent"


@pytest.mark.parametrize("server", [True, False])
async def test_bubblewrap_inside_of_a_container(docker: Docker, tmp_path: Path, *, server: bool) -> None:
    """It makes namespaces of its own in there, which a container has to be allowed."""
    rights = {"capAdd": ["SYS_ADMIN"], "securityOpt": ["seccomp=unconfined", "apparmor=unconfined"]}
    outer = Deployment("outer", "docker", box(docker, "warm/python:1", **rights))
    inner = Deployment("inner", "command", {"exec": BWRAP, "server": server}, wraps=Wraps("outer"))
    async with DeploymentManager([outer, inner]) as manager:
        connector = manager.connector("inner")
        [(name, found)] = (await connector.get_available_locations()).items()
        assert found.wraps is not None
        assert found.wraps.name in docker.ask("ps", "--format={{.Names}}")
        node = await connector.location(name)
        assert node.place.framing == ("server" if server else "markers")
        around = await manager.connector("outer").location(found.wraps.name)
        spaces = [(await each.run("readlink /proc/self/ns/pid; uname -n")).text.split() for each in (node, around)]
        assert spaces[0][0] != spaces[1][0]
        assert spaces[0][1] == spaces[1][1]
        assert (await node.run(["printf", "%s", "it's *"])).stdout == b"it's *"
        with pytest.raises(warmshell.CommandTimeout):
            await node.run("sleep 1000 & echo begun; wait", timeout=1.0)
        assert "sleep 1000" not in (await around.run("ps -eo args")).text
        async with node.shell() as shell:
            await shell.run("cd /usr && X=7")
            assert (await shell.run('echo "$PWD $X"')).text == "/usr 7\n"
        (tmp_path / "file").write_bytes(os.urandom(1_000_000))
        await node.put(tmp_path / "file", "/root/file")
        assert (await around.run("wc -c </root/file")).text.strip() == "1000000"
        await node.get("/root/file", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert docker.containers() == []
