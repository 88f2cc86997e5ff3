"""A machine that has no more descriptors, processes, space or memory to give: errors that say so, and recovery."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import warmshell

sys.path.insert(0, str(Path(__file__).parent))

from client import Client


@pytest.mark.parametrize("framing", ["pipes", "markers"])
def test_no_more_descriptors(framing: str) -> None:
    body = f"""
    import resource

    async def main():
        async with warmshell.connect("local:?framing={framing}", shells=50) as node:
            await node.run("true")
            taken, starved = [], False
            for limit in range(80):
                resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + limit % 16, 4096))
                runs = [node.run("read x; echo $x", stdin=b"word\\n") for _ in range(3)]
                for outcome in await asyncio.gather(*runs, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        assert isinstance(outcome, (warmshell.ConnectError, warmshell.InputError)), repr(outcome)
                        taken.append(outcome)
                    else:
                        assert outcome.stdout == b"word\\n", outcome
                starved = starved or bool(taken) or node.statistics().idle < 3
                resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
                assert (await node.run("echo fresh", timeout=20)).stdout == b"fresh\\n"
            say("starved" if starved else "not starved")

    asyncio.run(main())
    """
    client = Client(body)
    status, out, err = client.end(60)
    assert (status, out) == (0, "starved\n"), err
    client.nothing_left()


@pytest.mark.parametrize(
    ("first", "room"), [("true", 20), (None, 20), (None, 13), (None, 12), (None, 10)],
    ids=["one-is-there", "all-at-once", "two-of-all-at-once", "hardly-one", "one-of-all-at-once"],
)  # fmt: skip
def test_few_descriptors_are_fewer_shells(first: str | None, room: int) -> None:
    """What cannot have a shell of its own waits for one that is busy, or that starts."""
    body = f"""
    import resource

    async def main():
        async with warmshell.connect("local:", shells=50) as node:
            await node.run("true") if {first!r} else None
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + {room}, 4096))
            runs = [node.run(["sh", "-c", "read line; echo $line"], stdin=b"%d\\n" % n) for n in range(40)]
            assert [int(result.stdout) for result in await asyncio.gather(*runs)] == list(range(40))
            say("fewer" if node.statistics().started < 40 else "as many")

    asyncio.run(main())
    """
    client = Client(body)
    status, out, err = client.end(60)
    assert (status, out) == (0, "fewer\n"), err
    client.nothing_left()


def test_no_more_descriptors_leaves_none_open() -> None:
    body = """
    import resource

    async def main():
        async with warmshell.connect("local:", shells=50) as node:
            await node.run("true")
            before = len(os.listdir("/proc/self/fd"))
            for extra in range(1, 12):
                resource.setrlimit(resource.RLIMIT_NOFILE, (before + extra, 4096))
                runs = [node.shell().__aenter__() for _ in range(2)]
                shells = await asyncio.gather(*runs, return_exceptions=True)
                resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
                for shell in shells:
                    if not isinstance(shell, BaseException):
                        await shell.aclose()
                assert len(os.listdir("/proc/self/fd")) <= before, (extra, shells)
            say("same")

    asyncio.run(main())
    """
    client = Client(body)
    status, out, err = client.end(60)
    assert (status, out) == (0, "same\n"), err
    client.nothing_left()


@pytest.mark.skipif(os.geteuid() == 0, reason="root has no limit on processes")
def test_no_more_processes() -> None:
    body = """
    import resource

    async def main():
        async with warmshell.connect("local:") as node:
            await node.run("true")
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            try:
                await asyncio.gather(*[node.run("sleep 0.01") for _ in range(4)])
            except (warmshell.ConnectError, warmshell.ShellLost):
                say("refused")

    asyncio.run(main())
    """
    status, out, err = Client(body).end(60)
    assert (status, out) == (0, "refused\n"), err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


@pytest.fixture
def spill_there(small_disk: Path) -> Iterator[Path]:
    import tempfile

    before = tempfile.tempdir
    tempfile.tempdir = str(small_disk)
    try:
        yield small_disk
    finally:
        tempfile.tempdir = before


@pytest.mark.parametrize("framing", ["pipes", "markers"])
async def test_a_full_disk_for_captured_output(spill_there: Path, tmp_path: Path, framing: str) -> None:
    async with warmshell.connect("local:", shells=1, framing=framing) as node:
        script = f"echo ran >>{tmp_path}/count; head -c 50000000 /dev/zero; echo $$; sleep 1000"
        with pytest.raises(warmshell.OutputError) as caught:
            await node.run(script, output_limit=1000, timeout=60)
        assert isinstance(caught.value, OSError)
        assert "space" in str(caught.value)
        del caught  # it holds what was captured
        assert (await node.run("echo fresh")).stdout == b"fresh\n"
        result = await node.run(["head", "-c", "500000", "/dev/zero"], output_limit=1000)
        assert len(result.stdout) == 500_000
        del result
        with pytest.raises(warmshell.OutputError):
            async with contextlib.aclosing(_zeros()) as zeros:
                await node.run("cat; sleep 1000", stdin=zeros, output_limit=1000, timeout=60)
        assert (await node.run("echo fresh")).stdout == b"fresh\n"
    assert (tmp_path / "count").read_text() == "ran\n"


async def _zeros():
    while True:
        yield bytes(100_000)


@pytest.mark.parametrize("framing", ["pipes", "markers"])
async def test_a_full_disk_for_the_commands_own_output(small_disk: Path, framing: str) -> None:
    async with warmshell.connect("local:", framing=framing) as node:
        result = await node.run(["head", "-c", "5000000", "/dev/zero"], stdout=small_disk / "out")
        assert result.returncode != 0
        assert b"space" in result.stderr
        assert (await node.run("echo fresh")).stdout == b"fresh\n"
