"""Much output: how fast it comes through, and how much memory that takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench import ours
from bench.model import Block, Contender, Reading, Target, case

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from warmshell.cli.plot import Kind

_MEGABYTE = 1_000_000
_RAW = "floor: raw pipe read, blocking"
_READER = "floor: raw pipe read, asyncio add_reader"
_STREAMS = "asyncio.create_subprocess_exec, streams"
_CAPTURE = "subprocess.run, all in memory"
_CAPTURED = "Warmshell run, captured (beyond 16 MB to a file)"
_SMALL = 0.25


def in_child(name: str, argument: str) -> dict[str, float]:
    """Runs one of the ways of ``bench.child`` in a process of its own."""
    root = Path(__file__).parent.parent
    argv = [sys.executable, "-m", "bench.child", name, argument]
    done = subprocess.run(argv, cwd=root, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _streamed(name: str, kind: Kind, way: str, share: float = 1.0) -> Contender:
    """The producer is ``cat`` of a sparse file: no disk is read, and it writes as fast as a program can."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with tempfile.NamedTemporaryFile() as file:

            async def block(megabytes: int) -> Reading:
                size = megabytes * _MEGABYTE
                file.truncate(size)
                found = in_child(way, file.name)
                if found["result"] != size:
                    raise RuntimeError(f"{found['result']:.0f} bytes came of {size}")
                gigabytes = size / 1e9
                return Reading(found["seconds"] / gigabytes, found["cpu"] / gigabytes, found["memory"])

            yield block

    return Contender(name, kind, opened, share=share)


@case(
    "gigabyte",
    theme="output",
    title="1 GB of output of one command",
    text=f"Each way runs in a process of its own, so that its peak memory is its own. Connecting is not in it. "
    f"The ways that keep the output do {_SMALL:.0%} of it.",
    unit="gigabyte",
    count=1000,
    quick=200,
    rounds=5,
    targets=[
        Target("1 GB of output ≥ 80 % of a raw pipe read", _RAW, ours.OURS, ">=", 0.8, floor=_READER),
        Target("1 GB of output streamed in < 64 MB", ours.OURS, None, "<=", 64 * 2**20, metric="memory"),
    ],
)
def gigabyte() -> list[Contender]:
    return [
        _streamed(ours.OURS, "warm", "warm"),
        _streamed(_CAPTURED, "warm", "warm-captured", _SMALL),
        _streamed(_STREAMS, "peer", "streams"),
        _streamed(_CAPTURE, "peer", "capture-output", _SMALL),
        _streamed(_RAW, "floor", "raw"),
        _streamed(_READER, "floor", "reader"),
    ]
