"""Our side of the ssh theme, through the public face only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bench.child import pss
from bench.model import Block, Contender, Reading
from bench.ssh_lab import NEAR, USER, current, missing
from warmshell.cli.usage import descendants, tree_seconds

if TYPE_CHECKING:
    from warmshell import Location

OURS = "Warmshell"
_READ = 1024 * 1024
_SETTLE = 100  # commands beside a stream before it is at its full rate


def place(host: str = NEAR, *, user: str = USER, **options: Any) -> Location:
    """A host of the lab."""
    from warmshell import connect

    return connect(f"ssh://{user}@{host}", config=current().config, **options)


def _ours(name: str, opened: Callable[[], Any], host: str = NEAR, share: float = 1.0) -> Contender:
    return Contender(name, "warm", opened, missing(host), share)


def run(words: Sequence[str], *, name: str = OURS, host: str = NEAR, user: str = USER) -> Contender:
    """One command after the other by ``node.run``."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with place(host, user=user, shells=1) as node:

            async def block(count: int) -> None:
                for _ in range(count):
                    (await node.run(words)).check()

            yield block

    return _ours(name, opened, host)


def many(words: Sequence[str], width: int, *, host: str = NEAR, name: str = OURS) -> Contender:
    """So many commands at once by ``Pool.map``, all over one connection."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell import Pool

        async with place(host, shells=width) as node, Pool([node], size=width) as pool:

            async def block(count: int) -> None:
                async for result in pool.map(repeat(words, count), ordered=False):
                    result.check()

            yield block

    return _ours(name, opened, host)


def refused(words: Sequence[str], width: int) -> Contender:
    """As :func:`many`; the reading is the share of commands that failed."""
    contender = many(words, width, name=f"{OURS}, {width} at once")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with contender.make() as all_of_them:

            async def block(count: int) -> Reading:
                await all_of_them(count)  # an error ends it, and then nothing is measured
                return Reading(0.0)

            yield block

    return _ours(contender.name, opened)


def batch(words: Sequence[str], commands: int, width: int, *, host: str) -> Contender:
    """Seconds for all commands of a batch."""
    contender = many(words, width, host=host)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with contender.make() as all_of_them:
            yield _batches(all_of_them, commands)

    return _ours(contender.name, opened, host)


def batches(contender: Contender, commands: int) -> Contender:
    """A contender that does commands, as one that does batches of them."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with contender.make() as all_of_them:
            yield _batches(all_of_them, commands)

    return Contender(contender.name, contender.kind, opened, contender.missing)


def _batches(all_of_them: Block, commands: int) -> Block:
    async def block(count: int) -> None:
        for _ in range(count):
            await all_of_them(commands)

    return block


# --- much output


def gigabyte(name: str, *, beside: bool = False, share: float = 1.0) -> Contender:
    """Output of one command through its lane, captured; ``beside`` another lane that runs ``true`` all the time."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with place(shells=2) as node:

            async def block(megabytes: int) -> Reading:
                size, start = megabytes * 1_000_000, perf_counter()
                big = asyncio.ensure_future(node.run(["head", "-c", str(size), "/dev/zero"]))
                while beside and not big.done():
                    (await node.run(["true"])).check()
                output = (await big).check().output()
                seconds = perf_counter() - start
                if len(output) != size:
                    raise RuntimeError(f"{len(output)} bytes came of {size}")
                return Reading(seconds / size * 1e9)

            yield block

    return _ours(name, opened, share=share)


def opened_gigabyte(name: str, *, share: float) -> Contender:
    """Output of a process of its own, by ``node.open``."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with place() as node:

            async def block(megabytes: int) -> Reading:
                size, total, start = megabytes * 1_000_000, 0, perf_counter()
                async with node.open(["head", "-c", str(size), "/dev/zero"]) as process:
                    async for chunk in process.stdout:
                        total += len(chunk)
                if total != size:
                    raise RuntimeError(f"{total} bytes came of {size}")
                return Reading((perf_counter() - start) / size * 1e9)

            yield block

    return _ours(name, opened, share=share)


async def median_of(one: Callable[[], Any], count: int) -> Reading:
    """The median time of an operation."""
    times = []
    for _ in range(count):
        start = perf_counter()
        await one()
        times.append(perf_counter() - start)
    return Reading(median(times))


def small(name: str, *, beside: bool) -> Contender:
    """The median time of ``true``, alone or beside another lane whose output does not end."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with place(shells=2) as node:

            async def one() -> None:
                (await node.run(["true"])).check()

            async def block(count: int) -> Reading:
                big = asyncio.ensure_future(node.run(["cat", "/dev/zero"])) if beside else None
                await median_of(one, _SETTLE)
                reading = await median_of(one, count)
                if big is not None:
                    await cancelled(big)
                return reading

            yield block

    return _ours(name, opened)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Ends what runs beside a measurement, which must not have ended by itself."""
    if task.done():
        raise RuntimeError(f"the stream has ended: {task.exception() or 'too early'}")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# --- the far end


async def server_of(node: Location) -> int:
    """The session server's process: the parent of its shells."""
    pid = int((await node.run('echo "$PPID"')).check().text)
    name = _program(pid)
    if "python" not in name:
        raise RuntimeError(f"the parent of the shells is {name}")
    return pid


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


async def _shells(node: Location, number: int) -> None:
    """Has so many shells: all are busy at the same moment."""
    await asyncio.gather(*(node.run(["sleep", "0.5"]) for _ in range(number)))


def server_memory(name: str, shells: int) -> Contender:
    """What the session server has in memory, with so many shells started."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with place(shells=shells) as node:
            await _shells(node, shells)
            pid = await server_of(node)

            async def block(_count: int) -> Reading:
                return Reading(resident(pid))

            yield block

    return _ours(name, opened)


def subshell_memory(name: str, shells: int) -> Contender:
    """What one more idle subshell takes of the far end's memory, its part of the server included."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with place(shells=shells + 1) as many_, place(shells=1) as one:

            async def block(_count: int) -> Reading:
                await _shells(many_, shells + 1)
                few, all_of_them = [await _far_memory(node) for node in (one, many_)]
                return Reading((all_of_them - few) / shells)

            yield block

    return _ours(name, opened)


async def _far_memory(node: Location) -> int:
    pid = await server_of(node)
    await asyncio.sleep(0.1)  # let what has just run end: nothing is to be seen of it
    return sum(pss(each) for each in [pid, *descendants(pid)])


def idle_cpu(name: str, shells: int) -> Contender:
    """Processor seconds of the server and all its idle shells in a second."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with place(shells=shells) as node:
            await _shells(node, shells)
            pid = await server_of(node)

            async def block(count: int) -> Reading:
                before = _exact_seconds(pid)
                await asyncio.sleep(count)
                return Reading((_exact_seconds(pid) - before) / count)

            yield block

    return _ours(name, opened)


def _exact_seconds(pid: int) -> float:
    """As the scheduler counts, in nanoseconds; ticks where it does not tell."""
    try:
        pids = [pid, *descendants(pid)]
        return sum(int(Path(f"/proc/{each}/schedstat").read_text(encoding="ascii").split()[0]) for each in pids) / 1e9
    except OSError:
        return tree_seconds(pid)
