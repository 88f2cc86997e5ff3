"""Processes of their own, and terminals, cancelled at any moment, and with what carries them killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest

import warmshell
from ssh.lab import Lab
from warmshell.command import Command
from warmshell.errors import ShellLost, WarmshellError
from warmshell.shell.one_off import run_process

SCRIPTS = [
    "setsid sleep 1001 & sleep 1002",
    "trap '' TERM HUP; while :; do sleep 1003; done",
    "cat /dev/zero",
    "cat",
    "head -c 300000 /dev/zero; exit 3",
    "exec <&- >&-; sleep 1004",
]


async def use(node: warmshell.Location, script: str, pty: bool) -> None:
    async with node.open(script, pty=pty) as process:
        await process.stdin.send(b"x" * random.choice([0, 10, 100_000]))
        await process.stdin.aclose()
        async for _ in process.stdout:
            pass
        await process.wait()


async def test_cancelled_at_any_moment(lab, server):
    async with lab.connect(server=server, shells=2) as node:
        for _ in range(3):
            tasks = [asyncio.create_task(use(node, script, n % 3 == 0)) for n, script in enumerate(SCRIPTS)]
            await asyncio.wait(tasks, timeout=random.choice([0.0, 0.005, 0.05, 0.3]))
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(o is None or isinstance(o, asyncio.CancelledError | BrokenPipeError) for o in outcomes), outcomes
            result = await node.run("echo on", pty=True, timeout=60)
            assert result.stdout == b"on\r\n"
        left = [words for words in lab.sessions().values() if "sleep 100" in words]
        assert not left


def servers(lab: Lab) -> list[int]:
    """Session servers, without their guards."""
    found = [pid for pid, words in lab.sessions().items() if "python" in words]
    return [pid for pid in found if parent(pid) in found]


def parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.2])
async def test_a_server_that_is_killed_takes_its_processes_along(lab, pause):
    async with lab.connect() as node:
        tasks = [asyncio.create_task(use(node, script, n % 2 == 0)) for n, script in enumerate(SCRIPTS[:4])]
        await asyncio.sleep(pause)
        for pid in servers(lab):
            os.kill(pid, signal.SIGKILL)
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        assert all(o is None or isinstance(o, WarmshellError | BrokenPipeError) for o in outcomes), outcomes
        assert (await again(node)).text == "on\n"


async def again(node: warmshell.Location) -> warmshell.Result:
    for _ in range(20):
        try:
            return await node.run(["echo", "on"])
        except ShellLost:
            await asyncio.sleep(0.1)
    raise AssertionError("it never came back")


async def test_what_was_written_last_is_not_lost(lab):
    """A process may end before the far end has sent what is in its pipes."""
    size = 250_000
    async with lab.connect("hostA") as node:
        command = Command(["sh", "-c", f"head -c {size} /dev/zero; head -c 60000 /dev/zero >&2"])
        for result in await asyncio.gather(*[run_process(node.place, command, []) for _ in range(20)]):
            assert (len(result.stdout), len(result.stderr)) == (size, 60000)
