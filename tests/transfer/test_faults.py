"""Whoever is killed, whatever is full or hostile: a destination is whole or as it was, and nothing else stays."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import pytest

import warmshell
from transfer.test_archive import END, HOSTILE, member
from transfer.trees import facts, left
from warmshell.testing.waiting import eventually, eventually_sync
from warmshell.transfer import ends
from warmshell.transfer.api import At
from warmshell.transfer.site import Site

SIZE = 20_000_000


@pytest.fixture
def source(tmp_path):
    top = tmp_path / "source"
    (top / "many").mkdir(parents=True)
    for number in range(200):
        (top / "many" / str(number)).write_bytes(b"%d" % number * 1000)
    (top / "large").write_bytes(os.urandom(1_000_000) * (SIZE // 1_000_000))
    yield top
    shutil.rmtree(tmp_path)


def commands(mark: str, where: Path) -> list[int]:
    """Processes that work in this directory or below it, and whose words hold this."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if mark in words and (path / "cwd").readlink().is_relative_to(where):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def kill_all(mark: str, where: Path) -> None:
    for pid in commands(mark, where):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def whole_or_absent(source: Path, target: Path) -> bool:
    """Whether the copy is whole; it must not be there otherwise."""
    assert left(target.parent) == []
    if not target.exists():
        return False
    assert facts(os.fsencode(target)) == facts(os.fsencode(source))
    return True


class Stop:
    """Does something once, when so many bytes have gone."""

    def __init__(self, at: int, do) -> None:
        self.at, self.do, self.done = at, do, False

    def __call__(self, progress: warmshell.Progress) -> None:
        if progress.size >= self.at and not self.done:
            self.done = True
            self.do()


@pytest.fixture(autouse=True)
def tell_always(monkeypatch):
    monkeypatch.setattr("warmshell.transfer.progress._EVERY", 0)


@pytest.mark.parametrize("what", ["tar -x", "tar -c", "mkdir -m 700"])
@pytest.mark.parametrize("kind", ["ssh-server", "ssh-markers", "local"])
async def test_any_program_of_a_copy_is_killed(connect, source, tmp_path, kind, what):
    """The one that extracts, the one that reads, the shell that watches over all."""

    (tmp_path / "to").mkdir()
    async with connect(kind) as node, connect("ssh-second") as other:
        stop = Stop(random.randrange(SIZE // 4), partial(kill_all, what, tmp_path))
        with pytest.raises(warmshell.WarmshellError):
            await warmshell.copy(At(other, source), At(node, tmp_path / "to" / "copy"), progress=stop)
        assert not whole_or_absent(source, tmp_path / "to" / "copy")
        await warmshell.copy(At(other, source), At(node, tmp_path / "to" / "copy"))
        assert whole_or_absent(source, tmp_path / "to" / "copy")


@pytest.mark.parametrize("kind", ["ssh-server", "ssh-markers"])
async def test_the_connection_is_killed(connect, lab, source, tmp_path, kind):
    (tmp_path / "to").mkdir()

    def cut() -> None:
        for pid in lab.connections("hostA"):
            os.kill(pid, signal.SIGKILL)

    async with connect(kind) as node:
        with pytest.raises(warmshell.WarmshellError):
            await node.put(source, tmp_path / "to" / "copy", progress=Stop(random.randrange(SIZE // 4), cut))
        await eventually(lambda: not left(tmp_path))
        assert not whole_or_absent(source, tmp_path / "to" / "copy")
        await node.put(source, tmp_path / "to" / "copy")
        assert whole_or_absent(source, tmp_path / "to" / "copy")


@pytest.mark.parametrize("server", ["true", "false"])
def test_the_client_is_killed(lab, source, tmp_path, server):
    (tmp_path / "to").mkdir()
    words = [
        sys.executable,
        str(Path(__file__).parent / "client.py"),
        lab.config,
        server,
        source,
        tmp_path / "to" / "copy",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
        at = random.randrange(SIZE)
        for line in client.stdout:
            if line[0].isdigit() and int(line) >= at:
                break
        client.kill()
    eventually_sync(lambda: not left(tmp_path), 15.0)
    whole_or_absent(source, tmp_path / "to" / "copy")
    shutil.rmtree(tmp_path / "to" / "copy", ignore_errors=True)


@pytest.mark.parametrize("kind", ["ssh-server", "ssh-markers", "local-markers"])
async def test_a_copy_is_cancelled(connect, source, tmp_path, kind):
    (tmp_path / "to").mkdir()
    async with connect(kind) as node, connect("ssh-second") as other:
        for _ in range(3):
            stop = Stop(random.randrange(SIZE // 4), None)
            task = asyncio.ensure_future(
                warmshell.copy(At(node, source), At(other, tmp_path / "to" / "copy"), progress=stop)
            )
            stop.do = task.cancel
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not whole_or_absent(source, tmp_path / "to" / "copy")


@pytest.mark.parametrize("kind", ["ssh-server", "ssh-markers", "local"])
async def test_a_full_disk(connect, source, tmp_path, kind):
    small, good = tmp_path / "small", tmp_path / "good"
    small.mkdir()
    good.mkdir()
    async with connect(kind) as node, connect("ssh-second") as other:
        # The hosts have mounts of their own: what is mounted there is seen there.
        if not (await node.run(["mount", "-t", "tmpfs", "-o", "size=10m", "warm", small])).ok:
            pytest.skip("no file systems can be mounted here")
        try:
            (await node.run("mkdir copy; echo as before >copy/large", cwd=small)).check()
            with pytest.raises(warmshell.CopyError, match="No space left") as caught:
                await warmshell.copy(At(other, source), [At(node, small / "new"), At(node, good / "new")])
            assert list(caught.value.failures) == [f"{node.name}:{small}/new"]
            assert whole_or_absent(source, good / "new")
            with pytest.raises(warmshell.CopyError, match="No space left"):
                await warmshell.copy(At(other, f"{source}/."), At(node, small / "copy"))
            there = await node.run("ls -A; ls -A copy; cat copy/large", cwd=small)
            assert there.text == "copy\nlarge\nas before\n"
        finally:
            await node.run(["umount", small])


async def test_a_source_that_cannot_be_read(connect, lab, tmp_path):
    (tmp_path / "to").mkdir()
    source = lab.home / "unreadable"
    source.mkdir()
    (source / "secret").touch(0)
    async with lab.connect("warm-dash@hostA") as node:
        with pytest.raises(warmshell.CopyError, match="Permission denied"):
            await node.get(source, tmp_path / "to" / "copy")
    assert os.listdir(tmp_path / "to") == []
    shutil.rmtree(source)


@pytest.mark.parametrize("kind", ["ssh-server", "local"])
async def test_a_hostile_archive_writes_nothing(connect, tmp_path, monkeypatch, kind):
    """A source that sends what it likes."""
    archive = tmp_path / "archive"
    (tmp_path / "to").mkdir()
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(Site, "create", lambda self, **_: f"cat {archive}")
    async with connect(kind) as node, connect("local-markers" if kind != "local" else "ssh-server") as other:
        for data in HOSTILE.values():
            archive.write_bytes(member(b"a", b"5") + data + member(b"a/z") + END)
            with pytest.raises(warmshell.ArchiveError, match="refused"):
                await warmshell.copy(At(other, tmp_path / "a"), At(node, tmp_path / "to" / "a"))
            assert os.listdir(tmp_path / "to") == []
    assert sorted(os.listdir(tmp_path)) == ["a", "archive", "to"]
    archive.unlink()


async def test_an_archive_that_ends_too_early_is_noticed(connect, tmp_path, monkeypatch):
    """Whole members and a status of 0, but no end."""
    (tmp_path / "a").mkdir()
    archive = tmp_path / "archive"
    archive.write_bytes(member(b"a", b"5") + member(b"a/z"))
    monkeypatch.setattr(Site, "create", lambda self, **_: f"cat {archive}")
    async with connect("ssh-server") as node:
        with pytest.raises(warmshell.ArchiveError, match="cut short"):
            await node.put(tmp_path / "a", tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "archive"]
    archive.unlink()


async def test_what_a_far_end_left_is_taken_away_by_the_client(connect, source, tmp_path, monkeypatch):
    """A far shell that is killed together with all below it cannot do it itself."""
    (tmp_path / "to").mkdir()

    async with connect("ssh-server") as node:
        with pytest.raises(warmshell.WarmshellError):
            await node.put(
                source, tmp_path / "to" / "copy", progress=Stop(1_000_000, partial(kill_all, "mkdir -m 700", tmp_path))
            )
        assert left(tmp_path) == []


def test_the_trailer_is_an_archive_of_its_own():
    from warmshell.protocol.archive import trailer

    with tarfile.open(fileobj=io.BytesIO(trailer(b"name", 17))) as archive:
        (info,) = archive.getmembers()
    assert (info.name, info.mode, info.size, info.mtime) == ("name", 0o600, 0, 17)
    assert ends.PIECE >= 64 * 1024
