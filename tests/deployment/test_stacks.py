"""Places inside of places: what the client leaves when it is killed, and programs at SSH hosts."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import warmshell
from cli.conftest import Cli
from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
from ssh.lab import Lab
from warmshell.deployment.file import Deployment, Wraps
from warmshell.deployment.manager import DeploymentManager
from warmshell.testing import eventually_sync

BWRAP = "bwrap --dev-bind / / --die-with-parent"
WAYS = {
    "shared": BWRAP,
    "own": f"{BWRAP} --unshare-pid --proc /proc",
    "unshare": "unshare --fork --pid --mount-proc",
    "no-proc": f"{BWRAP} --unshare-pid",
}
pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(tmp_path)
    yield cli
    eventually_sync(lambda: not cli.left(), 20, lambda: f"left: {cli.left()}")


@pytest.mark.parametrize("server", ["true", "false"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_by_a_client_that_was_killed(warm: Cli, tmp_path: Path, way: str, server: str):
    if way == "unshare" and os.geteuid() != 0:
        pytest.skip("only root can unshare")
    (tmp_path / "warmshell.yaml").write_text(
        f"deployments: {{a: {{type: command, config: {{exec: '{WAYS[way]}', server: {server}}}}}}}"
    )
    process = warm.start("run", "--on", "a", "-c", "setsid sleep 1000 & (trap '' TERM; sleep 1000) & echo ready; wait")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", process.communicate()[1]
        assert any("sleep" in each for each in warm.left())
    finally:
        process.kill()
        process.communicate()


async def test_files_go_in_and_out(tmp_path: Path):
    data = bytes(range(256)) * 5000
    (tmp_path / "from").write_bytes(data)
    inner = Deployment("a", "command", {"exec": f"{BWRAP} --tmpfs /mnt --unshare-pid --proc /proc"})
    async with DeploymentManager([inner, Deployment("b", "command", {"exec": "env"}, wraps=Wraps("a"))]) as manager:
        a, b = manager.connector("a"), manager.connector("b")
        await b.copy_local_to_remote(str(tmp_path / "from"), str(tmp_path / "to"), ["b"])
        assert (tmp_path / "to").read_bytes() == data
        node = await a.location("a")
        await node.put(tmp_path / "from", "/mnt/in")
        assert not os.path.exists("/mnt/in")
        assert await node.path("/mnt/in").exists()
        await warmshell.copy(node.path("/mnt/in"), (await b.location("b")).path(str(tmp_path / "out")))
        assert (tmp_path / "out").read_bytes() == data


def host(lab: Lab) -> Deployment:  # noqa: F811
    return Deployment("host", "ssh", {"nodes": ["hostA"], "config": lab.config})


@pytest.mark.parametrize("server", [True, False], ids=["server", "markers"])
@pytest.mark.parametrize("way", ["shared", "own"])
async def test_inside_of_a_host(lab: Lab, way: str, *, server: bool):  # noqa: F811
    inner = Deployment("cage", "command", {"exec": WAYS[way], "server": server}, wraps=Wraps("host"))
    async with DeploymentManager([host(lab), inner]) as manager:
        cage = manager.connector("cage")
        found = await cage.get_available_locations()
        around = found["cage"].wraps
        assert around is not None
        assert (around.deployment, around.name) == ("host", "hostA")
        result = await cage.run("cage", "cat; echo err >&2; exit 3", stdin="/dev/null", capture_output=True)
        assert (result.returncode, result.stdout, result.stderr) == (3, b"", b"err\n")
        node = await cage.location("cage")
        results = await asyncio.gather(*[node.run(["echo", str(n)]) for n in range(20)])
        assert [r.text for r in results] == [f"{n}\n" for n in range(20)]
        assert (await node.run(["cat"], stdin=bytes(range(256)) * 1000)).stdout == bytes(range(256)) * 1000
        with pytest.raises(warmshell.CommandTimeout):
            await node.run("setsid sleep 1000 & sleep 1000", timeout=0.5)
        async with node.open("setsid sleep 1000 & echo ready; wait") as process:
            assert await process.stdout.receive() == b"ready\n"


async def test_inside_of_several_hosts(lab: Lab):  # noqa: F811
    hosts = Deployment("hosts", "ssh", {"nodes": ["hostA", "hostB"], "config": lab.config})
    inner = Deployment("cage", "command", {"exec": BWRAP}, wraps=Wraps("hosts"))
    async with DeploymentManager([hosts, inner]) as manager:
        cage = manager.connector("cage")
        found = await cage.get_available_locations()
        assert {name: each.wraps.name for name, each in found.items() if each.wraps} == {
            "hostA": "hostA", "hostB": "hostB",
        }  # fmt: skip
        results = await asyncio.gather(*[cage.run(name, ["echo", name], capture_output=True) for name in found])
        assert [(r.location, r.text) for r in results] == [(name, f"{name}\n") for name in found]


async def test_a_host_that_is_lost_and_comes_again(lab: Lab):  # noqa: F811
    inner = Deployment("cage", "command", {"exec": BWRAP}, wraps=Wraps("host"))
    async with DeploymentManager([host(lab), inner]) as manager:
        cage = manager.connector("cage")
        await cage.get_available_locations()
        running = asyncio.ensure_future(cage.run("cage", "sleep 1000"))
        node = await cage.location("cage")
        while node.statistics().busy == 0:
            await asyncio.sleep(0)
        for pid in lab.connections("hostA"):
            os.kill(pid, 9)
        with pytest.raises(warmshell.ShellLost) as lost:
            await running
        assert lost.value.started in ("yes", "unknown")
        assert (await cage.run("cage", ["echo", "again"], capture_output=True)).text == "again\n"


async def test_a_host_that_is_not_there(lab: Lab):  # noqa: F811
    gone = Deployment("host", "ssh", {"nodes": ["nowhere.invalid"], "config": lab.config})
    inner = Deployment("cage", "command", {"exec": BWRAP}, wraps=Wraps("host"))
    async with DeploymentManager([gone, inner]) as manager:
        with pytest.raises(warmshell.ConnectError, match="no host has this name"):
            await manager.connector("cage").get_available_locations()
