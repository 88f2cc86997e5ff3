"""Whose output is read while it comes: only that of commands which were running at the last look already."""

from __future__ import annotations

from warmshell.shell.watch import Watch
from warmshell.testing import eventually


class Running:
    watched = 0

    def watch(self) -> None:
        self.watched += 1


async def test_what_began_after_the_last_look_is_left_alone():
    watch, first, second, third = Watch(), Running(), Running(), Running()
    watch.add(first)
    watch._look()
    watch.add(second)
    watch.add(third)
    assert first.watched == 0
    watch._look()
    assert (first.watched, second.watched, third.watched) == (1, 0, 0)
    watch.discard(second)
    watch._look()
    assert (first.watched, second.watched, third.watched) == (1, 0, 1)
    watch.close()


async def test_one_that_ended_and_began_anew_is_a_new_one():
    watch, lane = Watch(), Running()
    watch.add(lane)
    watch._look()
    watch.discard(lane)
    watch.add(lane)
    watch._look()
    assert lane.watched == 0
    watch.close()


async def test_it_looks_by_itself_and_stops_when_nothing_runs():
    watch, lane = Watch(), Running()
    watch.add(lane)
    await eventually(lambda: lane.watched == 1)
    assert watch._timer is None
    watch.add(lane)
    await eventually(lambda: lane.watched == 2)
