"""Closing: within seconds, whatever runs, and nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest

from warmshell.command import Result
from warmshell.errors import ClosedError, ShellLost
from warmshell.location import Location
from warmshell.testing.suite import Suite, gone, hidings, is_there, lines, sleeper, written


class Closing(Suite):
    """Guarantee 7, for clients that close."""

    async def test_commands_that_run_are_ended_and_say_so(self, observer: Location, where: str) -> None:
        async with self.connect() as node:
            tasks = [asyncio.create_task(node.run(sleeper(f"{where}/pid"))) for _ in range(3)]
            pids = await written(observer, f"{where}/pid", 3)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, ShellLost)
            assert outcome.started != "no"
        await gone(observer, pids)

    @pytest.mark.parametrize("hiding", list(hidings("")))
    async def test_what_commands_left_behind_is_gone(self, observer: Location, where: str, hiding: str) -> None:
        if "session" in hiding and not self.has_setsid:
            pytest.skip("there is no setsid")
        if hiding == "without-environment":
            pytest.skip("what cleared its environment is found only while its parent lives")
        async with self.connect() as node:
            await node.run(f"( {hidings(where + '/pid')[hiding]} ) >/dev/null 2>&1 &", timeout=60)
            pids = await written(observer, f"{where}/pid")
        await gone(observer, pids, within=1)

    async def test_callers_that_wait_for_a_shell_are_told_and_nothing_is_run(
        self, observer: Location, where: str
    ) -> None:
        async with self.connect(shells=1) as one:
            running = asyncio.create_task(one.run(sleeper(f"{where}/pid")))
            await written(observer, f"{where}/pid")
            waiting = [asyncio.create_task(one.run(["touch", f"{where}/ran"])) for _ in range(3)]
            await asyncio.sleep(0)
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, ClosedError)
        await asyncio.gather(running, return_exceptions=True)
        assert not await is_there(observer, f"{where}/ran")

    async def test_after_closing_nothing_is_run(self, observer: Location, where: str) -> None:
        async with self.connect() as node:
            pass
        await node.aclose()
        for what in (["touch", f"{where}/ran"], f"touch {where}/ran"):
            with pytest.raises(ClosedError):
                await node.run(what)
            with pytest.raises(ClosedError):
                async with node.open(what):
                    pass
        with pytest.raises(ClosedError):
            async with self.stateful(node):
                pass
        assert not await is_there(observer, f"{where}/ran")

    async def test_before_it_is_entered_nothing_is_run(self) -> None:
        with pytest.raises(ClosedError):
            await self.connect().run(["true"])

    async def test_an_exception_in_the_body_is_the_one_that_is_raised(self, observer: Location, where: str) -> None:
        async def use() -> None:
            async with self.connect() as node:
                tasks.append(asyncio.create_task(node.run(sleeper(f"{where}/pid"))))
                await written(observer, f"{where}/pid")
                raise ZeroDivisionError

        tasks: list[asyncio.Task[Result]] = []
        with pytest.raises(ZeroDivisionError):
            await use()
        await asyncio.gather(*tasks, return_exceptions=True)
        await gone(observer, await lines(observer, f"{where}/pid"))

    async def test_cancelled_while_it_closes_it_closes_all_the_same(self, observer: Location, where: str) -> None:
        async def use() -> None:
            async with self.connect() as node:
                await node.run(f"{hidings(where + '/pid')['deaf-in-background'].replace('& wait', '&')}")
                await written(observer, f"{where}/pid")

        task = asyncio.create_task(use())
        pids = await written(observer, f"{where}/pid")
        for _ in range(10):
            task.cancel()
            await asyncio.sleep(0.01)
        await asyncio.gather(task, return_exceptions=True)
        await gone(observer, pids, within=1)

    async def test_shells_and_processes_that_are_open_are_closed_too(self, observer: Location, where: str) -> None:
        async with self.connect() as node:
            shell = await self.stateful(node).__aenter__()
            child = await shell.subshell().__aenter__()
            await shell.run(f"{sleeper(where + '/pid')} &")
            await child.run(f"{sleeper(where + '/pid')} &")
            pids = await written(observer, f"{where}/pid", 2)
        assert not shell.alive
        assert not child.alive
        await gone(observer, pids)

    async def test_two_locations_do_not_close_each_other(self, observer: Location, where: str) -> None:
        async with self.connect() as first:
            task = asyncio.create_task(first.run(f"{sleeper(where + '/pid')}"))
            pids = await written(observer, f"{where}/pid")
            async with self.connect() as second:
                await second.run(["true"])
            assert (await first.run("echo fresh")).stdout == b"fresh\n"
            assert not task.done()
        await asyncio.gather(task, return_exceptions=True)
        await gone(observer, pids)

    async def test_opened_and_closed_again_and_again(self) -> None:
        for number in range(8):
            async with self.connect() as node:
                assert (await node.run(["echo", str(number)])).text == f"{number}\n"

    async def test_a_background_child_of_the_last_moment(self, observer: Location, where: str) -> None:
        for number in range(5):
            async with self.connect() as node:
                await node.run(f"{sleeper(where + '/pid')} &", timeout=60)
                pids = await written(observer, f"{where}/pid", number + 1)
            await gone(observer, pids, within=1)
        assert len(await lines(observer, f"{where}/pid")) == 5
