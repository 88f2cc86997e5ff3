"""The shell that looks after a host without Python: it and its client notice when the other is silent."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from typing import Self

import pytest

from warmshell.command import Command
from warmshell.connector.far.keeper import Keeper, keeper_line
from warmshell.connector.local import LocalPlace
from warmshell.errors import ConnectError
from warmshell.process import Process
from warmshell.testing import eventually

SHELLS = ["dash", "bash", "busybox sh", "mksh", "zsh --emulate sh"]
READER = ': warmshell-channel;IFS= read -r _warm_line&&eval "$_warm_line"'  # told by its words, as a real one is
LEASE = 2.0
TOKEN = secrets.token_hex(8)  # other test processes have keepers too


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    words = request.param.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return words


@pytest.fixture
async def far(shell: list[str]) -> AsyncIterator[Process]:
    """The keeper, as it is at the far end."""
    place = LocalPlace()
    await place.connect()
    try:
        async with await place.open(Command([*shell, "-c", READER])) as process:
            await process.stdin.send(keeper_line(TOKEN, lease=LEASE))
            yield process
    finally:
        await place.aclose()


class Started:
    """What a command has started there."""

    def __init__(self, tag: str) -> None:
        env = {**os.environ, "WARMSHELL_COMMAND": tag}
        self.process = subprocess.Popen(["sleep", "1000"], env=env, start_new_session=True)

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


async def nothing() -> None:
    """Nobody is told."""


async def test_a_client_that_is_silent_is_taken_for_dead(far):
    """Its end is not told: the stream stays open."""
    with Started(f"{TOKEN}.1") as mine, Started(f"{TOKEN}d.1") as not_mine:
        await eventually(lambda: not mine.runs, 30)
        assert not_mine.runs
        assert await asyncio.wait_for(far.wait(), 30) == 128 + signal.SIGKILL


async def test_as_long_as_both_live_nothing_is_ended(far):
    keeper = Keeper(far, "there", nothing, LEASE)
    await keeper.start()
    with Started(f"{TOKEN}.1") as mine:
        began = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() - began > 2 * LEASE, 30)
        assert keeper.lost is None
        assert mine.runs
        await keeper.aclose()
        await eventually(lambda: not mine.runs, 10)


async def test_a_host_that_is_silent_is_taken_for_dead(far):
    told = asyncio.Event()

    async def tell() -> None:
        told.set()

    keeper = Keeper(far, "there", tell, LEASE)
    await keeper.start()
    os.killpg(far.pid, signal.SIGSTOP)
    try:
        await asyncio.wait_for(told.wait(), 30)
        assert "silent" in str(keeper.lost)
        with pytest.raises(ConnectError, match="silent"):
            await keeper.end(f"{TOKEN}.1", 0, 1.0)
    finally:
        os.killpg(far.pid, signal.SIGCONT)
        await keeper.aclose()
