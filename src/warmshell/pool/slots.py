"""Who may run, and where: the decisions of a pool, without any waiting or I/O.

Everything here is synchronous and exact. A slot is *taken* at once, or a :class:`Waiter` is queued; giving a
slot back names the waiter that gets it, already counted as running, so that nobody can slip in between. The
cost of a decision does not depend on how many wait: it is constant, or logarithmic in the number of
locations.

Between two calls one thing always holds: no waiter could start now. Whoever finds a free slot therefore
overtakes nobody, and one slot given back starts one waiter at most.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Owner = TypeVar("Owner")

_SLACK: Final = 16  # stale entries of the heap that are always tolerated


class Waiter(Generic[Owner]):
    """One request that could not be met at once.

    Attributes:
        owner: whatever the caller wants to find again when the slot comes.
        where: the only location wanted, or ``None`` for any.
        at: the location of the slot it was given, or ``None`` while it has none.
        number: its place in the order: lower goes first.
    """

    __slots__ = ("at", "number", "owner", "where")

    def __init__(self, owner: Owner, where: int | None, number: int) -> None:
        self.owner = owner
        self.where = where
        self.number = number
        self.at: int | None = None


# An OrderedDict removes any key, and finds its first one, in constant time. A plain dict does not find the
# first one again fast after many were removed at its front; a deque does not remove from its middle.
_Queue = OrderedDict[int, Waiter[Owner]]


class Slots(Generic[Owner]):
    """A bounded number of slots over locations with bounds of their own, granted in the order of asking.

    The order is strict among those that could start: a request for a full location is passed over by later
    ones for other locations, and by no later one for the same location.

    Args:
        size: how many slots there are in all; at least 1.
        caps: for each location how many of them it may hold, ``None``: any number.

    Attributes:
        capacity: how many commands can really run at once: the size, or less if the caps add up to less.
    """

    def __init__(self, size: int, caps: Sequence[int | None]) -> None:
        self.size = size
        self.caps: tuple[int | None, ...] = tuple(caps)
        self.running = 0
        self.waiting = 0
        self.most_running = 0
        self.most_waiting = 0
        self.running_at = [0] * len(self.caps)
        self._next_number = 0
        self._front_number = 0
        self._anywhere: _Queue[Owner] = OrderedDict()
        self._pinned: list[_Queue[Owner]] = [OrderedDict() for _ in self.caps]
        self._index()

    def limit(self, at: int) -> int:
        """How many commands can run at once at this location."""
        return self._limits[at]

    def free(self, at: int) -> int:
        """How many more this location could hold if the pool had the slots; below zero after a shrink."""
        return self._free[at]

    def waiting_at(self, at: int) -> int:
        """How many wait for this location and no other."""
        return len(self._pinned[at])

    def take(self, where: int | None = None) -> int | None:
        """A slot at ``where``, or at the location with the most room, if there is one now.

        Returns:
            The location of the slot, or ``None``: the caller has to wait.
        """
        if self.running >= self.size:
            return None
        if where is None:
            if not self._most:
                return None
            where = next(iter(self._by_free[self._most]))
        elif self._free[where] <= 0:
            return None
        self._occupy(where)
        return where

    def wait(self, owner: Owner, where: int | None = None, *, front: bool = False) -> Waiter[Owner]:
        """Asks for a slot, in the order of asking or (``front``) before everybody who waits now.

        Returns:
            A waiter that has a slot (``at`` is a location), or is queued (``at`` is ``None``).
        """
        waiter = Waiter(owner, where, self._number(front=front))
        waiter.at = self.take(where)
        if waiter.at is None:
            self._enqueue(waiter, front=front)
        return waiter

    def give(self, at: int) -> Waiter[Owner] | None:
        """Gives back the slot held at ``at``.

        Returns:
            The waiter that has a slot now because of that, or ``None``.
        """
        self.running -= 1
        self.running_at[at] -= 1
        self._shift(at, 1)
        if not self.waiting:
            return None
        self._offer(at)
        return self._grant()

    def cancel(self, waiter: Waiter[Owner]) -> bool:
        """Takes a waiter out of the queue; this frees no slot. ``False`` if it was not queued (any more)."""
        where = waiter.where
        queue = self._anywhere if where is None else self._pinned[where]
        if queue.pop(waiter.number, None) is None:
            return False
        self.waiting -= 1
        if where is not None:
            self._offer(where)
        return True

    def resize(self, size: int, caps: Sequence[int | None]) -> list[Waiter[Owner]]:
        """Changes the bounds. What runs keeps its slots, also when they are more than the bounds now allow.

        Returns:
            The waiters that have a slot now because of that, in order.
        """
        self.size = size
        self.caps = tuple(caps)
        self._index()
        granted = []
        while (waiter := self._grant()) is not None:
            granted.append(waiter)
        return granted

    def clear(self) -> list[Waiter[Owner]]:
        """Empties the queue and returns those who waited, in order."""
        queues = (self._anywhere, *self._pinned)
        waiters = sorted((waiter for queue in queues for waiter in queue.values()), key=_number_of)
        for queue in queues:
            queue.clear()
        self._heads.clear()
        self.waiting = 0
        return waiters

    # -- the locations, by how much room they have -----------------------------------------------------------

    def _index(self) -> None:
        """Builds what the decisions look up, from the bounds, what runs and who waits."""
        self._limits = [self.size if cap is None else min(cap, self.size) for cap in self.caps]
        self._free = [limit - used for limit, used in zip(self._limits, self.running_at, strict=True)]
        self.capacity = min(self.size, sum(self._limits))
        self._most = max(0, *self._free)
        # Locations with equally much room, the one that changed longest ago first: taking the first one is
        # round robin.
        self._by_free: dict[int, OrderedDict[int, None]] = {}
        for at, free in enumerate(self._free):
            if free > 0:
                self._by_free.setdefault(free, OrderedDict())[at] = None
        self._index_heads()

    def _occupy(self, at: int) -> None:
        self.running += 1
        if self.running > self.most_running:  # noqa: PLR1730 - max() costs a call, here and below
            self.most_running = self.running
        self.running_at[at] += 1
        self._shift(at, -1)

    def _shift(self, at: int, step: int) -> None:
        """Moves a location to the group of those with one more or one less free."""
        before = self._free[at]
        free = self._free[at] = before + step
        if before > 0:
            group = self._by_free[before]
            del group[at]
            # With steps of one, the fullest group that just emptied leaves the next lower one as the best:
            # this location is in it.
            if before == self._most and not group:
                self._most = free
        if free > 0:
            after = self._by_free.get(free)
            if after is None:
                after = self._by_free[free] = OrderedDict()
            after[at] = None
            if free > self._most:  # noqa: PLR1730
                self._most = free

    # -- those who wait --------------------------------------------------------------------------------------

    def _number(self, *, front: bool) -> int:
        if front:
            self._front_number -= 1
            return self._front_number
        self._next_number += 1
        return self._next_number

    def _enqueue(self, waiter: Waiter[Owner], *, front: bool) -> None:
        where = waiter.where
        queue = self._anywhere if where is None else self._pinned[where]
        queue[waiter.number] = waiter
        if front:
            queue.move_to_end(waiter.number, last=False)
        self.waiting += 1
        if self.waiting > self.most_waiting:  # noqa: PLR1730
            self.most_waiting = self.waiting
        if where is not None and (front or len(queue) == 1):
            self._offer(where)

    def _grant(self) -> Waiter[Owner] | None:
        """Gives one slot to the first waiter that can have one."""
        if self.running >= self.size:
            return None
        queue = self._first_queue()
        if queue is None:
            return None
        _, waiter = queue.popitem(last=False)
        self.waiting -= 1
        waiter.at = next(iter(self._by_free[self._most])) if waiter.where is None else waiter.where
        self._occupy(waiter.at)
        if waiter.where is not None:
            self._offer(waiter.where)
        return waiter

    def _first_queue(self) -> _Queue[Owner] | None:
        """The queue whose first waiter asked first, of those whose first waiter could start."""
        heads = self._heads
        while heads and not self._is_head(*heads[0]):
            heappop(heads)
        if self._anywhere and self._most and (not heads or next(iter(self._anywhere)) < heads[0][0]):
            return self._anywhere
        return self._pinned[heads[0][1]] if heads else None

    # `_heads` is a heap of (number, location) that holds, for every location with room and a queue of its
    # own, the first of that queue. Entries that are no longer true stay until they come up, or until they are
    # too many.

    def _is_head(self, number: int, at: int) -> bool:
        queue = self._pinned[at]
        return bool(queue) and self._free[at] > 0 and next(iter(queue)) == number

    def _offer(self, at: int) -> None:
        """Notes the first waiter of a location's own queue, if that location has room."""
        queue = self._pinned[at]
        if not queue or self._free[at] <= 0:
            return
        heappush(self._heads, (next(iter(queue)), at))
        if len(self._heads) > 2 * len(self._pinned) + _SLACK:
            self._index_heads()

    def _index_heads(self) -> None:
        self._heads = [(next(iter(q)), at) for at, q in enumerate(self._pinned) if q and self._free[at] > 0]
        heapify(self._heads)


def _number_of(waiter: Waiter[Owner]) -> int:
    return waiter.number
