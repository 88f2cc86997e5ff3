"""``Pool.map``: order, back-pressure, errors, and what is left when a loop is left."""

from __future__ import annotations

import asyncio
import gc
import itertools

import pytest

from warmshell.command import Command
from warmshell.errors import BusyError, CommandError, LocationError, ShellLost
from warmshell.pool import Pool

from .pool_site import Instant, Site, Yielding, quiet


class Taken:
    """An endless input that counts what was taken from it."""

    def __init__(self, end=None):
        self.count = 0
        self.end = end

    def __iter__(self):
        return self

    def __next__(self):
        if self.count == self.end:
            raise StopIteration
        self.count += 1
        return self.count - 1


class SlowlyTaken:
    """The same, asynchronous; it refuses two readers at once, as generators do."""

    def __init__(self, end=None):
        self.count = 0
        self.end = end
        self.busy = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        assert not self.busy
        self.busy = True
        await asyncio.sleep(0)
        self.busy = False
        if self.count == self.end:
            raise StopAsyncIteration
        self.count += 1
        return self.count - 1


INPUTS = pytest.mark.parametrize("source", [Taken, SlowlyTaken])
ORDERS = pytest.mark.parametrize("ordered", [True, False])


def numbers(results):
    return [int(result.command) for result in results]


@INPUTS
@ORDERS
@pytest.mark.parametrize("site", [Instant, Yielding])
@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize("window", [None, 1, 2, 1000])
async def test_every_command_once(source, ordered, site, size, window):
    pool = Pool([site("x"), site("y")], size)
    commands = source(200)
    seen = numbers([result async for result in pool.map(commands, ordered=ordered, window=window)])
    assert (seen if ordered else sorted(seen)) == list(range(200))
    await quiet()
    assert pool.statistics().done == 200
    assert pool.statistics().most_running <= min(size, window or size)
    assert not pool.works


@ORDERS
@pytest.mark.parametrize("commands", [[], (), iter([]), SlowlyTaken(0)])
async def test_no_commands(ordered, commands):
    results = Pool(Instant(), 2).map(commands, ordered=ordered)
    assert [result async for result in results] == []
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_input_order_or_order_of_completion():
    for ordered in (True, False):
        site = Site()
        results = Pool(site, 3).map(list("abc"), ordered=ordered)
        reading = asyncio.ensure_future(anext(results))
        await site.arrived(3)
        site.finish("c")
        await quiet()
        assert reading.done() is not ordered
        site.finish("b")
        await quiet()
        site.finish("a")
        seen = [(await reading).command] + [result.command async for result in results]
        assert seen == (["a", "b", "c"] if ordered else ["c", "b", "a"])


async def test_nothing_starts_before_the_first_result_is_asked_for():
    taken = Taken()
    results = Pool(Instant(), 2).map(taken)
    await quiet()
    assert taken.count == 0
    await anext(results)
    assert taken.count > 0
    await results.aclose()


@INPUTS
@ORDERS
@pytest.mark.parametrize(("window", "ahead"), [(None, 2 * 3 + 16), (1, 1), (2, 2), (7, 7)])
async def test_an_endless_input_is_read_no_further_than_the_window(source, ordered, window, ahead):
    taken = source()
    site = Yielding()
    pool = Pool(site, 3)
    results = pool.map(taken, ordered=ordered, window=window)
    for yielded in range(1, 100):
        await anext(results)
        assert taken.count <= yielded + ahead
        await quiet()  # a slow consumer: everything that can happen has happened
        assert taken.count == yielded + ahead
        assert site.ran == yielded + ahead
    await results.aclose()
    assert len(results._work._in_turn) == len(results._work._ready) == 0


async def test_a_slow_command_at_the_head_stops_an_ordered_map():
    site = Site()
    taken = Taken()
    results = Pool(site, 3).map(taken, window=5)
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(3)
    for command in (1, 2, 3, 4):
        await site.arrived(command + 1)
        site.finish(command)
        await quiet()
    assert taken.count == 5
    assert list(site.running) == [0]
    assert not reading.done()
    site.finish(0)
    assert numbers([await reading]) == [0]
    assert numbers([await anext(results) for _ in range(4)]) == [1, 2, 3, 4]
    await results.aclose()


async def test_workers_not_a_task_for_every_command():
    created = []
    loop = asyncio.get_running_loop()
    loop.set_task_factory(
        lambda loop, coro, **options: created.append(coro) or asyncio.Task(coro, loop=loop, **options)
    )
    try:
        async for _ in Pool(Yielding(), 4).map(range(1000)):
            pass
    finally:
        loop.set_task_factory(None)
    assert len(created) == 4


async def test_workers_follow_a_resize():
    site = Site()
    pool = Pool(site, 1)
    results = pool.map(itertools.count())
    reading = asyncio.ensure_future(anext(results))
    await quiet()
    assert len(site.running) == 1
    pool.resize(4)
    await quiet()
    assert len(site.running) == 4
    pool.resize(2)
    for command in range(4):
        site.finish(command)
        await quiet()
    assert len(site.running) == 2
    assert pool.statistics().waiting == 0
    assert len(results._work.tasks) == 2
    await reading
    await results.aclose()


async def test_after_a_shrink_those_who_leave_call_those_who_stay():
    taken = Taken()
    pool = Pool(Yielding(), 3)
    results = pool.map(taken, window=4)
    await anext(results)
    await quiet()
    assert (taken.count, len(results._work.tasks)) == (5, 3)
    pool.resize(1)
    await anext(results)
    await quiet()
    assert (taken.count, len(results._work.tasks)) == (6, 1)
    await results.aclose()


async def test_options_and_a_location_for_all():
    x, y = Site("x"), Site("y")
    pool = Pool([x, y], 4, per_location=2)
    results = pool.map(list("abc"), on="y", cwd="/tmp")
    reading = asyncio.ensure_future(anext(results))
    await quiet()
    assert y.started == ["a", "b"]
    assert y.options["a"] == {"cwd": "/tmp"}
    assert not x.started
    y.finish("a")
    await reading
    await results.aclose()


async def test_two_maps_and_runs_share_the_slots():
    site = Yielding()
    pool = Pool(site, 3)

    async def consume(results):
        return numbers([result async for result in results])

    seen = await asyncio.gather(
        consume(pool.map(range(100))),
        consume(pool.map(range(50))),
        *(pool.run(number) for number in range(50)),
    )
    assert seen[:2] == [list(range(100)), list(range(50))]
    assert site.most == 3


# -- errors --------------------------------------------------------------------------------------------------


async def test_an_error_in_its_turn_ends_the_loop_and_cancels_the_rest():
    site = Site()
    pool = Pool(site, 4)
    taken = Taken()
    results = pool.map(taken)
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(4)
    site.fail(1, CommandError("no such thing"))
    await quiet()
    assert not reading.done()
    assert taken.count == 4  # nothing is begun after an error
    site.finish(0)
    assert numbers([await reading]) == [0]
    with pytest.raises(CommandError, match="no such thing"):
        await anext(results)
    assert not site.running
    assert sorted(site.cancelled) == [2, 3]
    with pytest.raises(StopAsyncIteration):
        await anext(results)
    assert pool.statistics().running == 0


async def test_what_the_input_gives_after_an_error_is_not_begun():
    gate = asyncio.Event()

    async def source():
        yield 0
        yield 1
        await gate.wait()
        yield 2

    site = Site()
    results = Pool(site, 3).map(source())
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(2)
    site.fail(1, CommandError("no"))
    await quiet()
    gate.set()
    await quiet()
    assert site.started == [0, 1]
    site.finish(0)
    await reading
    with pytest.raises(CommandError):
        await anext(results)


async def test_an_error_as_it_comes():
    site = Site()
    results = Pool(site, 3).map(Taken(), ordered=False)
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(3)
    site.finish(2)
    site.fail(1, CommandError("no"))
    assert numbers([await reading]) == [2]
    with pytest.raises(CommandError):
        await anext(results)
    assert 0 in site.cancelled
    assert not site.running


@ORDERS
async def test_errors_in_place_of_results(ordered):
    class Picky(Yielding):
        async def run(self, command, **options):
            if command % 3 == 1:
                raise CommandError(f"not {command}")
            return await super().run(command, **options)

    seen = [item async for item in Pool(Picky(), 4).map(range(30), ordered=ordered, errors="return")]
    errors = [item for item in seen if isinstance(item, CommandError)]
    assert len(errors) == 10
    assert len({id(error) for error in errors}) == 10
    if ordered:
        assert [isinstance(item, CommandError) for item in seen] == [n % 3 == 1 for n in range(30)]


async def test_a_status_is_no_error():
    site = Site()
    results = Pool(site, 1).map(["a"])
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(1)
    site.finish("a", 7)
    assert (await reading).returncode == 7
    assert [item async for item in results] == []


def faulty():
    yield from range(4)
    raise ZeroDivisionError("of the input")


async def faulty_too():
    for number in faulty():
        yield number


@ORDERS
@pytest.mark.parametrize("errors", ["raise", "return"])
@pytest.mark.parametrize("source", [faulty, faulty_too])
async def test_an_error_of_the_input_comes_out_once_the_rest_is_cancelled(ordered, errors, source):
    site = Site()
    pool = Pool(site, 3)
    results = pool.map(source(), ordered=ordered, errors=errors)
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(3)
    site.finish(0)
    assert numbers([await reading]) == [0]
    await site.arrived(4)
    site.finish(1)
    await quiet()  # its worker comes back for more: that is the error
    assert numbers([await anext(results)]) == [1]  # what is done is not lost
    with pytest.raises(ZeroDivisionError, match="of the input"):
        await anext(results)
    assert sorted(site.cancelled) == [2, 3]
    assert not site.running
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_an_input_that_cannot_even_begin():
    class Unwilling:
        def __iter__(self):
            raise ZeroDivisionError

    results = Pool(Instant(), 1).map(Unwilling())
    with pytest.raises(ZeroDivisionError):
        await anext(results)
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_a_command_cancelled_by_somebody_else_does_not_hang_the_loop():
    site = Site()
    results = Pool(site, 2).map(Taken())
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(2)
    site.running[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not site.running


async def test_lost_shells_fail_over_in_a_map_too():
    class Losing(Instant):
        async def run(self, command, **options):
            raise ShellLost("gone", started="no")

    pool = Pool([Losing("bad"), Instant("good")], 2)
    seen = [result async for result in pool.map(range(100))]
    assert numbers(seen) == list(range(100))
    assert {result.location for result in seen} == {"good"}


@pytest.mark.parametrize("commands", ["ls", b"ls", Command("ls"), 3, None])
def test_commands_that_are_not_many(commands):
    with pytest.raises(CommandError, match="map takes"):
        Pool(Instant(), 1).map(commands)


@pytest.mark.parametrize("window", [0, -1, 1.5, "2", True])
def test_windows_that_are_none(window):
    with pytest.raises(ValueError, match="window of a map is a whole number"):
        Pool(Instant(), 1).map([], window=window)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="errors is"):
        Pool(Instant(), 1).map([], errors="ignore")
    with pytest.raises(LocationError):
        Pool(Instant(), 1).map([], on="nowhere")


# -- leaving early -------------------------------------------------------------------------------------------


class Ending(Site):
    """A location whose commands take a while to end after a cancellation."""

    def __init__(self):
        super().__init__()
        self.may_end = asyncio.Event()
        self.ended = 0

    async def run(self, command, **options):
        try:
            return await super().run(command, **options)
        except asyncio.CancelledError:
            await self.may_end.wait()
            self.ended += 1
            raise


async def reading_map(pool, site):
    """A map with one result taken, and three commands running."""
    results = pool.map(itertools.count())
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(3)
    site.finish(0)
    await reading
    await site.arrived(4)
    return results


@ORDERS
async def test_break_cancels_and_the_pool_waits(ordered):
    site = Ending()
    site.may_end.set()
    async with Pool(site, 3) as pool:
        first = asyncio.get_running_loop().create_task(site.arrived(1))
        first.add_done_callback(lambda _: site.finish(0))
        async for result in pool.map(itertools.count(), ordered=ordered):
            assert result.command == "0"
            break
        await pool.drain()
        assert not site.running
        assert site.ended == len(site.cancelled) == len(site.started) - 1 > 0
        await quiet()
        assert not pool.works
        assert pool.statistics().running == 0


async def test_an_exception_in_the_body_cancels_too():
    site = Ending()
    site.may_end.set()
    pool = Pool(site, 3)
    first = asyncio.get_running_loop().create_task(site.arrived(1))
    first.add_done_callback(lambda _: site.finish(0))
    with pytest.raises(ZeroDivisionError):
        async for _ in pool.map(itertools.count()):
            1 / 0  # noqa: B018
    await pool.drain()
    assert site.ended == len(site.started) - 1 > 0
    assert pool.statistics().running == 0


async def test_aclose_waits_until_all_has_ended():
    site = Ending()
    pool = Pool(site, 3)
    results = await reading_map(pool, site)
    closing = asyncio.ensure_future(results.aclose())
    await quiet()
    assert sorted(site.cancelled) == [1, 2, 3]
    assert not closing.done()
    assert pool.statistics().running == 3
    site.may_end.set()
    await closing
    assert site.ended == 3
    assert pool.statistics().running == 0
    with pytest.raises(StopAsyncIteration):
        await anext(results)
    await results.aclose()


async def test_impatience_does_not_disturb_what_ends_a_command():
    site = Ending()
    pool = Pool(site, 3)
    results = await reading_map(pool, site)
    closing = []
    for close in (results.aclose, results.aclose, pool.aclose):
        closing.append(asyncio.ensure_future(close()))
        await quiet()
    assert sorted(site.cancelled) == [1, 2, 3]
    assert not any(task.done() for task in closing)
    site.may_end.set()
    await asyncio.gather(*closing)
    assert site.ended == 3


async def test_the_context_of_a_map_waits_too():
    site = Ending()
    site.may_end.set()
    pool = Pool(site, 3)
    async with await reading_map(pool, site) as results:
        assert len(site.running) == 3
    assert site.ended == 3
    assert [result async for result in results] == []


async def test_a_cancelled_consumer_waits_until_all_has_ended():
    site = Ending()
    pool = Pool(site, 3)
    results = await reading_map(pool, site)
    reading = asyncio.ensure_future(anext(results))
    await quiet()
    reading.cancel()
    await quiet()
    assert sorted(site.cancelled) == [1, 2, 3]
    assert not reading.done()
    reading.cancel()  # impatience changes nothing, and does not disturb what ends a command
    await quiet()
    assert not reading.done()
    assert site.ended == 0
    site.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert site.ended == 3
    assert pool.statistics().running == 0


async def test_closing_an_input_generator_is_left_to_its_owner():
    async def endless():
        for number in itertools.count():
            yield number

    source = endless()
    results = Pool(Yielding(), 2).map(source, window=2)
    await anext(results)
    await quiet()
    await results.aclose()
    assert await anext(source) == 3
    await source.aclose()


async def test_cancelled_while_the_input_is_awaited():
    closed = []

    async def stuck():
        try:
            yield 0
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(True)

    pool = Pool(Yielding(), 2)
    results = pool.map(stuck())
    assert numbers([await anext(results)]) == [0]
    reading = asyncio.ensure_future(anext(results))
    await quiet()
    assert not reading.done()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert closed == [True]


async def test_two_consumers_at_once_are_told():
    site = Site()
    results = Pool(site, 2).map(itertools.count())
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(1)
    with pytest.raises(BusyError):
        await anext(results)
    site.finish(0)
    await reading
    await results.aclose()


async def test_closed_by_another_task_the_consumer_comes_to_its_end():
    site = Site()
    results = Pool(site, 2).map(itertools.count())
    reading = asyncio.ensure_future(anext(results))
    await site.arrived(1)
    await results.aclose()
    with pytest.raises(StopAsyncIteration):
        await reading
    assert not site.running


async def test_a_map_never_read_leaves_nothing():
    pool = Pool(Instant(), 2)
    pool.map(itertools.count())
    await pool.map(itertools.count()).aclose()
    await quiet()
    assert not pool.works
    assert pool.statistics().done == 0


async def test_errors_do_not_wait_for_the_garbage_collector():
    class WeakError(CommandError):
        alive = 0

        def __init__(self, message):
            super().__init__(message)
            WeakError.alive += 1

        def __del__(self):
            WeakError.alive -= 1

    class Failing(Yielding):
        async def run(self, command, **options):
            await super().run(command)
            raise WeakError("no")

    gc.collect()
    gc.disable()
    try:
        pool = Pool(Failing(), 2)
        async for _ in pool.map(range(50), errors="return"):
            pass
        del _
        try:
            async for _ in pool.map(range(50)):
                pass
        except WeakError:
            pass
        await quiet()
        assert WeakError.alive == 0
    finally:
        gc.enable()


def test_a_loop_that_is_closed_over_a_broken_map():
    kept = []

    async def main():
        async for _ in (results := Pool(Yielding(), 2).map(itertools.count())):
            kept.append(results)
            break

    asyncio.run(main())
    kept.clear()
    gc.collect()
