"""Shells are killed at random while commands stream through them: nothing runs twice, nothing is unaccounted for."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import signal
from pathlib import Path

import pytest

import warmshell

KILLS = 200


def victims(node: warmshell.Location) -> list[int]:
    """The process ids of the location's warm shells: the children that are session leaders and carry its tag."""
    token = node.place.host.token
    found = []
    for name in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            environ = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if b"WARMSHELL_SESSION=" + token in environ and os.getsid(int(name)) == int(name):
            found.append(int(name))
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="finds the shells through /proc")
@pytest.mark.parametrize("framing", ["pipes", "markers"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
async def test_nothing_runs_twice_and_every_result_is_accounted_for(tmp_path: Path, shell: str, framing: str) -> None:
    chance = random.Random(11)
    kills = KILLS // 4
    file = tmp_path / "ran"
    outcomes: dict[int, object] = {}
    numbers = iter(range(1_000_000))
    enough = asyncio.Event()

    async def worker(node: warmshell.Location) -> None:
        while not enough.is_set():
            number = next(numbers)
            what = [f"echo {number} >>{file}; echo {number}", ["sh", "-c", f"echo {number} >>{file}; echo {number}"]]
            try:
                outcomes[number] = await node.run(what[number % 2])
            except (warmshell.ShellLost, warmshell.ConnectError) as error:  # the latter: killed while it started
                outcomes[number] = error

    async with warmshell.connect("local:", shell=shell, framing=framing, shells=4) as node:
        workers = [asyncio.create_task(worker(node)) for _ in range(4)]
        killed = 0
        while killed < kills:
            await asyncio.sleep(chance.random() * 0.02)
            pids = victims(node)
            if pids:
                os.kill(chance.choice(pids), signal.SIGKILL)
                killed += 1
        enough.set()
        await asyncio.gather(*workers)
        assert (await node.run("echo fresh")).stdout == b"fresh\n"

    ran = collections.Counter(int(line) for line in file.read_text().split())
    assert max(ran.values()) == 1, "a command ran twice"
    lost = {number: outcome for number, outcome in outcomes.items() if isinstance(outcome, warmshell.ShellLost)}
    assert lost, "no command was hit: the test tests nothing"
    for number, outcome in outcomes.items():
        if isinstance(outcome, warmshell.Result):
            assert (outcome.returncode, outcome.text) == (0, f"{number}\n") or number % 2, outcome
            assert ran[number] == 1
        elif isinstance(outcome, warmshell.ConnectError) or outcome.started == "no":
            assert ran[number] == 0
    assert set(ran) <= set(outcomes)
