"""Commands are cancelled in the moments of their start: none runs twice, and none is heard of again.

A shell that is ended while it forks leaves a fork that is nobody's child. It must not live to open the command's pipe
by a number (``/proc/PID/fd/N``) that means the pipe of another command by then.
"""

from __future__ import annotations

import asyncio
import collections
import random
from pathlib import Path

import pytest

import warmshell

ROUNDS = 400


@pytest.mark.parametrize("framing", ["pipes", "markers"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
async def test_nothing_of_a_cancelled_command_is_heard_again(tmp_path: Path, shell: str, framing: str) -> None:
    chance = random.Random(5)
    file = tmp_path / "ran"
    async with warmshell.connect("local:", shell=shell, framing=framing, shells=2) as node:
        await node.run(["true"])
        for number in range(ROUNDS):
            task = asyncio.create_task(node.run(f"echo {number} >>{file}; echo stale; echo stale >&2"))
            for _ in range(number % 8):
                await asyncio.sleep(0)
            if number % 3 == 0:
                await asyncio.sleep(chance.random() * 0.0008)  # to come at a moment that nobody chose
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            result = await node.run("echo fresh; echo fresh >&2")
            assert (number, result.stdout, result.stderr) == (number, b"fresh\n", b"fresh\n")
    ran = collections.Counter(file.read_text().split()) if file.exists() else {}
    assert not ran or max(ran.values()) == 1, "a command ran twice"
