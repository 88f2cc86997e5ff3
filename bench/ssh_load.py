"""The peers over SSH under load: many commands at once, much output, and who is refused."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bench.model import Block, Contender, Reading
from bench.peers import at_once, blocking, package_missing, piped, program_missing
from bench.ssh_lab import NEAR
from bench.ssh_ours import resident
from bench.ssh_peers import (
    ASYNCSSH,
    FABRIC,
    GCM,
    MITOGEN,
    PARAMIKO,
    asyncssh_connection,
    execnet_channel,
    fabric_connection,
    mitogen_context,
    paramiko_client,
    paramiko_one,
    peer,
    ssh_words,
)  # fmt: skip

if TYPE_CHECKING:
    from warmshell.cli.plot import Kind

_CHUNK = 65536
_ROOM = 8  # commands at once that fit MaxSessions 10, with some being closed
ASYNCSSH_CAREFUL = f"asyncssh run, {_ROOM} at once, what was refused again"
ASYNCSSH_FOUR = f"asyncssh run, 4 connections, {_ROOM} at once each"


def asyncssh_many(words: Sequence[str], *, connections: int = 1, host: str = NEAR, share: float = 0.25) -> Contender:
    """As many at once as a host takes; what it refuses all the same is asked again."""
    line = shlex.join(words)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with _several(host, connections) as several:
            turns = iter(range(10**12))

            async def one() -> None:
                await _until_taken(several[next(turns) % connections], line)

            yield at_once(one, _ROOM * connections)

    name = ASYNCSSH_CAREFUL if connections == 1 else ASYNCSSH_FOUR
    return peer(name, opened, package_missing("asyncssh"), host=host, share=share)


@asynccontextmanager
async def _several(host: str, number: int) -> AsyncIterator[list[Any]]:
    if number == 0:
        yield []
        return
    async with asyncssh_connection(host, GCM) as one, _several(host, number - 1) as others:
        yield [one, *others]


async def _until_taken(connection: Any, line: str) -> None:
    refused: Any = import_module("asyncssh").ChannelOpenError
    while True:
        try:
            await connection.run(line, check=True, stdin=subprocess.DEVNULL)
        except refused:
            await asyncio.sleep(0.001)
        else:
            return


def mitogen_many(words: Sequence[str], *, share: float = 0.25) -> Contender:
    """All calls asked for at once; the far Python makes one after the other."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with mitogen_context(NEAR) as context:

            def work(count: int) -> None:
                asked = [context.call_async(subprocess.check_output, list(words)) for _ in range(count)]
                for answer in asked:
                    answer.get().unpickle()

            yield blocking(work)

    return peer(MITOGEN, opened, package_missing("mitogen"), share=share)


# --- much output


def pipe(name: str, source: str, kind: Kind, cipher: str, *, share: float, keep: bool = False) -> Contender:
    """A command whose output comes through one ssh and is read by a blocking loop; ``keep``: into a file."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async def block(megabytes: int) -> Reading:
            size, start = megabytes * 1_000_000, perf_counter()
            async with piped([*ssh_words(NEAR, "-c", cipher), source.format(size=size)]) as (_, back):
                await asyncio.to_thread(_read, back, size, keep)
            return Reading((perf_counter() - start) / size * 1e9)

        yield block

    return peer(name, opened, program_missing("ssh"), share=share, kind=kind)


def _read(fd: int, size: int, keep: bool) -> None:
    total = 0
    with tempfile.TemporaryFile(buffering=0) as file:
        while chunk := os.read(fd, _CHUNK):
            total += len(chunk)
            if keep:
                file.write(chunk)
    if total != size:
        raise RuntimeError(f"{total} bytes came of {size}")


async def asyncssh_read(connection: Any, command: str, size: int) -> None:
    """Reads the output of a command in pieces."""
    total = 0
    async with connection.create_process(command, encoding=None, stdin=subprocess.DEVNULL) as process:
        while chunk := await process.stdout.read(_CHUNK):
            total += len(chunk)
    if total != size:
        raise RuntimeError(f"{total} bytes came of {size}")


# --- who is refused


def asyncssh_refused(line: str, width: int) -> Contender:
    """All at once, as a caller would who knows no limit."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with asyncssh_connection(NEAR, GCM) as connection:
            refused: Any = import_module("asyncssh").ChannelOpenError

            async def one() -> None:
                await connection.run(line, check=True, stdin=subprocess.DEVNULL)

            yield counting(one, width, refused)

    return peer(f"{ASYNCSSH}, {width} at once", opened, package_missing("asyncssh"))


def paramiko_refused(line: str, width: int) -> Contender:
    """A thread for each of those that run at once."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with paramiko_client(NEAR) as client, ThreadPoolExecutor(width) as threads:
            yield counting(_in_threads(threads, lambda: paramiko_one(client, line)), width, _refusal())

    return peer(f"{PARAMIKO}, {width} at once", opened, package_missing("paramiko"), share=0.2)


def _refusal() -> type[Exception]:
    """What paramiko raises for a channel that is refused; it also writes a line for each, which is kept quiet."""
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    refused: type[Exception] = import_module("paramiko").SSHException
    return refused


def fabric_refused(line: str, width: int) -> Contender:
    """A thread for each of those that run at once."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with fabric_connection(NEAR) as connection, ThreadPoolExecutor(width) as threads:
            connection.open()
            run = _in_threads(threads, lambda: connection.run(line, hide=True, in_stream=False))
            yield counting(run, width, _refusal())

    return peer(f"{FABRIC}, {width} at once", opened, package_missing("fabric"), share=0.2)


def _in_threads(threads: ThreadPoolExecutor, work: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    loop = asyncio.get_running_loop()
    return lambda: loop.run_in_executor(threads, work)


def counting(one: Callable[[], Awaitable[object]], width: int, refused: type[Exception]) -> Block:
    """A block whose reading is the share of operations that were refused."""

    async def block(count: int) -> Reading:
        failed = 0

        async def counted() -> None:
            nonlocal failed
            try:
                await one()
            except refused:
                failed += 1

        await at_once(counted, width)(count)
        return Reading(failed / count)

    return block


# --- memory at the far end


def far_memory() -> list[Contender]:
    """What the far Pythons of Mitogen and execnet have in memory, after one command."""

    @asynccontextmanager
    async def mitogen() -> AsyncIterator[Block]:
        async with mitogen_context(NEAR) as context:
            context.call(subprocess.check_output, ["true"])
            yield _resident(context.call(os.getpid))

    @asynccontextmanager
    async def execnet() -> AsyncIterator[Block]:
        source = (
            "import os, subprocess\nsubprocess.check_output(['true'])\nchannel.send(os.getpid())\nchannel.receive()"
        )
        async with execnet_channel(NEAR, source) as channel:
            yield _resident(channel.receive())

    return [
        peer("Mitogen's Python, resident", mitogen, package_missing("mitogen")),
        peer("execnet's Python, resident", execnet, package_missing("execnet")),
    ]


def _resident(pid: int) -> Block:
    async def block(_count: int) -> Reading:
        return Reading(resident(pid))

    return block
