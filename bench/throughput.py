"""Many commands, four at once: what a whole list of them costs."""

from __future__ import annotations

from bench import ours, peers
from bench.model import Contender, Target, case


@case(
    "true-by-four",
    theme="throughput",
    title='2,000 x ["/bin/true"], four at once',
    text="The floors do nothing but start `/bin/true` in four loops, in shells and in C, and keep nothing of what it "
    "writes: who starts a process for each command can hardly be below them. The targets were set without knowing "
    "them. Where they miss a target themselves, nobody can reach it without giving up the process.",
    count=2000,
    quick=400,
    rounds=5,
    ours=ours.POOL,
    targets=[
        Target("2,000 x /bin/true ≥ 4 x xargs -P4", peers.XARGS, ours.POOL, ">=", 4, floor=peers.VFORK_LOOPS),
        Target(
            "2,000 x /bin/true ≥ 40 x GNU parallel -j4",
            peers.PARALLEL,
            ours.POOL,
            ">=",
            40,
            floor=peers.VFORK_LOOPS,
        ),
    ],
)
def true_by_four() -> list[Contender]:
    words = ["/bin/true"]
    return [
        ours.pool(words),
        peers.asyncio_exec(words, width=4),
        peers.posix_spawn(words, width=4),
        peers.xargs(words),
        peers.parallel(words),
        peers.dash_loops("/bin/true"),
        peers.vfork_loops(words),
    ]


@case(
    "builtin-by-four",
    theme="throughput",
    title='2,000 x ["true"], four at once',
    text="The same for what the shell can do by itself; the peers start the program `true`. GNU parallel "
    "does a quarter of the commands.",
    count=2000,
    quick=400,
    rounds=5,
    ours=ours.POOL,
)
def builtin_by_four() -> list[Contender]:
    words = ["true"]
    return [
        ours.pool(words),
        peers.asyncio_exec(words, width=4),
        peers.posix_spawn(words, width=4),
        peers.xargs(words),
        peers.parallel(words, share=0.25),
        peers.dash_loops("true"),
    ]
