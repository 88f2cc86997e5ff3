"""Readers and writers: exact bytes, back-pressure, and a status that is never lost."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

import warmshell
from warmshell.transfer.streams import get_stream_reader, get_stream_writer

ALL = bytes(range(256))


async def test_reads_what_a_command_prints(node):
    async with node.reader(["printf", "%s", "abc"]) as stream:
        first = await stream.read(2)
        assert first in {b"a", b"ab"}
        assert first + await stream.read() == b"abc"
        assert await stream.read(1) == b""
    assert stream.returncode == 0


async def test_reads_in_pieces_of_at_most_the_buffer(node):
    async with node.reader("head -c 1000000 /dev/zero", buffer_size=65536) as stream:
        sizes = [len(piece) async for piece in stream]
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 65536


async def test_writes_what_a_command_reads(node, tmp_path):
    async with node.writer(["tee", "--", str(tmp_path / "a file")], buffer_size=1000) as stream:
        for _ in range(100):
            await stream.write(ALL * 50)
    assert (tmp_path / "a file").read_bytes() == ALL * 5000
    (tmp_path / "a file").unlink()


async def test_a_reader_left_early_says_so_and_ends_its_command(node):
    with pytest.raises(warmshell.IncompleteStream, match="before its end"):
        async with node.reader("echo soon >&2; exec cat /dev/zero") as stream:
            await stream.read(10)


async def test_a_reader_left_early_while_nothing_comes_says_so(node):
    with pytest.raises(warmshell.IncompleteStream):
        async with node.reader("echo x; exec sleep 1000") as stream:
            await stream.read(1)


async def test_all_bytes_read_but_not_the_end_is_whole(node):
    async with node.reader("echo x; exit 0") as stream:
        assert await stream.read(1) == b"x"
        assert await stream.read(1) == b"\n"
    assert stream.returncode == 0


@pytest.mark.parametrize("kind", ["reader", "writer"])
async def test_a_failing_command_raises_with_its_words(node, kind):
    with pytest.raises(warmshell.CommandFailed, match="no luck") as caught:
        async with getattr(node, kind)("cat; echo no luck >&2; exit 7") as stream:
            if kind == "reader":
                assert await stream.read() == b""
    assert caught.value.result.returncode == 7
    assert stream.returncode == 7


async def test_a_failure_is_told_to_who_left_early(node):
    with pytest.raises(warmshell.CommandFailed, match="no luck"):
        async with node.reader("echo x; echo no luck >&2; exit 7") as stream:
            await stream.read(1)
            await stream.read(1)


async def test_two_megabytes_of_messages_do_not_hang(node):
    async with node.reader("head -c 2000000 /dev/zero >&2; echo done") as stream:
        assert await stream.read() == b"done\n"
    async with node.writer("head -c 2000000 /dev/zero >&2; cat >/dev/null") as writer:
        await writer.write(b"x" * 3_000_000)


async def test_messages_that_go_on_behind_the_end_hold_up_nobody():
    async with warmshell.connect("local:") as node, node.reader("sleep 1000 >/dev/null & echo x") as reader:
        assert await reader.read() == b"x\n"


async def test_what_a_writers_command_prints_does_not_hang(node):
    async with node.writer("cat; head -c 2000000 /dev/zero") as stream:
        await stream.write(b"x" * 2_000_000)


async def test_a_full_disk_raises_with_the_far_words(node):
    with pytest.raises(warmshell.CommandFailed, match="No space left"):
        async with node.writer("cat >/dev/full") as stream:
            for _ in range(100):
                await stream.write(bytes(100_000))


async def test_a_command_that_stops_reading_is_no_success(node):
    with pytest.raises(warmshell.IncompleteStream, match="takes no more input"):
        async with node.writer("head -c 5 >/dev/null") as stream:
            for _ in range(1000):
                await stream.write(bytes(100_000))


async def test_a_command_killed_by_somebody_is_a_failure(node):
    with pytest.raises(warmshell.CommandFailed) as caught:
        async with node.reader("kill -9 $$") as stream:
            await stream.read()
    assert caught.value.result.returncode == 137


async def test_a_slow_reader_holds_the_command_up(node, tmp_path):
    mark = tmp_path / "mark"
    async with node.reader(f"head -c 100000000 /dev/zero; echo over >{mark}; echo x") as stream:
        await stream.read(10)
        await asyncio.sleep(0.2)
        assert not mark.exists()
        left = [piece async for piece in stream]
    assert sum(map(len, left)) > 99_000_000
    mark.unlink()


async def test_an_error_of_the_caller_is_the_one_that_is_raised(node):
    with pytest.raises(ZeroDivisionError):
        async with node.reader("exec cat /dev/zero") as stream:
            await stream.read(10)
            raise ZeroDivisionError
    with pytest.raises(warmshell.ClosedError):
        await stream.read(10)


async def test_a_cancelled_reader_ends_its_command(node):
    async def read() -> None:
        async with node.reader(["sleep", "1000"]) as stream:
            await stream.read()

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_close_tells_and_is_told_once(node):
    stream = node.writer("cat >/dev/null; exit 3")
    await stream.__aenter__()
    await stream.write(b"x")
    with pytest.raises(warmshell.CommandFailed):
        await stream.close()
    await stream.close()
    with pytest.raises(warmshell.ClosedError):
        await stream.write(b"x")
    with pytest.raises(warmshell.BusyError):
        await stream.__aenter__()


async def test_no_program_no_stream(node):
    with pytest.raises(warmshell.ProgramNotFound):
        async with get_stream_reader(["no-such-program-here"], node):
            pass


async def test_words_are_exact_and_options_are_those_of_open(node):
    odd = b"a b\n'$x\xff"
    async with get_stream_reader(["printf", "%s", odd], node, buffer_size=7) as stream:
        assert await stream.read() == odd
    async with node.reader(["pwd"], cwd="/") as stream:
        assert await stream.read() == b"/\n"


async def test_what_is_written_is_exact(node):
    data = os.urandom(3_000_000)
    check = f'test "$(sha256sum)" = "{hashlib.sha256(data).hexdigest()}  -"'
    async with node.writer(check) as writer:
        for start in range(0, len(data), 77_777):
            await writer.write(data[start : start + 77_777])


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_a_bad_buffer_size_is_refused(size):
    with pytest.raises(warmshell.CommandError):
        get_stream_writer(["cat"], warmshell.connect("local:"), buffer_size=size)
