"""Connections that are cut anywhere: nothing is lost, nothing comes twice, nothing is left."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from pathlib import Path

import pytest

from warmshell.command import Command
from warmshell.errors import ShellLost
from warmshell.location import Location
from warmshell.testing.waiting import eventually

from .place import FarPlace


async def test_a_session_that_is_not_cut(place):
    async with Location(FarPlace(place)) as node:
        result = await node.run("echo out; echo err >&2; exit 3")
        assert (result.stdout, result.stderr, result.returncode) == (b"out\n", b"err\n", 3)
        assert len(place.directories) == 1
    assert place.directories == []


async def test_cut_while_a_command_runs(place, tmp_path):
    os.mkfifo(tmp_path / "go")
    async with Location(FarPlace(place)) as node:
        running = asyncio.ensure_future(node.run(f"echo a; : >{tmp_path}/up; read x <{tmp_path}/go; echo $x; exit 5"))
        await eventually((tmp_path / "up").exists)
        place.cut()
        await asyncio.to_thread((tmp_path / "go").write_text, "b\n")
        result = await running
        assert (result.stdout, result.returncode) == (b"a\nb\n", 5)
        assert len(place.lines) == 2
    assert place.directories == []


async def test_cut_in_the_middle_of_much_output(place, tmp_path):
    data = random.Random(1).randbytes(20_000_000)
    (tmp_path / "data").write_bytes(data)
    place.budgets = iter([None, 5_000_000, 3_000_000, 77, 1_234_567, *[None] * 50])
    async with Location(FarPlace(place, spool=1_000_000)) as node:
        await node.run("true")
        place.lines[0].budget.left = 2_000_000
        result = await node.run(["cat", str(tmp_path / "data")], output_limit=10**9)
        assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()
        assert len(place.lines) > 4
    assert place.directories == []


async def test_cut_in_the_middle_of_much_input(place):
    data = random.Random(2).randbytes(10_000_000)

    async def source():
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    place.budgets = iter([None, 2_000_000, 1_000_003, *[None] * 50])
    async with Location(FarPlace(place)) as node:
        lane = await node.lane("sh")
        place.lines[0].budget.left = 1_500_000
        command = Command("sha256sum", stdin=source())
        result = await lane.begin(command, lane.body(command)).done
        assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
        assert len(place.lines) > 3
        await lane.aclose()


async def test_fifty_random_cuts(place, tmp_path):
    chance = random.Random(3)
    place.budgets = iter([None, *[chance.randrange(500, 6000) for _ in range(50)], *[None] * 1000])
    out = tmp_path / "out"
    async with Location(FarPlace(place)) as node:
        await node.run("true")
        place.lines[0].budget.left = 3000
        done = 0
        while len(place.lines) < 52 and done < 5000:
            results = await asyncio.gather(*[
                node.run(f"echo {number} >>{out}; echo {number}") for number in range(done, done + 4)
            ])  # fmt: skip
            assert [int(result.stdout) for result in results] == list(range(done, done + 4))
            done += 4
        assert len(place.lines) >= 52
    written = sorted(map(int, out.read_text().split()))
    assert written == list(range(done))
    assert place.directories == []


async def test_the_end_of_the_lease_ends_everything(place, tmp_path):
    async with Location(FarPlace(place, lease=1.0)) as node:
        running = asyncio.ensure_future(node.run(f"echo $$ >{tmp_path}/pid; exec sleep 1000"))
        await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        pid = int((tmp_path / "pid").read_text())
        place.down = True
        place.cut()
        with pytest.raises(ShellLost) as caught:
            await running
        assert caught.value.started in ("yes", "unknown")
        await eventually(lambda: not Path(f"/proc/{pid}").exists())
        await eventually(lambda: not place.directories, 20)


async def test_a_far_end_that_is_gone(place, tmp_path):
    """The server is killed: the client is told at once, not when the lease ends."""
    tested = FarPlace(place)
    async with Location(tested) as node:
        running = asyncio.ensure_future(node.run(f": >{tmp_path}/up; sleep 1000"))
        await eventually((tmp_path / "up").exists)
        os.kill(tested.session.facts["pid"], 9)
        with pytest.raises(ShellLost):
            await running
    await eventually(lambda: not place.directories)
