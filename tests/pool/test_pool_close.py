"""``drain`` and ``aclose``: nothing left behind, nothing left waiting."""

from __future__ import annotations

import asyncio
import gc
import itertools

import pytest

from warmshell.errors import ClosedError, ShellLost
from warmshell.pool import Pool

from .pool_site import Instant, Site, begin, quiet


async def test_closing_refuses_those_who_wait_and_ends_what_runs():
    site = Site()
    pool = Pool(site, 2)
    tasks = begin(pool, *"abcd")
    await site.arrived(2)
    await pool.aclose()
    assert sorted(site.cancelled) == ["a", "b"]
    assert not site.running
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ShellLost, ShellLost, ClosedError, ClosedError]
    assert [error.started for error in results[:2]] == ["unknown", "unknown"]
    assert results[2] is not results[3]
    assert site.started == ["a", "b"]
    with pytest.raises(ClosedError):
        await pool.run("e")
    with pytest.raises(ClosedError):
        pool.map([])


async def test_tasks_whose_commands_were_ended_are_not_cancelled_themselves():
    site = Site()
    pool = Pool(site, 1)

    async def caller():
        with pytest.raises(ShellLost, match=r"pool was closed while the command ran.*\[command: true"):
            await pool.run("true")
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    task = asyncio.ensure_future(caller())
    await site.arrived(1)
    await pool.aclose()
    assert await task == 0


async def test_a_task_that_is_being_cancelled_stays_so():
    site = Site()
    pool = Pool(site, 1)
    (task,) = begin(pool, "a")
    await site.arrived(1)
    task.cancel()
    await pool.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_command_that_is_being_ended_is_not_disturbed_by_the_close():
    class Slow(Site):
        async def run(self, command, **options):
            try:
                return await super().run(command, **options)
            except asyncio.CancelledError:
                await self.may_end.wait()
                self.ended = True
                raise

    site = Slow()
    site.may_end = asyncio.Event()
    site.ended = False
    pool = Pool(site, 1)
    (task,) = begin(pool, "a")
    await site.arrived(1)
    task.cancel()
    await quiet()
    closing = asyncio.ensure_future(pool.aclose())
    await quiet()
    assert not closing.done()
    site.may_end.set()
    await closing
    assert site.ended
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_cancelled_after_the_close_stays_cancelled():
    class Slow(Site):
        async def run(self, command, **options):
            try:
                return await super().run(command, **options)
            except asyncio.CancelledError:
                await self.ending.wait()
                raise

    site = Slow()
    site.ending = asyncio.Event()
    pool = Pool(site, 1)
    (task,) = begin(pool, "a")
    await site.arrived(1)
    closing = asyncio.ensure_future(pool.aclose())
    await quiet()
    assert not closing.done()
    task.cancel()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_command_that_ends_in_spite_of_the_close():
    class Stubborn(Site):
        async def run(self, command, **options):
            try:
                return await super().run(command, **options)
            except asyncio.CancelledError:
                return await Instant(self.name).run(command)

    site = Stubborn()
    pool = Pool(site, 1)

    async def caller():
        result = await pool.run("a")
        await asyncio.sleep(0)
        return result.returncode, asyncio.current_task().cancelling()

    task = asyncio.ensure_future(caller())
    await site.arrived(1)
    await pool.aclose()
    assert await task == (0, 0)


async def test_closing_waits_for_the_end_of_what_runs_also_when_cancelled():
    class Slow(Site):
        async def run(self, command, **options):
            try:
                return await super().run(command, **options)
            finally:
                await self.ending.wait()

    site = Slow()
    site.ending = asyncio.Event()
    pool = Pool(site, 1)
    (task,) = begin(pool, "a")
    await site.arrived(1)
    closing = asyncio.ensure_future(pool.aclose())
    again = asyncio.ensure_future(pool.aclose())
    await quiet()
    closing.cancel()
    await quiet()
    assert not closing.done()
    assert not again.done()
    site.ending.set()
    await again
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(ShellLost):
        await task
    await pool.aclose()


async def test_a_waiter_given_a_slot_just_before_the_close_runs_nothing():
    site = Site()
    pool = Pool(site, 1)
    a, b = begin(pool, *"ab")
    await site.arrived(1)
    site.finish("a")
    while not a.done():
        await asyncio.sleep(0)
    assert pool.statistics().running == 1  # it is b's slot already
    await pool.aclose()
    with pytest.raises(ClosedError):
        await b
    assert site.started == ["a"]
    assert pool.statistics().running == 0


async def test_waiters_cancelled_and_closed_in_one_turn():
    site = Site()
    pool = Pool(site, 1)
    a, b, c = begin(pool, *"abc")
    await site.arrived(1)
    b.cancel()
    closing = asyncio.ensure_future(pool.aclose())
    c.cancel()
    await closing
    results = await asyncio.gather(a, b, c, return_exceptions=True)
    assert [type(result) for result in results] == [ShellLost, asyncio.CancelledError, asyncio.CancelledError]
    gc.collect()


async def test_the_context_closes():
    site = Site()
    async with Pool(site, 1) as pool:
        tasks = begin(pool, *"ab")
        await site.arrived(1)
    assert not site.running
    await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(ClosedError):
        await pool.run("c")


async def test_the_context_closes_after_an_error_too():
    site = Site()
    with pytest.raises(ZeroDivisionError):
        async with Pool(site, 1) as pool:
            (task,) = begin(pool, "a")
            await site.arrived(1)
            1 / 0  # noqa: B018
    assert site.cancelled == ["a"]
    with pytest.raises(ShellLost):
        await task


async def test_drain_waits_for_everything_and_leaves_the_pool_open():
    site = Site()
    pool = Pool(site, 1)
    await pool.drain()
    tasks = begin(pool, *"ab")
    await site.arrived(1)
    drains = [asyncio.ensure_future(pool.drain()) for _ in range(2)]
    site.finish("a")
    await site.arrived(2)
    await quiet()
    assert not any(drain.done() for drain in drains)
    drains[0].cancel()
    await quiet()
    site.finish("b")
    await drains[1]
    assert not pool._idle
    await asyncio.gather(*tasks)
    (task,) = begin(pool, "c")
    await site.arrived(3)
    site.finish("c")
    await task


async def test_closing_ends_maps():
    site = Site()
    pool = Pool(site, 2)
    results = pool.map(itertools.count())
    reading = asyncio.ensure_future(anext(results))
    idle = pool.map(itertools.count(), errors="return")
    await site.arrived(1)
    await pool.aclose()
    with pytest.raises(ClosedError):
        await reading
    with pytest.raises(StopAsyncIteration):
        await anext(results)
    with pytest.raises(ClosedError):
        await anext(idle)
    with pytest.raises(StopAsyncIteration):
        await anext(idle)
    await quiet()
    assert not site.running
    assert not pool.works
