"""Other work on the machine: how much of it there was during a round, and waiting until there is little."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from bench.cpu import Meter
from bench.machine import cpus

LIMIT = 0.1  # share of all CPUs that other work may take
_LOOK = 0.5  # seconds of one look at an idle harness


class Others:
    """The CPU that others take from now on."""

    def __init__(self) -> None:
        self._busy, self._start, self._own = busy_seconds(), time.monotonic(), Meter()

    def share(self) -> float | None:
        """Their share of all CPUs since then; ``None`` where the system does not tell."""
        busy, elapsed = busy_seconds(), time.monotonic() - self._start
        if busy is None or self._busy is None:
            return None
        return max(0.0, busy - self._busy - self._own.read()) / (elapsed * cpus())


class Patience:
    """Seconds that may be spent, in all, on waiting for a calm machine and on rounds that were disturbed."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    async def wait(self) -> None:
        """Until others take little, or patience is at its end."""
        while self.left > 0:
            others = Others()
            await asyncio.sleep(_LOOK)
            share = others.share()
            if share is None or share <= LIMIT:
                return
            self.left -= _LOOK

    def accepts(self, share: float | None, seconds: float) -> bool:
        """Whether a round with that much other work is kept; one that is not costs its time."""
        if share is None or share <= LIMIT or self.left <= 0:
            return True
        self.left -= seconds
        return False


def busy_seconds() -> float | None:
    """CPU seconds that were not idle since the machine started, those taken by its host included."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, soft, steal = (int(word) for word in line.split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
