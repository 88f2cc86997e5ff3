"""``Pool.run``: slots, caps, order, choice of location, cancellation, numbers."""

from __future__ import annotations

import asyncio

import pytest

from warmshell.command import Result
from warmshell.errors import CommandError, LocationError, WarmshellError
from warmshell.pool import LocationStatistics, Pool

from .pool_site import Instant, Site, Yielding, begin, quiet


async def test_no_more_than_size_run_and_the_rest_in_order():
    site = Site()
    pool = Pool(site, 2)
    tasks = begin(pool, *"abcd")
    await quiet()
    assert site.started == ["a", "b"]
    site.finish("b", 3)
    assert (await tasks[1]).returncode == 3
    await quiet()
    assert site.started == ["a", "b", "c"]
    site.finish("a")
    await quiet()
    assert site.started == ["a", "b", "c", "d"]
    for command in "cd":
        site.finish(command)
    await asyncio.gather(*tasks)
    assert site.most == 2


async def test_options_go_through():
    site = Site()
    pool = Pool(site, 1)
    (task,) = begin(pool, "a", cwd="/tmp", timeout=3)
    await site.arrived(1)
    assert site.options == {"a": {"cwd": "/tmp", "timeout": 3}}
    site.finish("a")
    await task


async def test_spread_over_locations_by_room():
    sites = [Site("x"), Site("y"), Site("z")]
    pool = Pool(sites, 9, per_location={"x": 1, "y": 3, "z": 2})
    tasks = begin(pool, *"abcdefgh")
    await quiet()
    assert [len(site.running) for site in sites] == [1, 3, 2]
    assert sites[1].started[0] == "a"  # the most room
    sites[0].finish(sites[0].started[0])
    await quiet()
    assert sites[0].started[-1] == "g"
    for site in sites:
        for command in list(site.running):
            site.finish(command)
    await quiet()
    assert [site.most for site in sites] == [1, 3, 2]
    for site in sites:
        for command in list(site.running):
            site.finish(command)
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("by", ["name", "object"])
async def test_a_named_location_and_no_other(by):
    x, y = Site("x"), Site("y")
    pool = Pool([x, y], 4, per_location=1)
    on = {"name": "y", "object": y}[by]
    tasks = begin(pool, "a", "b", on=on) + begin(pool, "c")
    await quiet()
    assert (x.started, y.started) == (["c"], ["a"])  # c overtakes b, which could not start anyway
    assert pool.statistics().locations["y"] == LocationStatistics(running=1, waiting=1, cap=1)
    y.finish("a")
    await quiet()
    y.finish("b")
    x.finish("c")
    assert [(await task).location for task in tasks] == ["y", "y", "x"]


@pytest.mark.parametrize("on", ["nowhere", Site("x"), object(), 3, ""])
async def test_an_unknown_location(on):
    pool = Pool(Site("x"), 1)
    with pytest.raises(LocationError, match="no location of this pool"):
        await pool.run("a", on=on)
    assert pool.statistics().running == 0


async def test_a_free_slot_costs_no_turn_of_the_event_loop_and_no_task():
    created = []
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coro, **options: created.append(coro) or asyncio.Task(coro, loop=loop))
    coroutine = Pool(Instant(), 1).run("a")
    try:
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
    finally:
        loop.set_task_factory(None)
    assert isinstance(stopped.value.value, Result)
    assert created == []


async def test_an_error_of_a_command_frees_its_slot():
    site = Site()
    pool = Pool(site, 1)
    first, second = begin(pool, "a", "b")
    await site.arrived(1)
    site.fail("a", CommandError("no"))
    with pytest.raises(CommandError, match="no"):
        await first
    await site.arrived(2)
    site.finish("b")
    await second
    numbers = pool.statistics()
    assert (numbers.done, numbers.failed, numbers.cancelled, numbers.running) == (1, 1, 0, 0)


async def test_a_run_that_refuses_at_once_frees_its_slot():
    class Refusing(Site):
        def run(self, command, **options):
            raise TypeError("not even a coroutine")

    pool = Pool(Refusing(), 1)
    for _ in range(3):
        with pytest.raises(TypeError):
            await pool.run("a")
    assert pool.statistics().running == 0


async def test_cancelled_in_the_queue_frees_nothing_and_starts_nothing():
    site = Site()
    pool = Pool(site, 1)
    a, b, c = begin(pool, *"abc")
    await site.arrived(1)
    b.cancel()
    await quiet()
    assert b.cancelled()
    assert site.started == ["a"]
    assert (pool.statistics().running, pool.statistics().waiting) == (1, 1)
    site.finish("a")
    await a
    await site.arrived(2)
    assert site.started == ["a", "c"]
    site.finish("c")
    await c


async def test_cancelled_while_it_runs_holds_its_slot_until_it_has_ended():
    class Slow(Site):
        async def run(self, command, **options):
            try:
                return await super().run(command, **options)
            finally:
                await self.ending.wait()

    site = Slow()
    site.ending = asyncio.Event()
    pool = Pool(site, 1)
    a, b = begin(pool, *"ab")
    await site.arrived(1)
    a.cancel()
    await quiet()
    assert site.cancelled == ["a"]
    assert site.started == ["a"]
    assert pool.statistics().running == 1
    site.ending.set()
    await site.arrived(2)
    assert a.cancelled()
    site.finish("b")
    await b
    assert pool.statistics().cancelled == 1


async def test_a_slot_handed_to_a_cancelled_waiter_is_passed_on():
    site = Site()
    pool = Pool(site, 1)
    a, b, c = begin(pool, *"abc")
    await site.arrived(1)
    # b is given the slot of a and cancelled before its task can go on.
    site.finish("a")
    while not a.done():
        await asyncio.sleep(0)
    assert pool.statistics().waiting == 1  # b has the slot already
    b.cancel()
    await site.arrived(2)
    assert site.started == ["a", "c"]
    site.finish("c")
    await c
    assert b.cancelled()
    assert (pool.statistics().running, pool.statistics().waiting) == (0, 0)


async def test_a_waiter_cancelled_just_before_a_slot_comes_is_passed_over():
    site = Site()
    pool = Pool(site, 1)
    a, b, c = begin(pool, *"abc")
    await site.arrived(1)
    site.finish("a")
    b.cancel()  # its task hears of it only after a has given its slot back, in the same turn
    await site.arrived(2)
    assert site.started == ["a", "c"]
    site.finish("c")
    await asyncio.gather(a, c)
    assert b.cancelled()
    assert (pool.statistics().running, pool.statistics().waiting) == (0, 0)


async def test_a_storm_of_cancellations_in_one_turn():
    site = Site()
    pool = Pool(site, 3)
    tasks = begin(pool, *range(20_003))
    await site.arrived(3)
    for command in range(3):
        site.finish(command)
    for task in tasks[3:-3]:
        task.cancel()
    await site.arrived(6)
    assert site.started[3:] == [20_000, 20_001, 20_002]
    for command in site.started[3:]:
        site.finish(command)
    await asyncio.gather(*tasks, return_exceptions=True)
    numbers = pool.statistics()
    assert (numbers.running, numbers.waiting, numbers.done) == (0, 0, 6)


async def test_a_timeout_around_a_waiting_command():
    site = Site()
    pool = Pool(site, 1)
    (a,) = begin(pool, "a")
    await site.arrived(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await pool.run("b")
    assert pool.statistics().waiting == 0
    site.finish("a")
    await a


async def test_grow_and_shrink_while_running():
    site = Site()
    pool = Pool(site, 1)
    tasks = begin(pool, *range(6))
    await quiet()
    pool.resize(3)
    await quiet()
    assert site.started == [0, 1, 2]
    pool.resize(1)
    site.finish(0)
    site.finish(1)
    await quiet()
    assert site.started == [0, 1, 2]
    assert not site.cancelled
    site.finish(2)
    await quiet()
    assert site.started == [0, 1, 2, 3]
    pool.resize(9, per_location=2)
    await quiet()
    assert site.started == [0, 1, 2, 3, 4]
    pool.resize(per_location={"site": 3})
    await quiet()
    assert pool.statistics().size == 9
    for command in (3, 4, 5):
        site.finish(command)
    await asyncio.gather(*tasks)


async def test_growing_passes_over_those_cancelled_in_the_same_turn():
    site = Site()
    pool = Pool(site, 1)
    tasks = begin(pool, *range(4))
    await quiet()
    tasks[1].cancel()
    pool.resize(2)
    await quiet()
    assert site.started == [0, 2]
    site.finish(0)
    site.finish(2)
    await quiet()
    site.finish(3)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert pool.statistics().running == 0


async def test_statistics_and_repr():
    x, y = Site("x"), Site("y")
    pool = Pool([x, y], 2, per_location={"x": 1})
    tasks = begin(pool, *"abcd")
    await quiet()
    numbers = pool.statistics()
    assert (numbers.size, numbers.running, numbers.waiting) == (2, 2, 2)
    assert (numbers.most_running, numbers.most_waiting) == (2, 2)
    assert numbers.locations == {"x": LocationStatistics(1, 0, 1), "y": LocationStatistics(1, 0, None)}
    assert repr(pool) == "<Pool at x, y: 2 of 2 running, 2 waiting>"
    with pytest.raises(AttributeError):
        numbers.size = 3
    for _ in range(2):
        for site in (x, y):
            for command in list(site.running):
                site.finish(command)
        await quiet()
    await asyncio.gather(*tasks)
    numbers = pool.statistics()
    assert (numbers.done, numbers.running, numbers.most_running, numbers.most_waiting) == (4, 0, 2, 2)
    await pool.aclose()
    assert repr(pool) == "<Pool at x, y: closed, 0 of 2 running, 0 waiting>"


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", True, float("inf"), [2]])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="whole number of at least 1, not "):
        Pool(Site(), size)
    with pytest.raises(ValueError, match="whole number of at least 1, not "):
        Pool(Site(), 1, per_location=size)
    pool = Pool(Site(), 1)
    with pytest.raises(ValueError, match="whole number of at least 1, not "):
        pool.resize(size)
    with pytest.raises(ValueError, match="cap of 'site' is a whole number"):
        pool.resize(per_location={"site": size})
    assert pool.statistics().size == 1


@pytest.mark.parametrize("locations", ["local:", b"local:", 3, None, [], (), [Site(), 3], ["local:"], Site])
def test_locations_that_are_none(locations):
    with pytest.raises(LocationError):
        Pool(locations, 1)


def test_two_locations_of_one_name():
    with pytest.raises(LocationError, match="same name: 'x'"):
        Pool([Site("x"), Site("y"), Site("x")], 1)


def test_a_cap_for_a_location_that_is_not_there():
    with pytest.raises(LocationError, match="'z'"):
        Pool([Site("x"), Site("y")], 1, per_location={"z": 1})


def test_bad_arguments_belong_to_the_families_people_catch():
    assert issubclass(LocationError, ValueError)
    assert issubclass(LocationError, WarmshellError)


def test_default_sizes(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(5), raising=False)
    assert Pool(Site()).statistics().size == 5
    assert Pool([Site(str(n)) for n in range(7)]).statistics().size == 7
    assert Pool([Site("x"), Site("y")], per_location=4).statistics().size == 8
    assert Pool([Site("x"), Site("y")], per_location={"x": 4, "y": 1}).statistics().size == 5
    assert Pool([Site("x"), Site("y")], per_location={"x": 4}).statistics().size == 5
    assert Pool(iter([Site("x")]), per_location=3).capacity() == 3


async def test_caps_hold_under_load():
    sites = [Yielding(str(number)) for number in range(3)]
    pool = Pool(sites, 7, per_location={"0": 1, "1": 2, "2": 5})
    await asyncio.gather(*(pool.run(n, on=str(n % 3) if n % 2 else None) for n in range(3000)))
    assert [site.most for site in sites] == [1, 2, 5]
    assert sum(site.ran for site in sites) == 3000
    assert pool.statistics().most_running == 7
