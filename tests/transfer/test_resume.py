"""Large files that are interrupted, and go on."""

from __future__ import annotations

import asyncio
import os
import random
import shutil

import pytest

import warmshell
from transfer.test_faults import Stop, kill_all, tell_always  # noqa: F401 - a fixture
from transfer.trees import facts, left
from warmshell.transfer.api import At

SIZE = 20_000_000


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "-a file\n"
    path.write_bytes(os.urandom(SIZE))
    os.chmod(path, 0o640)
    (tmp_path / "to").mkdir()
    yield path
    shutil.rmtree(tmp_path)


async def interrupted(copy, stop: Stop) -> None:
    task = asyncio.ensure_future(copy)
    stop.do = task.cancel
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", ["ssh-server", "ssh-markers", "local"])
async def test_it_goes_on_where_it_stopped(connect, source, tmp_path, kind):
    async with connect(kind) as node, connect("ssh-second") as other:
        stop = Stop(SIZE // 2, None)
        await interrupted(
            warmshell.copy(At(other, source), At(node, tmp_path / "to"), resume=True, progress=stop), stop
        )
        (part,) = left(tmp_path)
        had = os.path.getsize(part)
        assert had >= SIZE // 4
        assert os.listdir(tmp_path / "to") == [os.path.basename(part)]
        seen: list[int] = []
        await warmshell.copy(
            At(other, source), At(node, tmp_path / "to"), resume=True, progress=lambda p: seen.append(p.size)
        )
        assert min(seen) >= had
        assert facts(os.fsencode(tmp_path / "to" / source.name)) == facts(os.fsencode(source))
    assert left(tmp_path) == []


async def test_a_part_that_is_not_right_begins_anew(connect, source, tmp_path):
    async with connect("ssh-server") as node:
        stop = Stop(SIZE // 2, None)
        await interrupted(node.put(source, tmp_path / "to", resume=True, progress=stop), stop)
        (part,) = left(tmp_path)
        with open(part, "r+b") as file:
            file.seek(1000)
            file.write(b"not this")
        await node.put(source, tmp_path / "to", resume=True)
        assert facts(os.fsencode(tmp_path / "to" / source.name)) == facts(os.fsencode(source))
        # A source that has changed meanwhile is another file.
        await interrupted(node.put(source, tmp_path / "new", resume=True, progress=stop), renewed(stop))
        source.write_bytes(b"short")
        await node.put(source, tmp_path / "new", resume=True)
        assert (tmp_path / "new").read_bytes() == b"short"
    for path in left(tmp_path):
        os.unlink(path)


def renewed(stop: Stop) -> Stop:
    stop.done = False
    return stop


async def test_a_source_that_changes_meanwhile_is_no_copy(connect, source, tmp_path):
    def grow() -> None:
        with open(source, "ab") as file:
            file.write(b"more")

    async with connect("ssh-server") as node:
        with pytest.raises(warmshell.CopyError, match="changed"):
            await node.put(source, tmp_path / "to", resume=True, progress=Stop(random.randrange(SIZE), grow))
        assert source.name not in os.listdir(tmp_path / "to")
        await node.put(source, tmp_path / "to", resume=True)
        assert (tmp_path / "to" / source.name).stat().st_size == SIZE + 4


@pytest.mark.parametrize("what", ["cat", "tail -c"])
async def test_a_program_is_killed(connect, source, tmp_path, what):
    async with connect("ssh-markers") as node:
        kill = Stop(random.randrange(SIZE // 4), lambda: kill_all(what, tmp_path))
        with pytest.raises(warmshell.CopyError):
            await node.put(source, f"{tmp_path}/to/.", resume=True, progress=kill)
        await node.put(source, tmp_path / "to", resume=True)
        assert facts(os.fsencode(tmp_path / "to" / source.name)) == facts(os.fsencode(source))


async def test_several_and_directories_among_them(connect, source, tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_text("x")
    (tmp_path / "n").write_bytes(b"")
    long = tmp_path / ("l" * 255)
    long.write_text("long")
    async with connect("ssh-server") as node:
        await node.put([source, tmp_path / "dir", tmp_path / "n", long], tmp_path / "to", resume=True)
    assert sorted(os.listdir(tmp_path / "to")) == sorted([source.name, "dir", "n", long.name])
    assert (tmp_path / "to" / long.name).read_text() == "long"
    assert left(tmp_path) == []
