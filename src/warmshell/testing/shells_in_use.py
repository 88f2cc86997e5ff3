"""The warm shells of a location: how many, for how long, and what replaces one that is gone."""

from __future__ import annotations

import asyncio

import pytest

from warmshell.location import Location
from warmshell.testing.suite import Suite, gone, lines, written
from warmshell.testing.waiting import eventually


class ShellsInUse(Suite):
    """Limits, waiting, idle and age, statistics; and guarantee 1 where a shell is found gone."""

    async def test_one_shell_serves_many_commands(self) -> None:
        async with self.connect(shells=3) as node:
            names = {(await node.run(["echo", "x"])).shell for _ in range(20)}
            assert len(names) == 1
            now = node.statistics()
            assert (now.idle, now.busy, now.waiting, now.started, now.retired) == (1, 0, 0, 1, 0)

    async def test_no_more_shells_than_the_limit_and_the_others_wait_in_order(
        self, observer: Location, where: str
    ) -> None:
        await observer.run(["mkfifo", f"{where}/0", f"{where}/1"])
        async with self.connect(shells=2) as node:
            busy = [asyncio.create_task(node.run(f"echo $$ >>{where}/on; read x <{where}/{n}")) for n in range(2)]
            await written(observer, f"{where}/on", 2)
            waiting = [asyncio.create_task(node.run(f"echo {n} >>{where}/order")) for n in range(6)]
            await eventually(lambda: node.statistics().waiting == 6)
            assert (node.statistics().busy, node.statistics().started) == (2, 2)
            await observer.run(f"echo >{where}/0")
            await asyncio.gather(*waiting)
            assert not busy[1].done()
            await observer.run(f"echo >{where}/1")
            await asyncio.gather(*busy)
            assert node.statistics().started == 2
        assert await lines(observer, f"{where}/order") == [str(n) for n in range(6)]

    async def test_idle_shells_are_let_go(self) -> None:
        async with self.connect(shells=4, idle=0.2) as node:
            await asyncio.gather(*[node.run("read x", stdin=b"x\n") for _ in range(4)])
            started = node.statistics().started
            await eventually(lambda: node.statistics().idle == 0, 10)
            await eventually(lambda: node.statistics().retired == started, 10)
            assert (await node.run("echo fresh")).stdout == b"fresh\n"
            assert node.statistics().started == started + 1

    async def test_a_shell_beyond_its_age_is_replaced(self) -> None:
        async with self.connect(shells=1, age=0.05) as node:
            first = (await node.run("sleep 0.06")).shell
            assert (await node.run(["echo", "x"])).shell != first

    async def test_a_shell_that_was_killed_while_idle_is_replaced_unnoticed(
        self, observer: Location, where: str
    ) -> None:
        async with self.connect(shells=1) as one:
            for number in range(5):
                pid = (await one.run("echo $$")).text.strip()
                await observer.run(["kill", "-9", pid])
                await gone(observer, [pid])
                result = await one.run(f"echo {number} >>{where}/count; echo ran")
                assert result.stdout == b"ran\n"
        assert await lines(observer, f"{where}/count") == [str(number) for number in range(5)]

    async def test_a_shell_that_was_stopped_while_idle_is_not_waited_for_beyond_a_timeout(
        self, observer: Location
    ) -> None:
        async with self.connect(shells=1) as one:
            pid = (await one.run("echo $$")).text.strip()
            await observer.run(["kill", "-STOP", pid])
            with pytest.raises(TimeoutError):
                await one.run(["echo", "x"], timeout=1)
            assert (await one.run("echo fresh")).stdout == b"fresh\n"

    async def test_many_commands_over_few_shells(self, observer: Location, where: str) -> None:
        async with self.connect(shells=3) as node:
            runs = [node.run(f"echo {n} >>{where}/count; echo {n}") for n in range(100)]
            results = await asyncio.gather(*runs)
            assert [int(result.text) for result in results] == list(range(100))
            assert node.statistics().started <= 3
        assert sorted(map(int, await lines(observer, f"{where}/count"))) == list(range(100))
