"""Hosts as they are: login shells of every kind, noise, no Python, few sessions, a slow link."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from ssh.lab import children
from warmshell.errors import CommandTimeout, ConnectError

ACCOUNTS = ["warm-dash", "warm-bash", "warm-busybox", "warm-zsh", "warm-tcsh", "warm-noisy", "warm-quiet"]
BYTES = bytes(range(1, 256))


@pytest.fixture(params=ACCOUNTS)
def account(request, lab):
    if not lab.account(request.param):
        pytest.skip(f"the shell of {request.param} is not installed")
    return request.param


async def test_every_login_shell(lab, account, server):
    """One connection, all the ways of running: warm, in a process of its own, with streams and without."""
    async with lab.connect(f"{account}@hostA", server=server, shells=2) as node:
        expected = "server" if server and account != "warm-quiet" else "markers"
        assert node.place.framing == expected
        assert (await node.run(["id", "-un"])).text == f"{account}\n"
        result = await node.run("cat; echo err >&2; exit 3", stdin=BYTES)
        assert (result.returncode, result.stdout, result.stderr) == (3, BYTES, b"err\n")
        result = await node.run(["printf", "%s|", "a b", "it's", "!x", "", BYTES], env={"a.b": "x\ny"})
        assert result.stdout == b"a b|it's|!x||" + BYTES + b"|"
        assert (await node.run(["env", "pwd"], cwd="/")).text == "/\n"
        assert (await node.run(["printenv", "V"], env={"V": "x y\nz"})).text == "x y\nz\n"
        async with node.open("cat; echo err >&2; exit 255", env={"a.b": "c"}, cwd="/") as process:
            await process.stdin.send(BYTES)
            await process.stdin.aclose()
            assert await process.stdout.read() == BYTES
            assert await process.stderr.read() == b"err\n"
            assert await process.wait() == 255
        async with node.shell() as shell:
            await shell.run("x=1; cd /")
            assert (await shell.run('echo "$x" "$PWD"')).text == "1 /\n"


async def test_every_login_shell_ends_what_it_started(lab, account, server):
    async with lab.connect(f"{account}@hostA", server=server) as node:
        with pytest.raises(CommandTimeout):
            await node.run("setsid sleep 1001 & nohup sleep 1002 >/dev/null & sleep 1003", timeout=1)
        async with node.open("setsid sleep 1004 & sleep 1005") as process:
            await process.kill()
            assert await process.wait() > 128
        assert not [words for words in lab.sessions().values() if "sleep 100" in words]


async def test_no_python_is_looked_for_where_that_was_said(lab):
    async with lab.connect(server=False) as node:
        assert node.place.framing == "markers"
        assert not [words for words in lab.sessions().values() if "python" in words]


# -- few sessions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 10])
async def test_many_commands_where_a_connection_takes_few_sessions(lab, most, server):
    name = lab.host(f"few{most}", f"MaxSessions {most}")
    async with lab.connect(name, server=server, shells=32 if server else 12) as node:
        results = await asyncio.gather(*[node.run(f"sleep 0.1; echo {n}; exit {n}") for n in range(32)])
        assert [(r.returncode, r.text) for r in results] == [(n, f"{n}\n") for n in range(32)]
        ends = await asyncio.gather(*[count(node, n) for n in range(12)])
        assert ends == list(range(12))


async def count(node, number):
    async with node.open(["sh", "-c", f"read x; exit {number}"]) as process:
        await process.stdin.send(b"\n")
        return await process.wait()


async def test_a_host_that_takes_few_at_once_is_asked_again(lab):
    """sshd turns connections away by chance: none of that reaches a command."""
    name = lab.host("busy", "MaxSessions 1", "MaxStartups 1:70:3", "LoginGraceTime 20")
    async with lab.connect(name, server=False, shells=8, retries=20) as node:
        results = await asyncio.gather(*[node.run(["echo", str(n)]) for n in range(8)])
        assert [r.text for r in results] == [f"{n}\n" for n in range(8)]


async def test_a_host_that_takes_no_sessions_says_so(lab):
    name = lab.host("none", "MaxSessions 0")
    with pytest.raises(ConnectError, match="no more sessions") as caught:
        async with lab.connect(name, connectTimeout=2):
            pass
    assert "MaxSessions" in str(caught.value.hint)


async def test_sessions_are_given_back(lab, server):
    name = lab.host("few10", "MaxSessions 10")
    async with lab.connect(name, server=server) as node:
        for number in range(25):
            assert await count(node, number) == number
        assert len(lab.connections(name)) == 1


# -- what is used ------------------------------------------------------------------------------------------------------


async def test_one_connection_and_one_process_for_any_number_of_shells(lab):
    async with lab.connect(shells=16) as node:
        await asyncio.gather(*[node.run("sleep 0.3") for _ in range(16)])
        assert node.statistics().started == 16
        assert len(lab.connections("hostA")) == 1
        ssh = [pid for pid in children(os.getpid()) if b"ssh\0" in Path(f"/proc/{pid}/cmdline").read_bytes()[:4]]
        assert len(ssh) == 2  # the connection, and the session on it


# -- a slow link -------------------------------------------------------------------------------------------------------


async def test_one_round_trip_for_a_command(link, server):
    """Told by the quickest of many, so that a busy machine makes no difference."""
    async with link.lab.connect(link.host, server=server) as node:
        await node.run(["true"])
        best = min([await seconds(node.run(["echo", "x"])) for _ in range(20)])
        assert link.ROUND_TRIP <= best < 2 * link.ROUND_TRIP


async def test_many_shells_share_the_round_trips(link):
    async with link.lab.connect(link.host, shells=32) as node:
        await asyncio.gather(*[node.run("sleep 0.2") for _ in range(32)])
        best = min([await seconds(asyncio.gather(*[node.run(["true"]) for _ in range(32)])) for _ in range(5)])
        assert best < 32 * link.ROUND_TRIP / 4


async def seconds(work):
    began = time.monotonic()
    await work
    return time.monotonic() - began
