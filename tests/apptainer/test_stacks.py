"""Instances inside of SSH hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import warmshell
from apptainer.lab import Apptainer
from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
from ssh.lab import Lab
from warmshell.deployment.file import Deployment, Wraps
from warmshell.deployment.manager import DeploymentManager


@pytest.mark.parametrize(
    ("host", "image", "server"), [("hostA", "busybox.sif", False), ("hostB-via-A", "python", True)]
)
async def test_instances_at_an_ssh_host(
    apptainer: Apptainer,
    lab: Lab,  # noqa: F811
    tmp_path: Path,
    host: str,
    image: str,
    *,
    server: bool,
) -> None:
    if image == "python" and not apptainer.has_python:
        pytest.skip("there is no /usr/bin/python3 to make an image of")
    config = {"image": apptainer.image(image), "program": apptainer.program, "count": 2, "contain": True,
              "env": ["SECRET=it's $x"]}  # fmt: skip
    outer = Deployment("outer", "ssh", {"nodes": [host], "config": lab.config, "server": server})
    async with DeploymentManager([outer, Deployment("inner", "apptainer", config, wraps=Wraps("outer"))]) as manager:
        connector = manager.connector("inner")
        found = await connector.get_available_locations()
        assert sorted(found) == sorted(apptainer.instances())
        assert {each.wraps.name for each in found.values() if each.wraps is not None} == {host}
        node = await connector.location(next(iter(found)))
        assert node.place.framing == ("server" if image == "python" else "markers")
        assert (await node.run('printf "%s" "$SECRET$SSHLAB_HOST"')).text == f"it's $x{host[:5]}"
        with pytest.raises(warmshell.CommandTimeout):
            await node.run("sleep 1000 & echo begun; wait", timeout=1.0)
        assert "sleep 1000\n" not in (await node.run("ps -o args; true")).text
        (tmp_path / "file").write_bytes(os.urandom(1_000_000))
        await node.put(tmp_path / "file", "/tmp/file")
        await node.get("/tmp/file", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert apptainer.instances() == []


@pytest.mark.parametrize("server", [True, False])
def test_a_client_that_is_killed_leaves_no_instance_at_the_host(
    apptainer: Apptainer,
    lab: Lab,  # noqa: F811
    *,
    server: bool,
) -> None:
    program = f"""
        import asyncio
        from warmshell.deployment.file import Deployment, Wraps
        from warmshell.deployment.manager import DeploymentManager
        async def main():
            outer = Deployment("outer", "ssh", dict(nodes=["hostA"], config={lab.config!r}, server={server}))
            config = dict(image={apptainer.image("busybox.sif")!r}, program={apptainer.program!r})
            inner = Deployment("inner", "apptainer", config, wraps=Wraps("outer"))
            async with DeploymentManager([outer, inner]) as all:
                [name] = await all.connector("inner").get_available_locations()
                print(name, flush=True)
                await all.connector("inner").run(name, "sleep 1000")
        asyncio.run(main())
    """
    words = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert apptainer.instances() == [name]
        process.send_signal(signal.SIGKILL)
        apptainer.nothing_left()
        process.wait()
