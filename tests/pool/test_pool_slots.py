"""The decisions of the pool: against a model that is slow and plainly right, and case by case."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from warmshell.pool.slots import Slots

LOCATIONS = st.integers(1, 4)
SIZES = st.integers(1, 6)
CAPS = st.none() | st.integers(1, 4)


class Model:
    """What Slots promises, by looking at everything every time."""

    def __init__(self, size, caps):
        self.running = [0] * len(caps)
        self.queue = []  # (owner, where), first come first
        self.clock = 0
        self.most_running = self.most_waiting = 0
        self.bound(size, caps)

    def bound(self, size, caps):
        self.size, self.caps = size, caps
        self.changed = [at - len(caps) for at in range(len(caps))]
        self.clock = 1

    def free(self, at):
        cap = self.caps[at]
        return (self.size if cap is None else min(cap, self.size)) - self.running[at]

    def place(self, where):
        if sum(self.running) >= self.size:
            return None
        if where is not None:
            return where if self.free(where) > 0 else None
        best = max(range(len(self.caps)), key=lambda at: (self.free(at), -self.changed[at]))
        return best if self.free(best) > 0 else None

    def change(self, at, step):
        self.running[at] += step
        self.changed[at] = self.clock = self.clock + 1
        self.most_running = max(self.most_running, sum(self.running))

    def take(self, where):
        at = self.place(where)
        if at is not None:
            self.change(at, 1)
        return at

    def wait(self, owner, where, front):
        at = self.take(where)
        if at is None:
            self.queue.insert(0 if front else len(self.queue), (owner, where))
            self.most_waiting = max(self.most_waiting, len(self.queue))
        return at

    def grant(self):
        for entry in self.queue:
            at = self.place(entry[1])
            if at is not None:
                self.queue.remove(entry)
                self.change(at, 1)
                return entry[0], at
        return None

    def give(self, at):
        self.change(at, -1)
        return self.grant()


class SlotsMachine(RuleBasedStateMachine):
    @initialize(size=SIZES, caps=st.lists(CAPS, min_size=1, max_size=4))
    def build(self, size, caps):
        self.slots, self.model = Slots(size, caps), Model(size, caps)
        self.held = []  # locations of slots that somebody holds
        self.waiters = {}
        self.count = 0

    def where(self, data):
        return data.draw(st.none() | st.integers(0, len(self.model.caps) - 1), label="where")

    @rule(data=st.data())
    def take(self, data):
        where = self.where(data)
        at = self.slots.take(where)
        assert at == self.model.take(where)
        if at is not None:
            self.held.append(at)

    @rule(data=st.data(), front=st.booleans())
    def wait(self, data, front):
        where = self.where(data)
        self.count += 1
        waiter = self.slots.wait(self.count, where, front=front)
        assert waiter.at == self.model.wait(self.count, where, front)
        if waiter.at is None:
            self.waiters[self.count] = waiter
        else:
            self.held.append(waiter.at)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give(self, data):
        at = self.held.pop(data.draw(st.integers(0, len(self.held) - 1), label="which"))
        self.granted(self.slots.give(at), self.model.give(at))

    def granted(self, waiter, expected):
        assert (waiter and (waiter.owner, waiter.at)) == expected
        if waiter is not None:
            self.waiters.pop(waiter.owner)
            self.held.append(waiter.at)
            assert not self.slots.cancel(waiter)  # it is not queued any more: that must change nothing

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def cancel(self, data):
        owner = data.draw(st.sampled_from(sorted(self.waiters)), label="who")
        waiter = self.waiters.pop(owner)
        assert self.slots.cancel(waiter)
        assert not self.slots.cancel(waiter)
        self.model.queue = [entry for entry in self.model.queue if entry[0] != owner]

    @rule(data=st.data(), size=SIZES)
    def resize(self, data, size):
        number = len(self.model.caps)
        caps = data.draw(st.lists(CAPS, min_size=number, max_size=number), label="caps")
        granted = self.slots.resize(size, caps)
        self.model.bound(size, caps)
        for waiter in granted:
            self.granted(waiter, self.model.grant())
        assert self.model.grant() is None

    @rule()
    def clear(self):
        assert [waiter.owner for waiter in self.slots.clear()] == [owner for owner, _ in self.model.queue]
        self.model.queue = []
        self.waiters = {}

    @invariant()
    def agree(self):
        slots, model = self.slots, self.model
        assert slots.running_at == model.running
        assert slots.running == sum(model.running) == len(self.held)
        assert slots.waiting == len(model.queue) == len(self.waiters)
        places = range(len(model.caps))
        assert [slots.free(at) for at in places] == [model.free(at) for at in places]
        assert [slots.waiting_at(at) for at in places] == [sum(w == at for _, w in model.queue) for at in places]
        assert (slots.most_running, slots.most_waiting) == (model.most_running, model.most_waiting)

    @invariant()
    def nobody_waits_who_could_run(self):
        assert not any(self.model.place(where) is not None for _, where in self.model.queue)

    @invariant()
    def little_is_kept(self):
        assert len(self.slots._heads) <= 2 * len(self.model.caps) + 16


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_the_location_with_the_most_room_first_then_round_robin():
    slots = Slots(100, [4, 2, 4])
    assert [slots.take() for _ in range(10)] == [0, 2, 0, 2, 1, 0, 2, 1, 0, 2]
    assert slots.take() is None


def test_one_at_a_time_goes_round():
    slots = Slots(8, [None, None, None])
    seen = []
    for _ in range(6):
        at = slots.take()
        seen.append(at)
        slots.give(at)
    assert seen == [0, 1, 2, 0, 1, 2]


def test_a_full_location_holds_up_nobody_else():
    slots = Slots(2, [1, 1])
    assert slots.take(0) == 0
    blocked = slots.wait("blocked", 0)
    assert blocked.at is None
    assert slots.wait("anywhere").at == 1
    assert slots.give(1) is None
    assert slots.give(0) is blocked


def test_the_earliest_of_those_who_can_start():
    slots = Slots(1, [1, 1])
    slots.take(0)
    first, second, third = slots.wait("a", 1), slots.wait("b"), slots.wait("c", 0)
    assert slots.give(0) is first
    assert slots.give(1) is second
    assert second.at == 0  # both have room: the one that changed longer ago
    assert slots.give(0) is third


def test_after_a_cancellation_at_the_head_the_next_is_found():
    slots = Slots(1, [1, 1])
    slots.take(0)
    first, second = slots.wait("a", 1), slots.wait("b", 1)
    slots.cancel(first)
    assert slots.give(0) is second


def test_a_shrunk_pool_starts_nothing_until_it_fits():
    slots = Slots(3, [None])
    for _ in range(3):
        slots.take()
    waiter = slots.wait("next")
    assert slots.resize(1, [None]) == []
    assert slots.give(0) is None
    assert slots.give(0) is None
    assert slots.give(0) is waiter


def test_a_grown_pool_starts_those_who_wait_in_order():
    slots = Slots(1, [None])
    slots.take()
    waiters = [slots.wait(number) for number in range(5)]
    assert slots.resize(4, [None]) == waiters[:3]


@pytest.mark.parametrize("where", [None, 0])
def test_the_front_of_the_queue(where):
    slots = Slots(1, [1])
    slots.take()
    slots.wait("last", where)
    first = slots.wait("first", where, front=True)
    assert slots.give(0) is first


def test_the_capacity_is_what_can_really_run():
    assert Slots(10, [2, 3]).capacity == 5
    assert Slots(4, [2, 3]).capacity == 4
    assert Slots(4, [2, None]).capacity == 4
