"""Connections that are lost, clients that are killed: nothing is run twice, nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import warmshell
from ssh.lab import Lab
from warmshell.errors import ConnectError, ShellLost, WarmshellError
from warmshell.testing import eventually, eventually_sync


def kill_connections(lab: Lab, host: str) -> None:
    """Kill the servers of all connections, as a host that crashes does."""
    for pid in lab.connections(host):
        os.kill(pid, signal.SIGKILL)


async def lines(path: Path, count: int) -> list[str]:
    def there() -> bool:
        return path.exists() and len(path.read_text().splitlines()) >= count

    await eventually(there, 20, f"{path} did not get {count} lines")
    return path.read_text().splitlines()


async def test_a_lost_connection_while_a_command_runs(lab, server, tmp_path):
    name = lab.host("lossy")
    async with lab.connect(name, server=server, shells=4) as node:
        script = f"echo $$ >>{tmp_path}/started; sleep 1000"
        tasks = [asyncio.create_task(node.run(script)) for _ in range(3)]
        pids = [int(pid) for pid in await lines(tmp_path / "started", 3)]
        kill_connections(lab, name)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, ShellLost)
            assert outcome.started != "no"
        # The next command gets a new connection by itself, and nothing of the old ones was run again.
        assert (await node.run(["echo", "fresh"])).text == "fresh\n"
        assert len(await lines(tmp_path / "started", 3)) == 3
        await eventually(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], 20)


async def test_a_lost_connection_while_nothing_runs(lab, server):
    name = lab.host("lossy")
    async with lab.connect(name, server=server, shells=2) as node:
        for number in range(3):
            await eventually(lambda: _runs(node), 20, f"nothing runs after {number} losses")
            kill_connections(lab, name)
            await eventually(lambda: not lab.connections(name), 10)
        await eventually(lambda: _runs(node), 20)


async def _runs(node: warmshell.Location) -> bool:
    """Whether a command runs; the loss of its shell may be noticed only by it, and then it says so."""
    try:
        return (await node.run(["echo", "x"])).text == "x\n"
    except ShellLost:
        return False


async def test_a_stateful_shell_is_lost_with_its_connection(lab, server):
    name = lab.host("lossy")
    async with lab.connect(name, server=server) as node, node.shell() as shell:
        await shell.run("x=1")
        kill_connections(lab, name)
        await eventually(lambda: not shell.alive, 10)
        with pytest.raises(ShellLost) as caught:
            await shell.run("echo $x")
        assert caught.value.started == "no"
        async with node.shell() as fresh:
            assert (await fresh.run("echo $x")).text == "\n"


async def test_a_process_is_lost_with_its_connection(lab, server):
    name = lab.host("lossy")
    async with lab.connect(name, server=server) as node, node.open("echo on; cat; exit 255") as process:
        assert await process.stdout.receive() == b"on\n"
        kill_connections(lab, name)
        assert await process.stdout.read() == b""
        with pytest.raises(ShellLost) as caught:
            await process.wait()
        assert caught.value.started == "yes"


async def test_a_host_that_stays_away_is_an_error_that_says_so(lab, server):
    name = lab.host(f"leaving-{'server' if server else 'markers'}")
    async with lab.connect(name, server=server, retries=1, retryDelay=0.05) as node:
        await node.run(["true"])
        connections = lab.connections(name)
        os.kill(int((lab.home / "hosts" / name / "pid").read_text()), signal.SIGKILL)
        for pid in connections:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: _refused(node), 20)


async def _refused(node: warmshell.Location) -> bool:
    try:
        await node.run(["true"])
    except ShellLost:
        return False
    except ConnectError as error:
        return "refused" in str(error)
    return False


async def test_leaving_in_the_moment_of_the_loss(lab, server):
    name = lab.host("lossy")
    for number in range(10):
        async with lab.connect(name, server=server, shells=3) as node:
            running = [asyncio.create_task(node.run("sleep 1000")) for _ in range(2)]
            async with node.open(["sleep", "1001"]):
                kill_connections(lab, name)
                await asyncio.sleep(0.005 * number)
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            assert isinstance(outcome, WarmshellError)


# -- a link that is cut ------------------------------------------------------------------------------------------------


CUT_SECONDS = 10


async def test_a_link_that_is_cut_for_ten_seconds_loses_nothing(link, tmp_path):
    """TCP sends again what was lost, and nobody gives up as long as the cut is shorter than the lease.

    With a session server and without, while a command runs, while output streams and while input does.
    """
    data = os.urandom(4_000_000)
    (tmp_path / "data").write_bytes(data)
    piece = f"dd if={tmp_path}/data bs=40000 skip=$i count=1 2>/dev/null"
    slowly = f"i=0; while test $i -lt 100; do {piece}; i=$((i + 1)); sleep 0.02; done"
    async with (
        link.lab.connect(link.host) as served,
        link.lab.connect(link.host, server=False) as unserved,
    ):
        begun = tmp_path / "begun"
        streams, commands = [], []
        for number, node in enumerate((served, unserved)):
            await node.run("true")
            script = f"echo before; echo on >>{begun}; exec <{tmp_path}/go{number}; read x; echo $x; exit 3"
            os.mkfifo(tmp_path / f"go{number}")
            commands.append(asyncio.create_task(node.run(script)))
            streams.append(asyncio.create_task(node.run(f"echo on >>{begun}; {slowly}")))
            streams.append(asyncio.create_task(node.run(f"echo on >>{begun}; exec cat", stdin=_slowly(data))))
        await lines(begun, 6)
        link.cut()
        await asyncio.sleep(CUT_SECONDS)
        assert not [task for task in (*streams, *commands) if task.done()]
        link.mend()
        for number in range(2):
            await asyncio.to_thread((tmp_path / f"go{number}").write_text, "after\n")
        for result in await asyncio.wait_for(asyncio.gather(*commands), 60):
            assert (result.returncode, result.text) == (3, "before\nafter\n")
        for result in await asyncio.wait_for(asyncio.gather(*streams), 60):
            assert result.check().stdout == data


async def _slowly(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 40_000):
        yield data[start : start + 40_000]
        await asyncio.sleep(0.02)


async def test_a_link_that_is_cut_for_good_is_noticed(link, server):
    """By signs of life that stay away, quicker here than by default; then the next command connects again."""
    node = link.lab.connect(link.host, server=server)
    node.place._target = replace(node.place._target, alive=1)
    async with node:
        await node.run("true")
        task = asyncio.create_task(node.run("sleep 1000"))
        link.cut()
        with pytest.raises(ShellLost):
            await asyncio.wait_for(task, 40)
        link.mend()
        await eventually(lambda: _runs(node), 40)


async def test_leaving_while_the_link_is_cut_takes_seconds(link, server):
    began = time.monotonic()
    async with link.lab.connect(link.host, server=server) as node:
        await node.run(["true"])
        task = asyncio.create_task(node.run("sleep 1000"))
        async with node.open(["sleep", "1001"]):
            link.cut()
            began = time.monotonic()
    assert time.monotonic() - began < 40
    outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    assert isinstance(outcome, WarmshellError)
    link.mend()


# -- clients -----------------------------------------------------------------------------------------------------------

CLIENT = """
import asyncio, json, sys
import warmshell

async def main(url, server, where):
    async with warmshell.connect(url, config=where + "/config", server=server) as node:
        await node.run("setsid nohup sleep 1001 >/dev/null 2>&1 &")
        for script in ("setsid sleep 1002", "trap '' HUP TERM; sleep 1003; :"):
            asyncio.ensure_future(node.run(script))
        async with node.open("setsid sleep 1004 & sleep 1005"), node.shell() as shell:
            await shell.run("sleep 1006 &")
            print("ready", flush=True)
            await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]))
"""


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
async def test_a_client_that_is_killed_leaves_nothing(lab, server, signal_):
    words = [sys.executable, "-c", textwrap.dedent(CLIENT), "ssh://hostA", json.dumps(server), str(lab.home)]
    client = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"

    def all_run() -> bool:
        found = " ".join(lab.sessions().values())
        return all(f"sleep 100{n}" in found for n in range(1, 7))

    eventually_sync(all_run, 20, lambda: f"they do not run: {lab.sessions()}")
    client.send_signal(signal_)
    client.wait(20)
    client.stdout.close()
    lab.nothing_left()
    eventually_sync(lambda: not list(Path("/tmp").glob(f"warm-{client.pid}-*")), 20)
    ours = f"warm-{client.pid}-".encode()
    eventually_sync(lambda: not [p for p in Path("/proc").glob("[0-9]*/cmdline") if ours in _read(p)], 10)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_closing_leaves_nothing_however_often(lab, server):
    """Processes, descriptors and directories are looked at after each test; here there are many to forget."""
    for _ in range(4):
        async with lab.connect(server=server, shells=3) as node:
            await asyncio.gather(*[node.run("sleep 0.05 & sleep 0.1") for _ in range(3)])
            async with node.open(["cat"]):
                pass
