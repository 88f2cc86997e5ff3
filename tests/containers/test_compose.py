"""Projects of Compose: brought up, used, taken down, whatever happens to whom."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import warmshell
from containers.lab import Docker, NotHere
from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
from ssh.lab import Lab
from warmshell.connector.compose import ComposeConnector
from warmshell.deployment.file import Deployment, DeploymentFile, Wraps
from warmshell.deployment.manager import DeploymentManager
from warmshell.testing import eventually
from warmshell.transfer.api import At

SLEEP = {"image": "warm/busybox:1", "network_mode": "none", "command": "sleep 100000", "stop_grace_period": "0s"}

SICK = {"test": ["CMD", "false"], "interval": "100ms"}


class Project:
    """A Compose file of one test, and the project that it makes."""

    def __init__(self, docker: Docker, path: Path) -> None:
        self.docker = docker
        self.path = path
        self.name = f"w{path.name.replace('_', '')}"[:40].lower()

    def write(self, **services: dict[str, Any]) -> None:
        """These services; what is not said of one is as in SLEEP."""
        whole = {name: {k: v for k, v in {**SLEEP, **service}.items() if v} for name, service in services.items()}
        (self.path / "compose.yaml").write_text(json.dumps({"name": self.name, "services": whole}))

    @property
    def options(self) -> dict[str, Any]:
        return {"files": ["compose.yaml"], "host": self.docker.socket}

    def connector(self, **options: Any) -> ComposeConnector:
        return ComposeConnector("project", str(self.path), **{**self.options, **options})


@pytest.fixture(scope="module")
def plugin(docker_lab: Docker) -> Iterator[None]:
    """There is ``docker compose``, or a skip says why not."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            directory = docker_lab.plugin()
        except NotHere as why:
            pytest.skip(str(why))
        if directory is not None:
            patch.setenv("DOCKER_CONFIG", directory)
        yield


@pytest.fixture
def given(docker: Docker, plugin: None, tmp_path: Path) -> Project:
    made = Project(docker, tmp_path)
    made.write(web={"scale": 2}, db={})
    return made


async def test_every_container_of_every_service_is_a_location(given: Project) -> None:
    async with given.connector(timeout=1) as connector:
        found = await connector.get_available_locations()
        assert sorted(found) == [f"{given.name}-db-1", f"{given.name}-web-1", f"{given.name}-web-2"]
        assert {each.service for each in found.values()} == {"db", "web"}
        assert len(await connector.get_available_locations("web")) == 2
        ran = await connector.run(found[f"{given.name}-web-2"], "hostname", capture_output=True)
        assert ran.text.strip() in given.docker.ask("ps", "--quiet", "--no-trunc")
        with pytest.raises(warmshell.LocationError, match=r"no service 'x'.*it has db, web"):
            await connector.get_available_locations("x")
    assert given.docker.containers() == []


async def test_how_many_containers_can_be_said_here(given: Project) -> None:
    async with given.connector(scale={"web": 3, "db": 0}, projectName="other") as connector:
        assert sorted(await connector.get_available_locations()) == [f"other-web-{number}" for number in (1, 2, 3)]
    assert given.docker.containers() == []


async def test_one_that_is_up_is_reached_and_left(given: Project) -> None:
    async with AsyncExitStack() as stack:
        other = given.connector()
        stack.push_async_callback(other.undeploy, external=True)
        with pytest.raises(warmshell.ConnectError, match=r"no service of the project .* runs"):
            await other.deploy(external=True)
    async with given.connector():
        other = given.connector()
        await other.deploy(external=True)
        try:
            assert len(await other.get_available_locations()) == 3
        finally:
            await other.undeploy(external=True)
        assert len(given.docker.containers()) == 3


async def test_one_that_belongs_to_a_client_is_no_others(given: Project) -> None:
    async with given.connector():
        other = given.connector()
        with pytest.raises(warmshell.ConnectError, match="belongs to another client"):
            await other.deploy()
        await other.undeploy()
        assert len(given.docker.containers()) == 3


async def test_what_one_process_holds_others_reach(given: Project) -> None:
    path = given.path / "warmshell.yaml"
    path.write_text(json.dumps({"deployments": {"box": {"type": "docker-compose", "config": given.options}}}))
    file = DeploymentFile(str(path))
    async with DeploymentManager(file) as holder:
        held = (await holder.deploy("box")).held()
        async with DeploymentManager(file, held={"box": held}) as other:
            assert len(await other.connector("box").get_available_locations("web")) == 2
        assert len(given.docker.containers()) == 3
    assert given.docker.containers() == []


async def test_at_an_ssh_host(given: Project, lab: Lab) -> None:  # noqa: F811
    program = given.path / "docker"  # an account there does not have the variables of this process
    program.write_text(f'#!/bin/sh\nDOCKER_CONFIG={os.environ.get("DOCKER_CONFIG", "")} exec docker "$@"\n')
    program.chmod(0o755)
    files = {**given.options, "files": [str(given.path / "compose.yaml")], "program": str(program)}
    async with DeploymentManager([
        Deployment("host", "ssh", {"nodes": ["hostA"], "config": lab.config}),
        Deployment("box", "docker-compose", files, wraps=Wraps("host")),
    ]) as manager:  # fmt: skip
        found = await manager.connector("box").get_available_locations("db")
        [name] = found
        assert found[name].wraps.deployment == "host"
        assert (await manager.connector("box").run(name, "echo in", capture_output=True)).text == "in\n"
    assert given.docker.containers() == []


async def test_mounted_files_are_not_sent(given: Project) -> None:
    given.write(one={"volumes": [f"{given.path}:/data"]})
    async with given.connector() as connector:
        box = await connector.location(f"{given.name}-one-1")
        copied = await warmshell.copy(given.path / "compose.yaml", At(box, "/data/copy"))
        assert copied.files == 0
    assert (given.path / "copy").read_bytes() == (given.path / "compose.yaml").read_bytes()


# -- what goes wrong -------------------------------------------------------------------------------------------------

BAD = {
    "a service that is never healthy": (
        {"healthcheck": {**SICK, "retries": 1}, "command": "sh -c 'echo sick; sleep 1000'"},
        r"-bad-1 is unhealthy.*sick",
    ),
    "a service that ends": ({"command": "sh -c 'echo oh no >&2; exit 3'"}, r"-bad-1 has ended with status 3.*oh no"),
    "an image that is nowhere": ({"image": "warm/nowhere:1", "pull_policy": "never"}, "warm/nowhere"),
    "a key that there is not": ({"imagine": "x"}, r"cannot be used.*imagine"),
    "a mount of nothing": ({"volumes": [{"type": "bind", "source": "/no/where", "target": "/x"}]}, "/no/where"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
async def test_what_cannot_come_up_is_one_clear_error(given: Project, what: str) -> None:
    service, words = BAD[what]
    given.write(good={}, bad=service)
    connector = given.connector()
    with pytest.raises(warmshell.ConnectError, match=words) as error:
        await connector.deploy()
    assert "\n" not in error.value.message
    assert given.docker.containers() == []
    await connector.undeploy()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"files": ["none.yaml"]}, r"none\.yaml"),
        ({"host": "unix:///nowhere.sock"}, "start the daemon"),
        ({"program": "no-docker-here"}, "neither 'no-docker-here compose' nor"),
    ],
)
async def test_what_is_not_there_is_one_clear_error(given: Project, options: dict[str, Any], words: str) -> None:
    connector = given.connector(**options)
    with pytest.raises(warmshell.ConnectError, match=words):
        await connector.deploy()
    await connector.undeploy()
    assert given.docker.containers() == []


async def test_what_was_not_up_in_time_is_taken_down(given: Project) -> None:
    given.write(bad={"healthcheck": {**SICK, "retries": 1000}})
    connector = given.connector(deployTimeout=3)
    with pytest.raises(warmshell.ConnectError, match="did not end within 3 s"):
        await connector.deploy()
    await connector.undeploy()
    assert given.docker.containers() == []


async def test_cancelled_while_it_comes_up(given: Project) -> None:
    given.write(slow={"healthcheck": {**SICK, "retries": 1000}})
    connector = given.connector()
    coming = asyncio.ensure_future(connector.deploy())
    await eventually(lambda: len(given.docker.containers()) == 1, 30.0)
    coming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await coming
    await connector.undeploy()
    assert given.docker.containers() == []


async def test_files_that_are_gone_keep_nothing_up(given: Project) -> None:
    async with given.connector():
        (given.path / "compose.yaml").write_text("services: {")
    assert given.docker.containers() == []


def client(given: Project) -> subprocess.Popen[str]:
    program = f"""
        import asyncio
        from warmshell.connector.compose import ComposeConnector
        async def main():
            async with ComposeConnector("d", {str(given.path)!r}, **{given.options!r}) as connector:
                print(len(await connector.get_available_locations()), flush=True)
                await asyncio.sleep(1000)
        asyncio.run(main())
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def test_a_client_that_is_interrupted_takes_it_down(given: Project) -> None:
    with client(given) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        process.send_signal(signal.SIGINT)
        process.wait()
    assert given.docker.containers() == []


async def test_what_a_killed_client_left_is_swept_by_the_next(given: Project) -> None:
    given.write(web={"scale": 2}, db={"network_mode": None})
    before = given.docker.ask("network", "ls", "--quiet").split()
    with client(given) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        process.kill()
        process.wait()
    assert len(given.docker.containers()) == 3
    assert len(given.docker.ask("network", "ls", "--quiet").split()) == len(before) + 1
    async with given.docker.connector(count=1):  # any deployment of this kind, of any name
        assert len(given.docker.containers()) == 1
    assert given.docker.ask("network", "ls", "--quiet").split() == before
