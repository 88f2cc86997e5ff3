"""The window of a subshell's output: as much as the link holds, and little as long as others wait behind it."""

import pytest

from warmshell.protocol.frames import INITIAL_CREDIT
from warmshell.shell.server_lane import Window

MEGABYTE = 1_000_000


class Link:
    """A link of some rate and round trip, in simulated time; it is the session and the clock too."""

    def __init__(self, rate, round_trip):
        self.rate = rate
        self.round_trip = round_trip
        self.commands = 1
        self.now = 100.0
        self.window = Window(self, lambda: self.now)

        self._coming = [(self.now + round_trip, INITIAL_CREDIT)]  # when the answer to a credit begins to come
        self._total = 0

    def carry(self, seconds, *, others=False):
        """Have the sender use the window for so long; returns the bytes that came."""
        end, before = self.now + seconds, self._total
        while self.now < end:
            when, size = self._coming.pop(0)
            piece = min(size, 16384)
            self.now = max(when, self.now) + piece / self.rate
            if size > piece:
                self._coming.insert(0, (when, size - piece))
            self.commands += others
            self._total += piece
            more = self.window.consumed(piece)
            if more:
                self._coming.append((self.now + self.round_trip, more))
        return self._total - before

    def size(self):
        return self.window._size


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize(("rate", "round_trip"), [(100 * MEGABYTE, 0.02), (10 * MEGABYTE, 0.2), (500 * MEGABYTE, 1e-4)])
def test_a_long_link_is_filled(rate, round_trip, others):
    link = Link(rate, round_trip)
    link.carry(20 * round_trip, others=others)
    share = 0.6 if others else 0.8  # beside others it is cautious
    assert link.carry(10 * round_trip, others=others) > share * rate * 10 * round_trip


def test_no_more_is_on_its_way_than_a_few_times_what_the_link_holds():
    link = Link(100 * MEGABYTE, 0.02)
    link.carry(3.0)
    assert link.size() <= 4 * 1.1 * link.rate * link.round_trip


def test_a_short_link_keeps_a_small_window_that_is_smaller_beside_others():
    link = Link(200 * MEGABYTE, 1e-4)
    link.carry(0.5)
    alone = link.size()
    assert alone <= 2 * INITIAL_CREDIT
    link.carry(0.5, others=True)
    assert link.size() <= alone / 4
    link.carry(2.0)
    assert link.size() == alone


def test_it_never_closes():
    link = Link(1000, 1e-4)  # a link that carries next to nothing
    assert link.carry(600.0, others=True) > 0.9 * 600 * 1000
    assert link.size() > 0


def test_a_new_command_begins_with_what_the_server_grants():
    link = Link(100 * MEGABYTE, 0.02)
    link.carry(1.0)
    link.window.begin()
    assert link.size() == INITIAL_CREDIT
