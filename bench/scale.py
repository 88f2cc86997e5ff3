"""What grows with the number of shells and of waiting commands, and what does not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench import ours
from bench.model import Block, Contender, Reading, Target, case
from bench.output import in_child
from bench.peers import program_missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_FLAT = 1.5  # what "flat" means in the verdicts


@case(
    "shell-memory",
    theme="scale",
    title="memory of one idle warm shell",
    text="Proportional set size (PSS): 33 shells less 1 shell, divided by 32, so that what is there once "
    "(the guardian) does not count. The floor is the bare shell with nothing asked of it.",
    unit="bytes",
    count=32,
    quick=32,
    rounds=3,
)
def shell_memory() -> list[Contender]:
    return [
        _shells(ours.OURS, "warm-shells", "sh"),
        _shells("floor: bare dash", "bare-dash", "dash"),
        _shells("floor: bare bash", "bare-bash", "bash"),
    ]


def _shells(name: str, way: str, program: str) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async def block(count: int) -> Reading:
            one, many = in_child(way, "1"), in_child(way, str(count + 1))
            return Reading((many["result"] - one["result"]) / count)

        yield block

    missing = None if Path("/proc/self/smaps_rollup").exists() else "not available: smaps_rollup (Linux)"
    return Contender(name, "floor" if name.startswith("floor") else "warm", opened, missing or program_missing(program))


@case(
    "shells",
    theme="scale",
    title='["true"] with as many commands at once as there are shells',
    text="The cost per command must not depend on how many shells there are.",
    count=2560,
    quick=512,
    rounds=5,
    ours="1",
    points=True,
    targets=[Target(f"256 shells ≤ {_FLAT} x the cost per command of 1 shell", "256", "1", "<=", _FLAT)],
)
def shells() -> list[Contender]:
    return [ours.pool(["true"], width=number, name=str(number)) for number in (1, 4, 16, 64, 256)]


@case(
    "queue",
    theme="scale",
    title='["true"] with many commands waiting, four shells',
    text="All commands of a queue are asked for at once, one task each; the cost per command must not depend "
    "on how many wait. 100,000 are asked for in the full run only.",
    count=10_000,
    quick=1000,
    rounds=3,
    ours="10",
    points=True,
    targets=[
        Target(f"10,000 queued commands ≤ {_FLAT} x the cost per command of 10", "10000", "10", "<=", _FLAT),
        Target(f"100,000 queued commands ≤ {_FLAT} x the cost per command of 10", "100000", "10", "<=", _FLAT),
    ],
)
def queue() -> list[Contender]:
    lengths = [ours.queued(["true"], length) for length in (10, 100, 1000, 10_000)]
    return [*lengths, Contender("100000", "warm", ours.queued(["true"], 100_000).make, share=10.0)]
