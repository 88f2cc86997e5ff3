"""What a stranger tried against shells, and what was wrong: each of these failed once."""

from __future__ import annotations

import asyncio
import gc
import io
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


BAD_OPTIONS = {
    "output_limit=None": {"output_limit": None},
    "output_limit=str": {"output_limit": "5"},
    "output_limit=-1": {"output_limit": -1},
    "timeout=str": {"timeout": "5"},
    "user=int": {"user": 5},
    "env=list": {"env": [("A", "1")]},
    "env=surrogate": {"env": {"A": "\ud800"}},
    "stdin=file": {"stdin": io.BytesIO(b"unread")},
    "stdin=int": {"stdin": 5},
    "stdin=list": {"stdin": [b"unread"]},
}


@pytest.mark.parametrize("options", BAD_OPTIONS.values(), ids=BAD_OPTIONS)
async def test_an_option_of_a_wrong_type_is_refused(options: dict[str, object]) -> None:
    """Rather than to hang once the output comes, or to hand over no input at all."""
    async with warmshell.connect("local:") as node:
        with pytest.raises(warmshell.CommandError, match=r"\w+ \w+ \w+"):
            await asyncio.wait_for(node.run("cat; echo said", **options), 20)


@pytest.mark.parametrize("what", [["echo", "\ud800"], "echo \ud800"], ids=["words", "script"])
async def test_text_that_has_no_bytes_is_refused(what: object) -> None:
    with pytest.raises(warmshell.CommandError, match="ud800"):
        warmshell.Command(what)  # type: ignore[arg-type]


@FRAMINGS
@pytest.mark.parametrize("given", [bytearray(b"given"), memoryview(b"given")], ids=["bytearray", "memoryview"])
async def test_what_is_like_bytes_is_input(framing: str, given: bytes) -> None:
    async with warmshell.connect("local:", framing=framing) as node:
        assert (await node.run(["cat"], stdin=given)).stdout == b"given"
