"""What a pool tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class LocationStatistics:
    """One location of a pool at one moment.

    Attributes:
        running: commands that hold a slot there.
        waiting: commands that wait for a slot there and may run nowhere else.
        cap: how many may run there at once; ``None``: as many as the pool's size allows.
    """

    running: int
    waiting: int
    cap: int | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """A pool at one moment.

    Attributes:
        size: how many commands may run at once, over all locations.
        running: commands that hold a slot.
        waiting: commands that wait for one.
        done: commands that came back with a result, whatever their status.
        failed: commands that came back with an error instead of a result.
        cancelled: commands that were ended while they ran; those cancelled while they waited count nowhere.
        failovers: times a command that had not started was given to a location again.
        most_running: the highest ``running`` so far.
        most_waiting: the highest ``waiting`` so far.
        locations: each location by its name.
    """

    size: int
    running: int
    waiting: int
    done: int
    failed: int
    cancelled: int
    failovers: int
    most_running: int
    most_waiting: int
    locations: Mapping[str, LocationStatistics]
