"""A command goes to another location only if it certainly had not started."""

from __future__ import annotations

import asyncio

import pytest

from warmshell.command import Command
from warmshell.errors import ClosedError, ConnectError, ShellLost
from warmshell.pool import Pool

from .pool_site import Instant, Site, begin, quiet


class Losing(Instant):
    """A location whose shell is lost, every time or the first so many times."""

    def __init__(self, name, started="no", times=1000):
        super().__init__(name)
        self.started = started
        self.times = times

    async def run(self, command, **options):
        result = await super().run(command, **options)
        if self.ran <= self.times:
            raise ShellLost(f"lost at {self.name}", started=self.started, location=self.name)
        return result


async def test_on_to_another_location():
    bad, good = Losing("bad"), Instant("good")
    pool = Pool([bad, good], 2)
    assert (await pool.run("a")).location == "good"
    assert (bad.ran, good.ran) == (1, 1)
    numbers = pool.statistics()
    assert (numbers.failovers, numbers.done, numbers.failed, numbers.running) == (1, 1, 0, 0)


async def test_once_to_every_other_location_and_no_more():
    sites = [Losing(str(number)) for number in range(5)]
    pool = Pool(sites, 2)
    with pytest.raises(ShellLost) as caught:
        await pool.run("a")
    assert caught.value.started == "no"
    assert [site.ran for site in sites] == [1] * 5
    numbers = pool.statistics()
    assert (numbers.failovers, numbers.failed, numbers.running) == (4, 1, 0)


@pytest.mark.parametrize(("times", "ran", "lost"), [(1, 2, False), (2, 2, True)])
@pytest.mark.parametrize("on", [None, "only"])
async def test_once_more_at_the_same_location_if_there_is_no_other(times, ran, lost, on):
    site, other = Losing("only", times=times), Instant("other")
    pool = Pool([site, other] if on else site, 2)
    if lost:
        with pytest.raises(ShellLost):
            await pool.run("a", on=on)
    else:
        assert (await pool.run("a", on=on)).location == "only"
    assert site.ran == ran
    assert other.ran == 0


@pytest.mark.parametrize("started", ["yes", "unknown"])
async def test_never_if_it_may_have_started(started):
    bad, good = Losing("bad", started), Instant("good")
    pool = Pool([bad, good], 2)
    with pytest.raises(ShellLost) as caught:
        await pool.run("a")
    assert caught.value.started == started
    assert (bad.ran, good.ran) == (1, 0)
    assert (await pool.run("b")).location == "good"
    assert (bad.ran, good.ran) == (1, 1)


async def test_never_on_after_a_second_location_where_it_may_have_started():
    sites = [Losing("x", "no"), Losing("y", "unknown"), Instant("z")]
    pool = Pool(sites, 2)
    with pytest.raises(ShellLost) as caught:
        await pool.run("a")
    assert caught.value.started == "unknown"
    assert [site.ran for site in sites] == [1, 1, 0]


async def test_no_other_error_is_ever_retried():
    class Unreachable(Instant):
        async def run(self, command, **options):
            await super().run(command)
            raise ConnectError("nobody there")

    bad, good = Unreachable("bad"), Instant("good")
    with pytest.raises(ConnectError):
        await Pool([bad, good], 2).run("a")
    assert (bad.ran, good.ran) == (1, 0)


async def chunks():
    yield b"once"


@pytest.mark.parametrize("form", ["option", "command"])
async def test_input_that_cannot_be_read_again_is_not_run_again(form):
    bad, good = Losing("bad"), Instant("good")
    pool = Pool([bad, good], 2)
    stream = chunks()
    with pytest.raises(ShellLost):
        await (pool.run(["cat"], stdin=stream) if form == "option" else pool.run(Command(["cat"], stdin=stream)))
    assert (bad.ran, good.ran) == (1, 0)
    await stream.aclose()
    pool.resize(1)
    assert (await pool.run(["cat"], stdin=b"again and again", on="good")).location == "good"


async def test_it_keeps_its_slot_before_all_who_wait():
    x, y = Site("x"), Site("y")
    pool = Pool([x, y], 1)
    first, second = begin(pool, "a", "b")
    await x.arrived(1)
    x.fail("a", ShellLost("gone", started="no"))
    await quiet()
    assert (x.started, y.started) == (["a"], ["a"])
    y.finish("a")
    await quiet()
    (site,) = [site for site in (x, y) if "b" in site.running]
    site.finish("b")
    await asyncio.gather(first, second)


async def test_waiting_for_a_full_location_it_gives_its_slot_to_others():
    x, y = Site("x"), Site("y")
    pool = Pool([x, y], 2, per_location=1)
    (on_y,) = begin(pool, "y", on="y")
    await y.arrived(1)
    first, second, third = begin(pool, "a", "b", "c")
    await x.arrived(1)
    x.fail("a", ShellLost("gone", started="no"))
    await x.arrived(2)
    assert x.started == ["a", "b"]
    y.finish("y")
    await y.arrived(2)
    assert y.started == ["y", "a"]  # before c, which was here first but never had a slot
    y.finish("a")
    x.finish("b")
    await quiet()
    (x if "c" in x.running else y).finish("c")
    await asyncio.gather(on_y, first, second, third)


async def test_cancelled_while_it_waits_for_another_location():
    x, y = Site("x"), Site("y")
    pool = Pool([x, y], 2, per_location=1)
    (on_y,) = begin(pool, "y", on="y")
    await y.arrived(1)
    (task,) = begin(pool, "a")
    await x.arrived(1)
    x.fail("a", ShellLost("gone", started="no"))
    await quiet()
    assert pool.statistics().waiting == 1
    task.cancel()
    await quiet()
    assert task.cancelled()
    assert (pool.statistics().waiting, pool.statistics().running) == (0, 1)
    y.finish("y")
    await on_y
    assert y.started == ["y"]


async def test_a_closed_pool_runs_nothing_again():
    x, y = Site("x"), Site("y")
    pool = Pool([x, y], 2, per_location=1)
    (on_y,) = begin(pool, "y", on="y")
    (task,) = begin(pool, "a", on=None)
    await x.arrived(1)
    x.fail("a", ShellLost("gone", started="no"))
    await quiet()
    await pool.aclose()
    with pytest.raises(ClosedError):
        await task
    with pytest.raises(ShellLost):
        await on_y
    assert y.started == ["y"]


async def test_lost_while_the_pool_closes_it_is_not_run_again():
    class Breaking(Site):
        async def run(self, command, **options):
            try:
                return await super().run(command, **options)
            except asyncio.CancelledError:
                raise ShellLost("gone", started="no") from None

    x, y = Breaking("x"), Breaking("y")
    pool = Pool([x, y], 2)
    (task,) = begin(pool, "a")
    await x.arrived(1)
    await pool.aclose()
    with pytest.raises(ShellLost, match="gone"):
        await task
    assert (y.started, pool.statistics().failovers, pool.statistics().running) == ([], 0, 0)
    assert task.cancelling() == 0


async def test_every_caller_has_an_error_of_its_own():
    pool = Pool([Losing("x"), Losing("y")], 4)
    errors = await asyncio.gather(*(pool.run(n) for n in range(20)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 20
