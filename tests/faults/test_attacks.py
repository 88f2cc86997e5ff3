"""What a stranger tried against shells, and what was wrong: each of these failed once."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest

import warmshell

FRAMINGS = pytest.mark.parametrize("framing", ["pipes", "markers"])


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def _cancelled(task: asyncio.Task[None], *turns: int) -> None:
    """Cancel it after so many turns of the loop, and again, and again; then wait for its end."""
    for count in turns:
        await _turns(count)
        task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.done()
    if not task.cancelled():
        task.exception()


async def _use_shell(node: warmshell.Location) -> None:
    async with node.shell("bash") as shell:
        await shell.run("x=1")
        async with shell.subshell() as child:
            await child.run("echo $x")


async def _use_run(node: warmshell.Location) -> None:
    await node.run("sleep 0.001; echo x")


@FRAMINGS
@pytest.mark.parametrize("use", [_use_shell, _use_run])
async def test_cancelled_twice_in_any_turn_nothing_stays_open(framing: str, use: object) -> None:
    before = _descriptors()
    async with warmshell.connect("local:", framing=framing, shells=2) as node:
        for turn in range(40):
            task = asyncio.create_task(use(node))  # type: ignore[operator]
            await _cancelled(task, turn, turn % 7, 1)
        assert (await node.run("echo fresh", timeout=20)).stdout == b"fresh\n"
    assert _descriptors() == before
