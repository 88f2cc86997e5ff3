"""Cancelling kills the command and its whole tree, at whatever moment, and leaves nothing stale."""

from __future__ import annotations

import asyncio

import pytest

from warmshell.location import Location
from warmshell.testing.suite import Suite, gone, hidings, is_there, lines, sleeper, written


async def cancel(task: asyncio.Task[object]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Cancelling(Suite):
    """Guarantee 4, by the caller."""

    @pytest.mark.parametrize("hiding", list(hidings("")))
    async def test_cancelling_ends_all_descendants_wherever_they_hid(
        self, node: Location, observer: Location, where: str, hiding: str
    ) -> None:
        if "session" in hiding and not self.has_setsid:
            pytest.skip("there is no setsid")
        task = asyncio.create_task(node.run(hidings(f"{where}/pid")[hiding]))
        pids = await written(observer, f"{where}/pid", 5 if hiding == "many" else 1)
        await cancel(task)
        await gone(observer, pids, within=0.2)
        assert (await node.run(["echo", "fresh"])).stdout == b"fresh\n"

    async def test_after_cancelling_the_command_is_not_run_again_and_nothing_is_stale(
        self, observer: Location, where: str
    ) -> None:
        async with self.connect(shells=1) as one:
            for number in range(3):
                script = f"echo ran >>{where}/count; echo early; {sleeper(where + '/pid')}; echo late"
                task = asyncio.create_task(one.run(script))
                await written(observer, f"{where}/pid", number + 1)
                await cancel(task)
                result = await one.run("echo fresh")
                assert (result.returncode, result.stdout, result.stderr) == (0, b"fresh\n", b"")
        assert await lines(observer, f"{where}/count") == ["ran"] * 3

    async def test_cancelled_at_any_moment(self, observer: Location, where: str) -> None:
        """Cancelled after 0, 1, 2 … turns of the event loop, it runs once or not at all."""
        async with self.connect(shells=2) as two:
            await two.run(["true"])
            for turns in range(40):
                task = asyncio.create_task(two.run(f"echo {turns} >>{where}/count; echo out"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                (outcome,) = await asyncio.gather(task, return_exceptions=True)
                assert isinstance(outcome, asyncio.CancelledError) or outcome.stdout == b"out\n"  # type: ignore[union-attr]
                assert (await two.run(["echo", "fresh"])).stdout == b"fresh\n"
        ran = await lines(observer, f"{where}/count")
        assert len(ran) == len(set(ran))

    async def test_cancelled_while_a_shell_is_started(self) -> None:
        for turns in range(0, 60, 5):
            async with self.connect(shells=1) as one:
                task = asyncio.create_task(one.run(["echo", "first"]))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert (await one.run(["echo", "fresh"])).stdout == b"fresh\n"

    async def test_cancelled_while_it_waits_for_a_shell(self, observer: Location, where: str) -> None:
        await observer.run(["mkfifo", f"{where}/gate"])
        async with self.connect(shells=1) as one:
            first = asyncio.create_task(one.run(f"read x <{where}/gate; echo whole"))
            await asyncio.sleep(0)
            waiting = [asyncio.create_task(one.run(["touch", f"{where}/ran"])) for _ in range(3)]
            last = asyncio.create_task(one.run(["echo", "last"]))
            await asyncio.sleep(0)
            for task in waiting:
                await cancel(task)
            await observer.run(f"echo >{where}/gate")
            assert (await first).stdout == b"whole\n"
            assert (await last).stdout == b"last\n"
        assert not await is_there(observer, f"{where}/ran")

    async def test_many_cancelled_at_once(self, observer: Location, where: str) -> None:
        async with self.connect(shells=12) as node:
            tasks = [asyncio.create_task(node.run(sleeper(f"{where}/pid"))) for _ in range(12)]
            pids = await written(observer, f"{where}/pid", 12)
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            await gone(observer, pids, within=0.2)
            assert (await node.run("echo fresh")).stdout == b"fresh\n"

    async def test_cancelled_again_while_it_cleans_up(self, node: Location, observer: Location, where: str) -> None:
        task = asyncio.create_task(node.run(hidings(f"{where}/pid")["deaf"]))
        pids = await written(observer, f"{where}/pid")
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(observer, pids, within=0.2)

    async def test_cancelling_the_user_of_a_process(self, node: Location, observer: Location, where: str) -> None:
        async def use() -> None:
            async with node.open(["sh", "-c", hidings(f"{where}/pid")["daemon-in-a-session"]]) as process:
                await process.stdout.read()

        task = asyncio.create_task(use())
        pids = await written(observer, f"{where}/pid")
        await cancel(task)
        await gone(observer, pids, within=0.2)
