"""Any sequence of events, several in one turn of the event loop: no slot is lost, none is used twice."""

from __future__ import annotations

import asyncio

import hypothesis.strategies as st
from hypothesis import given, settings

from warmshell.errors import ClosedError, CommandError, ShellLost
from warmshell.pool import Pool

from .pool_site import Site, quiet

NAMES = "xyz"
INDEX = st.integers(0, 1000)
ACTS = st.one_of(
    st.tuples(st.just("run"), st.sampled_from([None, *NAMES])),
    st.tuples(st.just("finish"), INDEX),
    st.tuples(st.just("fail"), INDEX),
    st.tuples(st.just("lose"), INDEX),
    st.tuples(st.just("cancel"), INDEX),
    st.tuples(st.just("resize"), st.integers(1, 5)),
    st.tuples(st.just("turn"), st.just(0)),
    st.tuples(st.just("quiet"), st.just(0)),
)


class Storm:
    def __init__(self, size, caps):
        self.sites = [Site(name) for name in NAMES]
        self.caps = caps
        self.size = size
        self.pool = Pool(self.sites, size, per_location=dict(zip(NAMES, caps, strict=True)))
        self.tasks = []

    def pending(self):
        return [(s, c) for s in self.sites for c, future in s.running.items() if not future.done()]

    async def act(self, act, value):
        if act == "run":
            self.tasks.append(asyncio.ensure_future(self.pool.run(len(self.tasks), on=value)))
        elif act == "cancel" and self.tasks:
            self.tasks[value % len(self.tasks)].cancel()
        elif act == "resize":
            self.size = value
            self.pool.resize(value)
        elif act == "turn":
            await asyncio.sleep(0)
        elif act == "quiet":
            await self.settled()
        elif act in ("finish", "fail", "lose") and (pending := self.pending()):
            site, command = pending[value % len(pending)]
            error = {"fail": CommandError("no"), "lose": ShellLost("gone", started="no")}.get(act)
            site.fail(command, error) if error else site.finish(command)

    async def settled(self):
        """Nothing moves: what runs and waits must be exactly what should."""
        await quiet()
        numbers = self.pool.statistics()
        running = [len(site.running) for site in self.sites]
        assert [numbers.locations[name].running for name in NAMES] == running
        assert numbers.running == sum(running)
        assert all(site.most <= cap for site, cap in zip(self.sites, self.caps, strict=True))
        assert numbers.running + numbers.waiting == sum(not task.done() for task in self.tasks)
        room = [cap - count for cap, count in zip(self.caps, running, strict=True)]
        if numbers.running < self.size:
            anywhere = numbers.waiting - sum(place.waiting for place in numbers.locations.values())
            assert not anywhere or max(room) <= 0
            assert all(room[at] <= 0 or not numbers.locations[name].waiting for at, name in enumerate(NAMES))

    async def finish(self):
        await self.settled()
        while any(not task.done() for task in self.tasks):
            assert self.pending(), "something waits, and nothing runs"
            for site, command in self.pending():
                site.finish(command)
            await self.settled()
        await self.pool.drain()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert (self.pool.statistics().running, self.pool.statistics().waiting) == (0, 0)
        assert not self.pool._running
        await self.full_again()

    async def full_again(self):
        """As many as ever can start at once."""
        before = len(self.tasks)
        self.tasks += [asyncio.ensure_future(self.pool.run(f"last {n}")) for n in range(20)]
        await self.settled()
        assert self.pool.statistics().running == min(self.size, sum(self.caps)) == self.pool.capacity()
        await self.pool.aclose()
        errors = await asyncio.gather(*self.tasks[before:], return_exceptions=True)
        assert {type(error) for error in errors} <= {ShellLost, ClosedError}
        assert not any(site.running for site in self.sites)


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 5),
    caps=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    acts=st.lists(ACTS, max_size=60),
)
def test_any_sequence_of_events(size, caps, acts):
    async def main():
        storm = Storm(size, caps)
        for act, value in acts:
            await storm.act(act, value)
        await storm.finish()

    asyncio.run(main())


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 4),
    window=st.none() | st.integers(1, 6),
    ordered=st.booleans(),
    ends=st.lists(st.tuples(st.integers(0, 10), st.booleans()), max_size=40),
    total=st.none() | st.integers(0, 30),
    leave=st.integers(0, 40),
)
def test_any_order_of_endings_in_a_map(size, window, ordered, ends, total, leave):
    """Commands end in any order, some with errors; the consumer leaves at any moment, or never."""

    async def consume(results, seen):
        async with results:
            async for item in results:
                seen.append(item)
                if len(seen) == leave:
                    break

    async def main():
        site = Site()
        pool = Pool(site, size)
        source = iter(range(total)) if total is not None else iter(int, 1)
        commands = enumerate(source)
        seen = []
        task = asyncio.ensure_future(consume(pool.map(commands, ordered=ordered, errors="return", window=window), seen))
        for which, fails in ends:
            await quiet()
            if pending := list(site.running):
                command = pending[which % len(pending)]
                site.fail(command, CommandError(str(command))) if fails else site.finish(command)
        while not task.done() and (total is not None or leave):
            await quiet()
            for command in list(site.running):
                site.finish(command)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        check(site, pool, [str(getattr(item, "message", None) or item.command) for item in seen])

    def check(site, pool, names):
        started = [str(command) for command in site.started]
        assert len(set(started)) == len(started)
        if ordered:
            assert names == started[: len(names)]
        else:
            assert len(set(names)) == len(names)
            assert set(names) <= set(started)
        if total is not None and not 0 < leave <= total and not site.cancelled:
            assert len(names) == total
        assert not site.running
        assert (pool.statistics().running, pool.statistics().waiting) == (0, 0)
        assert site.most <= size

    asyncio.run(main())
