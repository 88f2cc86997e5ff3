"""The cost of one command does not depend on how many wait: counted in lines and calls, not in time."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, OrderedDict

import pytest

import warmshell.pool.map
import warmshell.pool.pool
import warmshell.pool.slots
from warmshell.pool import Pool
from warmshell.pool.slots import Slots

from .pool_site import Instant, Site, Yielding, quiet

FILES = {warmshell.pool.map.__file__, warmshell.pool.pool.__file__, warmshell.pool.slots.__file__}


class Lines:
    """Counts the lines of the pool that are executed, comprehensions and loops included."""

    def __enter__(self):
        self.count = 0
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)

    def trace(self, frame, event, argument):
        if frame.f_code.co_filename not in FILES:
            return None
        self.count += 1
        return self.trace


class Calls:
    """Counts the calls that the pool makes, of Python and of C; cheaper to count than lines."""

    def __enter__(self):
        self.count = 0
        self.before = sys.getprofile()
        sys.setprofile(self.profile)
        return self

    def __exit__(self, *_):
        sys.setprofile(self.before)

    def profile(self, frame, event, argument):
        if event in ("call", "c_call") and frame.f_code.co_filename in FILES:
            self.count += 1


async def queue_many(count):
    """All at once onto four slots at two locations; some want one of them, some give up while they wait."""
    pool = Pool([Yielding("x"), Yielding("y")], 4, per_location=3)
    tasks = [asyncio.ensure_future(pool.run(n, on=(None, "x", "y")[n % 3])) for n in range(count)]
    await asyncio.sleep(0)
    for task in tasks[10::10]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert pool.statistics().most_waiting == count - 4
    assert pool.statistics().done == count - len(tasks[10::10])
    assert pool.statistics().running == 0


async def map_many(count):
    pool = Pool(Yielding("x"), 4)
    seen = 0
    async for _ in pool.map(range(count)):
        seen += 1
    assert seen == count


@pytest.mark.parametrize("work", [queue_many, map_many])
@pytest.mark.parametrize(("measure", "many"), [(Lines, 10_000), (Calls, 30_000)])
async def test_the_cost_of_a_command_is_flat(work, measure, many):
    costs = []
    for count in (100, many):
        with measure() as measured:
            await work(count)
        costs.append(measured.count / count)
    assert costs[0] > 1
    assert costs[1] <= costs[0] * 1.1


async def test_a_hundred_thousand_queued_run_in_order():
    site = Yielding()
    pool = Pool(site, 4)
    ended = []
    tasks = [asyncio.ensure_future(pool.run(number)) for number in range(100_000)]
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda _, number=number: ended.append(number))
    await asyncio.gather(*tasks)
    await quiet()
    assert ended == sorted(ended)
    assert (site.ran, site.most) == (100_000, 4)


class Touched(OrderedDict):
    """A queue that counts what is done to it, and refuses to be walked through."""

    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def __iter__(self):
        for key in super().__iter__():
            self.counts["looked at"] += 1
            yield key

    def values(self):
        raise AssertionError("somebody walks through the queue")

    items = keys = __reversed__ = values


@pytest.mark.parametrize("where", [None, 0])
def test_no_decision_walks_through_the_queue(where):
    counts = Counter()
    slots = Slots(1, [1, 1])
    slots._anywhere = Touched(counts)
    slots._pinned = [Touched(counts) for _ in slots._pinned]
    slots.take(0)
    waiters = [slots.wait(number, where) for number in range(10_000)]
    for waiter in waiters[1::2]:
        slots.cancel(waiter)
    for waiter in waiters[0::2]:
        assert slots.give(0 if where == 0 else slots.running_at.index(1)) is waiter
    assert counts["looked at"] < 5 * len(waiters)


def test_the_cost_does_not_depend_on_the_number_of_locations():
    """Beyond the logarithm of a heap, which is not in Python."""
    costs = {}
    for number in (2, 2000):
        slots = Slots(1, [2] * number)
        slots.take(0)
        waiters = [slots.wait(n, n % number) for n in range(4000)]
        with Lines() as lines:
            at = 0
            for expected in waiters:
                waiter = slots.give(at)
                assert waiter is expected
                at = waiter.at
        costs[number] = lines.count
    assert costs[2000] < costs[2] * 1.5


async def test_what_waits_costs_memory_and_what_is_gone_does_not():
    site = Site()
    pool = Pool([site, Instant()], 1)
    hold = asyncio.ensure_future(pool.run("hold", on="site"))
    await site.arrived(1)
    for _ in range(50):
        tasks = [asyncio.ensure_future(pool.run(n, on=("site", "instant", None)[n % 3])) for n in range(300)]
        await quiet()
        for task in tasks:
            task.cancel()
        await quiet()
    slots = pool._slots
    assert not slots._anywhere
    assert not any(slots._pinned)
    assert len(slots._heads) <= 20
    assert len(slots._by_free) <= 2
    assert not pool._ended
    site.finish("hold")
    await hold
    assert not pool._running
