"""Our side of the cases, through the public face only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from itertools import repeat
from typing import Any

from bench.model import Block, Contender
from bench.peers import package_missing

What = Sequence[str] | str
OURS = "Warmshell"
MARKERS = "Warmshell, framing=markers"
BASH = "Warmshell, shell=bash"
STATEFUL = "Warmshell, stateful Shell"
BLOCKING = "Warmshell, blocking face"
POOL = "Warmshell Pool"


def run(what: What, *, name: str = OURS, **options: Any) -> Contender:
    """One command after the other by ``node.run``."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell import connect

        async with connect("local:", **{"shells": 1, **options}) as node:

            async def block(count: int) -> None:
                for _ in range(count):
                    (await node.run(what)).check()

            yield block

    return Contender(name, "warm", opened)


def stateful(script: str) -> Contender:
    """One command after the other in one shell that keeps its state."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell import connect

        async with connect("local:", shells=1) as node, node.shell() as shell:

            async def block(count: int) -> None:
                for _ in range(count):
                    (await shell.run(script)).check()

            yield block

    return Contender(STATEFUL, "warm", opened)


def blocking_face(what: What) -> Contender:
    """One command after the other by ``warmshell.blocking``, from a thread of its own."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        blocking: Any = import_module("warmshell.blocking")
        with blocking.connect("local:", shells=1) as node:

            async def block(count: int) -> None:
                for _ in range(count):
                    node.run(what).check()

            yield block

    return Contender(BLOCKING, "warm", opened, package_missing("warmshell.blocking"))


def pool(what: What, *, width: int = 4, shells: int | None = None, name: str = POOL) -> Contender:
    """Many commands by ``Pool.map``, ``width`` at once."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell import Pool, connect

        async with connect("local:", shells=shells or width) as node, Pool([node], size=width) as many:

            async def block(count: int) -> None:
                async for result in many.map(repeat(what, count), ordered=False):
                    result.check()

            yield block

    return Contender(name, "warm", opened)


def queued(what: What, length: int, *, width: int = 4) -> Contender:
    """All commands of a queue asked for at once by ``Pool.run``, one task each; short ones again."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell import Pool, connect

        async with connect("local:", shells=width) as node, Pool([node], size=width) as many:

            async def block(count: int) -> None:
                for _ in range(max(1, count // length)):
                    for result in await asyncio.gather(*(many.run(what) for _ in range(min(length, count)))):
                        result.check()

            yield block

    return Contender(str(length), "warm", opened)
