"""Version 5 of the protocol, and what a real server does not do when it is asked to, with a stand-in for it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

import warmshell
from kubernetes import fake
from kubernetes.fake import Fake
from warmshell.connector.kubernetes import api
from warmshell.testing import LocationConformance, eventually
from warmshell.testing.closing import Closing
from warmshell.testing.processes import Processes
from warmshell.testing.stdin import Stdin
from warmshell.testing.suite import Suite

WHOLE = bool(os.environ.get("WARMSHELL_WHOLE"))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Fake]:
    async with fake.running() as server:
        yield server


def connect(there: Fake, directory: Path, user: dict[str, Any] | None = None, **options: Any) -> warmshell.Location:
    file = directory / "kubeconfig"
    if not file.exists():
        file.write_text(fake.kubeconfig(there.url, user))
    return warmshell.connect("k8s://default/pod", kubeconfig=str(file), **options)


class VersionFive(Suite):
    use_server: ClassVar[bool] = True
    protocols: ClassVar[tuple[str, ...]] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
    local = True
    has_terminal = False

    @pytest_asyncio.fixture(autouse=True)
    async def _server(self, server: Fake, tmp_path: Path) -> AsyncIterator[None]:
        self.server, self.directory = server, tmp_path
        server.protocols = self.protocols
        yield
        assert set(server.chosen) <= {self.protocols[0]}

    def connect(self, **options: Any) -> warmshell.Location:
        options.setdefault("cwd", os.getcwd())
        return connect(self.server, self.directory, server=self.use_server, **options)

    @pytest_asyncio.fixture
    async def observer(self, _server: None) -> AsyncIterator[warmshell.Location]:
        """The container is this machine, which can be asked quicker."""
        async with warmshell.connect("local:") as node:
            yield node


class TestServer(VersionFive, Closing if WHOLE else Processes):
    pass


class Markers(VersionFive, Processes, Stdin):
    use_server = False
    late_output_is_apart = False

    async def test_writing_to_one_that_reads_no_more(self, node: warmshell.Location) -> None:
        pytest.skip("the API server does not tell that a program has closed its standard input")


class TestMarkers(Markers, LocationConformance if WHOLE else Suite):  # type: ignore[misc]
    pass


class TestVersionFourMarkers(Markers):
    protocols = ("v4.channel.k8s.io",)


# -- what is not passed on as success ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("use_server", [True, False])
async def test_output_that_is_cut_is_no_success(server: Fake, tmp_path: Path, cut: bool, use_server: bool) -> None:
    """Whether the server says that all went well (kubernetes#124571), or nothing."""
    async with connect(server, tmp_path, server=use_server) as node:
        assert (await node.run("echo whole")).text == "whole\n"
        server.most, server.cut = 3000, cut
        script = "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo 'a line of some length'; done"
        async with asyncio.timeout(30):
            with pytest.raises(warmshell.WarmshellError):
                process = await node.place.open_bulk(warmshell.command.Command(script))
                async with process:
                    await process.stdout.read()
                    assert await process.wait() != 0


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("a text", "a message of text"),
        (b"", "a message without a channel"),
        (b"\x09x", "a message on channel 9"),
        (b'\x03{"status": "Failure", "message": "exec: no such thing"}', "exec: no such thing"),
    ],
)
async def test_what_a_server_says_instead(server: Fake, tmp_path: Path, says: str | bytes, words: str) -> None:
    server.says = says
    with pytest.raises(warmshell.ConnectError, match=words):
        async with connect(server, tmp_path, connectTimeout=5.0):
            pass


@pytest.mark.parametrize("protocols", [(), ("v1.channel.k8s.io",)])
async def test_a_server_that_speaks_no_version_that_is_known(
    server: Fake, tmp_path: Path, protocols: tuple[str, ...]
) -> None:
    server.protocols = protocols
    with pytest.raises(warmshell.ConnectError, match=r"speaks none of v5\.channel\.k8s\.io, v4"):
        async with connect(server, tmp_path):
            pass


async def test_signs_of_life(server: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_ALIVE_SECONDS", 0.05)
    async with connect(server, tmp_path):
        await eventually(lambda: server.pings > 2)


async def test_through_a_proxy(server: Fake, tmp_path: Path) -> None:
    text = fake.kubeconfig("http://no-such-host.invalid:8001", **{"proxy-url": server.url})
    (tmp_path / "kubeconfig").write_text(text)
    async with connect(server, tmp_path) as node:
        assert (await node.run("echo in")).text == "in\n"
    assert {request.host for request in server.asked} == {"no-such-host.invalid"}


# -- who asks ---------------------------------------------------------------------------------------------------------


async def test_a_program_that_makes_tokens_is_asked_again_when_one_is_not_taken(server: Fake, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(
        '#!/bin/sh\nread -r n <"$COUNT"; n=$((n + 1)); echo $n >"$COUNT"\n'
        'echo "{\\"kind\\": \\"ExecCredential\\", \\"status\\": {\\"token\\": \\"$1-$n\\"}}"\n'
    )
    plugin.chmod(stat.S_IRWXU)
    (tmp_path / "count").write_text("0\n")
    user = {"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "args": ["mine"],
        "env": [{"name": "COUNT", "value": str(tmp_path / "count")}],
    }}  # fmt: skip
    server.token = "mine-1"
    async with connect(server, tmp_path, user) as node:
        assert (await node.run("echo in")).text == "in\n"
        async with node.open(["echo", "same"]):
            pass
        server.token = "mine-2"
        process = await node.place.open_bulk(warmshell.command.Command(["echo", "other"]))
        async with process:
            assert await process.stdout.read() == b"other\n"
    assert (tmp_path / "count").read_text() == "2\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no session >&2; exit 3", "failed with status 3: no session.*log in again"),
        ("echo hello", "tells no credentials"),
        (None, "there is no program '.*plugin'.*get it there"),
    ],
)
async def test_a_program_that_makes_none(server: Fake, tmp_path: Path, script: str | None, words: str) -> None:
    if script is not None:
        (tmp_path / "plugin").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "plugin").chmod(stat.S_IRWXU)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "./plugin",
                     "installHint": "get it there"}}  # fmt: skip
    with pytest.raises(warmshell.AuthenticationError, match=words):
        async with connect(server, tmp_path, user):
            pass


async def test_a_token_in_a_file_is_read_again_when_it_is_not_taken(server: Fake, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    server.token = "first"
    async with connect(server, tmp_path, {"tokenFile": "token"}) as node:
        (tmp_path / "token").write_text("second\n")
        server.token = "second"
        process = await node.place.open_bulk(warmshell.command.Command(["echo", "other"]))
        async with process:
            assert await process.stdout.read() == b"other\n"


async def test_one_that_the_server_does_not_know(server: Fake, tmp_path: Path) -> None:
    server.token = "right"
    with pytest.raises(warmshell.AuthenticationError, match="does not know the user of context 'fake'") as error:
        async with connect(server, tmp_path, {"token": "wrong"}):
            pass
    assert "wrong" not in str(error.value)
    assert json.loads((tmp_path / "kubeconfig").read_text())
