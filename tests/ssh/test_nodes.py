"""SSH hosts as a deployment: nodes, tunnels, services, another way in for data, limits."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ssh.lab import Lab, children
from ssh.test_getting_in import port_of, written
from warmshell.connector.ssh_connector import SshConnector
from warmshell.errors import AuthenticationError, ConnectError, LocationError
from warmshell.testing import eventually


class Named:
    def __init__(self, name: str, service: str | None) -> None:
        self.name = name
        self.service = service


def cluster(lab: Lab, nodes: list[Any], **options: Any) -> SshConnector:
    return SshConnector("cluster", str(lab.home), nodes=nodes, **{"config": "config", **options})


async def host(connector: SshConnector, name: str) -> str:
    return (await connector.run(name, "echo $SSHLAB_HOST", capture_output=True)).check().text.strip()


# -- nodes -------------------------------------------------------------------------------------------------------------


async def test_several_nodes_each_with_options_of_its_own(lab):
    nodes = ["hostA", {"hostname": "hostB", "username": "warm-dash"}, "warm-bash@hostA"]
    async with cluster(lab, nodes) as connector:
        found = await connector.get_available_locations(tmp_directory="/tmp")
        assert list(found) == ["hostA", "hostB", "warm-bash@hostA"]
        assert found["hostB"].hostname == "hostB"
        assert found["hostB"].cores >= 1
        assert any("/tmp" in disk.paths for disk in found["hostB"].disks.values())
        assert await host(connector, "hostB") == "hostB"
        users = [(await connector.run(n, ["id", "-un"], capture_output=True)).text.strip() for n in found]
        assert users == ["root", "warm-dash", "warm-bash"]


async def test_a_node_by_address_and_port_with_a_key_relative_to_the_file(lab):
    where = f"{lab.address}:{port_of(lab, 'hostB')}"
    async with cluster(lab, [{"hostname": where, "sshKey": "key"}]) as connector:
        assert await host(connector, where) == "hostB"


async def test_a_node_that_is_not_there_delays_no_other(lab):
    """The first refuses at once, the second never answers; the third is used meanwhile."""
    lab.host("silent")
    os.kill(int((lab.home / "hosts" / "silent" / "pid").read_text()), 19)
    try:
        nodes = [f"{lab.address}:1", {"hostname": "silent", "connectTimeout": 4}, "hostA"]
        async with cluster(lab, nodes) as connector:
            began = time.monotonic()
            waiting = asyncio.create_task(connector.get_available_locations())
            assert await host(connector, "hostA") == "hostA"
            assert not waiting.done()
            assert list(await waiting) == ["hostA"]
            assert set(connector.away) == {f"{lab.address}:1", "silent"}
            assert "refused" in str(connector.away[f"{lab.address}:1"])
            again = time.monotonic()
            assert list(await connector.get_available_locations()) == ["hostA"]
            assert time.monotonic() - again < again - began
    finally:
        os.kill(int((lab.home / "hosts" / "silent" / "pid").read_text()), 18)


async def test_a_wrong_key_is_named_at_once(lab):
    nodes = [{"hostname": "hostA", "sshKey": "strange-key"}]
    async with cluster(lab, nodes, config=no_key(lab)) as connector:
        with pytest.raises(AuthenticationError, match="none of the keys"):
            await connector.get_available_locations()


def no_key(lab: Lab) -> str:
    path = lab.home / "config-without-key"
    lines = (lab.home / "config").read_text().splitlines()
    return written(path, "\n".join(line for line in lines if "IdentityFile" not in line) + "\n  IdentityFile none\n")


@pytest.mark.parametrize("transport", ["openssh", "asyncssh"])
async def test_shells_streams_and_copies(lab, tmp_path, transport):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "it's").write_bytes(b"\0data")
    async with cluster(lab, ["hostA", "hostB"], transport=transport) as connector:
        shell = await connector.get_shell(["bash"], "hostA")
        await shell.run("x=1")
        assert (await (await connector.get_shell(["bash"], "hostA")).run("echo $x")).text == "1\n"
        async with await connector.get_stream_writer(["tee", str(tmp_path / "streamed")], "hostB") as writer:
            await writer.write(b"abc" * 100_000)
        async with await connector.get_stream_reader(["cat", str(tmp_path / "streamed")], "hostA") as reader:
            assert await reader.read() == b"abc" * 100_000
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        await connector.copy_local_to_remote(str(tmp_path / "tree"), str(tmp_path / "a"), ["hostA"])
        await connector.copy_remote_to_remote(str(tmp_path / "a" / "tree"), str(tmp_path / "b"), ["hostB"], "hostA")
        await connector.copy_remote_to_local(str(tmp_path / "b" / "tree"), str(tmp_path / "c"), "hostB")
        assert (tmp_path / "c" / "it's").read_bytes() == b"\0data"


async def test_what_all_nodes_share_is_copied_once(lab, tmp_path):
    """And within it, nothing is sent at all."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "file").write_bytes(b"x" * 1000)
    async with cluster(lab, ["hostA", "hostB"], sharedPaths=[str(tmp_path / "shared")]) as connector:
        shared = str(tmp_path / "shared")
        copied = await connector.copy_local_to_remote(str(tmp_path / "file"), f"{shared}/one", ["hostA", "hostB"])
        assert list(copied.targets) == [f"hostA:{shared}/one"]
        copied = await connector.copy_remote_to_remote(f"{shared}/one", f"{shared}/two", ["hostB"], "hostA")
        assert copied.size == 0
        assert (tmp_path / "shared" / "two").read_bytes() == b"x" * 1000
    assert connector.shares(f"{shared}/a/../b")
    assert not connector.shares(f"{shared}/../file")
    assert not connector.shares(f"{shared}2")


# -- ways in -----------------------------------------------------------------------------------------------------------


async def test_a_tunnel_with_options_of_its_own(lab):
    before = lab.log("hostA").count("Accepted")
    tunnel = {"hostname": "hostA", "username": "warm-dash", "sshKey": "locked-key", "sshKeyPassphraseFile": "phrase"}
    written(lab.home / "phrase", "a passphrase\n")
    nodes = [{"hostname": "hostB", "sshKey": "key", "tunnel": tunnel}]
    async with cluster(lab, nodes, config=no_key(lab)) as connector:
        assert await host(connector, "hostB") == "hostB"
        words = " ".join(command_lines())
        assert "a passphrase" not in words
    log = lab.log("hostA")
    assert log.count("Accepted") == before + 1
    assert "Accepted publickey for warm-dash" in log


async def test_a_tunnel_with_a_password(lab):
    tunnel = {"hostname": "hostA", "username": "warm-password", "passwordFile": "password", "sshKey": None}
    async with cluster(lab, [{"hostname": "hostB", "tunnel": tunnel}]) as connector:
        assert await host(connector, "hostB") == "hostB"
        assert (lab.home / "password").read_text() not in " ".join(command_lines())
    assert "Accepted password for warm-password" in lab.log("hostA")


async def test_a_tunnel_through_a_tunnel_with_a_password_at_the_target(lab):
    lab.host("%odd")
    tunnel = {"hostname": "%odd", "tunnel": {"hostname": "hostA", "username": "warm-bash"}}
    nodes = [{"hostname": "hostB", "username": "warm-password", "passwordFile": "password", "tunnel": tunnel}]
    tunnel |= {"username": "warm-dash", "passwordFile": None}
    async with cluster(lab, nodes) as connector:
        assert await host(connector, "hostB") == "hostB"
    assert "Accepted publickey for warm-bash" in lab.log("hostA")
    assert "Accepted publickey for warm-dash" in lab.log("%odd")
    assert "Accepted password for warm-password" in lab.log("hostB")


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return found


async def test_data_goes_another_way_and_shells_do_not(lab, tmp_path):
    async with cluster(lab, ["hostA"], dataTransferConnection={"hostname": "hostB"}) as connector:
        await connector.get_available_locations()
        before = lab.log("hostB").count("Accepted")
        assert await host(connector, "hostA") == "hostA"
        shell = await connector.get_shell(["sh"], "hostA")
        assert (await shell.run("echo $SSHLAB_HOST")).text == "hostA\n"
        assert lab.log("hostB").count("Accepted") == before
        async with await connector.get_stream_reader("echo $SSHLAB_HOST", "hostA") as reader:
            assert await reader.read() == b"hostB\n"
        await connector.copy_local_to_remote(__file__, str(tmp_path / "copy"), ["hostA"])
        assert (tmp_path / "copy").read_bytes() == Path(__file__).read_bytes()
        assert lab.log("hostB").count("Accepted") > before


# -- services ----------------------------------------------------------------------------------------------------------


async def test_jobs_are_put_into_the_template_of_their_service(lab, tmp_path):
    template = "cd {{streamflow_workdir}} && {{ streamflow_environment }} && exec env IN=big {{streamflow_command}}"
    (lab.home / "big.sh").write_text(f"#!/bin/sh\n{template}\n")
    async with cluster(lab, ["hostA"], services={"big": "big.sh"}) as connector:
        (found,) = (await connector.get_available_locations(service="big")).values()
        assert found.service == "big"
        words = ["sh", "-c", 'echo "$IN|$V|$1|$PWD"', "sh", "it's $HOME"]
        options: dict[str, Any] = {"capture_output": True, "environment": {"V": "x y"}, "workdir": str(tmp_path)}
        result = await connector.run(found, words, job_name="/job/0", **options)
        assert result.text == f"big|x y|it's $HOME|{tmp_path}\n"
        result = await connector.run(found, words, **options)  # no job: no template
        assert result.text == f"|x y|it's $HOME|{tmp_path}\n"
        result = await connector.run(Named("hostA", None), 'echo "$IN"', job_name="/job/1", **options)
        assert result.text == "\n"
        with pytest.raises(LocationError, match="no service 'small'"):
            await connector.get_available_locations(service="small")


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_one_session_is_enough_for_everything(lab, tmp_path):
    """With a session server, shells and processes of their own share it; a copy does not hang behind a shell."""
    name = lab.host("one", "MaxSessions 1")
    async with cluster(lab, [name], maxConcurrentSessions=1, maxConnections=1) as connector:
        shell = await connector.get_shell(["sh"], name)
        await shell.run("x=1")
        node = await connector.location(name)
        async with node.open(["cat"]) as first, node.open(["cat"]) as second:
            await first.stdin.send(b"1")
            await second.stdin.send(b"2")
            assert (await first.stdout.receive(), await second.stdout.receive()) == (b"1", b"2")
        await connector.copy_local_to_remote(__file__, str(tmp_path / "copy"), [name])
        await connector.copy_remote_to_local(str(tmp_path / "copy"), str(tmp_path / "back"), name)
        assert (tmp_path / "back").read_bytes() == Path(__file__).read_bytes()
        assert len(lab.connections(name)) == 1


async def test_no_more_connections_and_sessions_than_allowed(lab, server):
    name = lab.host("few10", "MaxSessions 10")
    limits = {"maxConcurrentSessions": 3, "maxConnections": 2, "server": server}
    async with cluster(lab, [name], **limits) as connector:
        results = await asyncio.gather(
            *[connector.run(name, "sleep 0.2; echo $$", capture_output=True) for _ in range(12)]
        )
        assert all(result.ok for result in results)
        assert len(lab.connections(name)) <= 2


async def test_limits_that_are_too_low_are_an_error_that_says_so(lab):
    limits = {"maxConcurrentSessions": 1, "maxConnections": 1, "server": False, "connectTimeout": 2}
    async with cluster(lab, ["hostA"], **limits) as connector:
        with pytest.raises(ConnectError, match="all sessions that are allowed"):
            await connector.run("hostA", ["true"])


# -- after a loss ------------------------------------------------------------------------------------------------------


async def test_lost_connections_hold_no_descriptors(lab, server):
    name = lab.host("lossy")
    async with cluster(lab, [name], server=server) as connector:
        assert (await connector.run(name, ["true"])).ok
        before = held()
        for _ in range(5):
            for pid in lab.connections(name):
                os.kill(pid, 9)
            await until_it_runs(connector, name)
        # What is left of the last one may take its time to end.
        await eventually(lambda: all(now <= then + 2 for now, then in zip(held(), before, strict=True)), 20)


def held() -> tuple[int, int]:
    """Descriptors and children of this process."""
    return len(os.listdir("/proc/self/fd")), len(children(os.getpid()))


async def until_it_runs(connector: SshConnector, name: str) -> None:
    for _ in range(50):
        try:
            if (await connector.run(name, ["true"])).ok:
                return
        except ConnectionError:
            await asyncio.sleep(0.05)
    raise AssertionError("it never came back")


# -- bad options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nodes": []}, "nodes="),
        ({"nodes": "hostA"}, "nodes="),
        ({"nodes": [{"host": "a"}]}, "hostname"),
        ({"nodes": [{"hostname": "a", "usrname": "b"}]}, "is it 'username'"),
        ({"nodes": ["a", "a"]}, "there already"),
        ({"nodes": ["-oProxyCommand=x"]}, "not the name of a host"),
        ({"nodes": ["a b"]}, "not the name of a host"),
        ({"nodes": ["u@-l"]}, "not the name of a host"),
        ({"nodes": ["a:99999"]}, "port"),
        ({"nodes": ["a"], "maxConnections": 0}, "maxConnections"),
        ({"nodes": ["a"], "retryDelay": -1}, "retryDelay"),
        ({"nodes": ["a"], "checkHostKey": "no"}, "checkHostKey"),
        ({"nodes": ["a"], "maxConection": 1}, "is it 'maxConnections'"),
        ({"nodes": ["a"], "services": {"x": "/no/such/file"}}, "template"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_options_are_named(options, said):
    with pytest.raises(LocationError, match=said):
        SshConnector("cluster", **options)
