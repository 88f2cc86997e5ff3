"""A process of its own: three streams and a status in the caller's hands."""

from __future__ import annotations

import asyncio
import random

import pytest

from warmshell.errors import BusyError, ClosedError
from warmshell.location import Location
from warmshell.testing.suite import Suite, gone, hidings, is_alive, lines, read, written


class Processes(Suite):
    """``node.open()``."""

    async def test_process_streams_and_status(self, node: Location) -> None:
        async with node.open("cat; echo err >&2; exit 3") as process:
            await process.stdin.send(b"some\0")
            await process.stdin.send(b"bytes")
            await process.stdin.aclose()
            assert await process.stdout.read() == b"some\0bytes"
            assert await process.stderr.read() == b"err\n"
            assert await process.wait() == 3
            assert await process.wait() == 3
            assert await process.stdout.receive() == b""

    async def test_half_close_leaves_the_other_streams_open(self, node: Location) -> None:
        async with node.open(["sh", "-c", "cat >/dev/null; echo ended; echo more"]) as process:
            await process.stdin.aclose()
            assert await process.stdout.read() == b"ended\nmore\n"

    async def test_process_conversation(self, node: Location) -> None:
        async with node.open(["cat"]) as process:
            for number in range(100):
                await process.stdin.send(b"%d\n" % number)
                assert await process.stdout.receive() == b"%d\n" % number

    async def test_more_than_any_pipe_holds_in_both_directions_at_once(self, node: Location) -> None:
        data = random.Random(5).randbytes(5_000_000)

        async def feed() -> None:
            await process.stdin.send(data)
            await process.stdin.aclose()

        async with node.open(["cat"]) as process:
            feeding = asyncio.create_task(feed())
            assert b"".join([chunk async for chunk in process.stdout]) == data
            await feeding
            assert await process.wait() == 0

    async def test_process_death_by_signal(self, node: Location) -> None:
        async with node.open(["sh", "-c", "kill -TERM $$"]) as process:
            assert await process.wait() == 143

    async def test_writing_to_one_that_reads_no_more(self, node: Location) -> None:
        async with node.open("exec <&-; echo closed; cat /dev/zero") as process:
            assert (await process.stdout.receive(7)) == b"closed\n"
            with pytest.raises(BrokenPipeError):
                await process.stdin.send(b"x" * 10_000_000)

    @pytest.mark.parametrize("hiding", list(hidings("")))
    async def test_kill_ends_all_descendants(self, node: Location, observer: Location, where: str, hiding: str) -> None:
        if "session" in hiding and not self.has_setsid:
            pytest.skip("there is no setsid")
        async with node.open(hidings(f"{where}/pid")[hiding]) as process:
            pids = await written(observer, f"{where}/pid")
            await process.kill()
            await gone(observer, pids, within=0.2)
            await process.wait()

    async def test_leaving_early_ends_it(self, node: Location, observer: Location, where: str) -> None:
        async with node.open(hidings(f"{where}/pid")["deaf-in-background"]):
            pids = await written(observer, f"{where}/pid")
        await gone(observer, pids, within=0.2)

    async def test_a_child_that_it_leaves_behind_is_gone_after_closing(self, observer: Location, where: str) -> None:
        script = hidings(f"{where}/pid")["background"].replace("& wait", "&")
        async with self.connect() as node, node.open(script) as process:
            assert await process.wait() == 0
            pids = await written(observer, f"{where}/pid")
            assert await is_alive(observer, int(pids[0]))
        await gone(observer, pids)

    async def test_two_that_read_at_once_are_told(self, node: Location) -> None:
        async with node.open(["cat"]) as process:
            first = asyncio.create_task(process.stdout.receive())
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                await process.stdout.receive()
            await process.stdin.send(b"x")
            assert await first == b"x"

    async def test_a_cancelled_reader_loses_nothing(self, node: Location) -> None:
        async with node.open(["cat"]) as process:
            reader = asyncio.create_task(process.stdout.receive())
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await process.stdin.send(b"x")
            assert await process.stdout.receive() == b"x"

    async def test_after_the_end_the_streams_are_closed(self, node: Location) -> None:
        async with node.open(["cat"]) as process:
            pass
        with pytest.raises(ClosedError):
            await process.stdin.send(b"x")
        with pytest.raises(ClosedError):
            await process.stdout.receive()
        assert await process.wait() > 128

    async def test_process_directory(self, node: Location, where: str) -> None:
        async with node.open(["env", "pwd"], cwd=where) as process:
            assert (await process.stdout.read()).decode() == f"{where}\n"

    async def test_many_processes_at_once(self, node: Location, where: str) -> None:
        async def one(number: int) -> int:
            async with node.open(["sh", "-c", f"cat; echo x >>{where}/count; exit {number}"]) as process:
                await process.stdin.send(b"%d" % number)
                await process.stdin.aclose()
                assert await process.stdout.read() == b"%d" % number
                return await process.wait()

        assert await asyncio.gather(*[one(number) for number in range(20)]) == list(range(20))
        assert await lines(node, f"{where}/count") == ["x"] * 20
        assert len(await read(node, f"{where}/count")) == 40
