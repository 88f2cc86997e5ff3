"""The peers over SSH: other ways of running a command on a host, and floors below them."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bench.model import Block, Contender, Reading
from bench.peers import answers, at_once, blocking, expect, package_missing, piped, program_missing
from bench.ssh_lab import NEAR, USER, current, missing

if TYPE_CHECKING:
    from warmshell.cli.plot import Kind

SSH = "ssh, a connection per command"
MASTER = "ssh with ControlMaster"
ASYNCSSH = "asyncssh run"
ASYNCSSH_GCM = "asyncssh run, aes128-gcm"
PARAMIKO = "paramiko exec_command"
FABRIC = "Fabric run"
MITOGEN = "Mitogen, a call that runs it"
MITOGEN_NOTHING = "Mitogen, a call that does nothing"
EXECNET = "execnet, a channel that runs it"
EXECNET_NOTHING = "execnet, a channel that echoes"
CAT = "floor: cat ping-pong over one ssh"
DASH = "floor: one warm dash over one ssh, raw"

GCM = "aes128-gcm@openssh.com"
_PING = b"0123456789abcdef0123456789abcde\n"  # 32 bytes: about what a framed reply of a short command is

Opened = Callable[[], Any]


def peer(
    name: str, opened: Opened, *needs: str | None, host: str = NEAR, share: float = 1.0, kind: Kind = "peer"
) -> Contender:
    absent = next((need for need in needs if need is not None), None)
    return Contender(name, kind, opened, absent or missing(host), share)


def ssh_words(host: str, *options: str) -> list[str]:
    """The OpenSSH client's words up to the command."""
    return ["ssh", "-F", current().config, "-l", USER, "-o", "BatchMode=yes", *options, "-T", host]


# --- the OpenSSH client


def ssh(words: Sequence[str], *, host: str = NEAR, share: float = 0.02) -> Contender:
    """A whole connection for each command."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        argv = [*ssh_words(host), shlex.join(words)]
        yield blocking(lambda count: _each(count, argv))

    return peer(SSH, opened, program_missing("ssh"), host=host, share=share)


def _each(count: int, argv: list[str]) -> None:
    for _ in range(count):
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)


@asynccontextmanager
async def _master(host: str) -> AsyncIterator[list[str]]:
    """The words that run a command over a connection that is up."""
    socket = str(current().home / f"m{os.getpid()}")
    said = ("-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo up")
    argv = [*ssh_words(host, "-M", "-S", socket, "-N", *said)]
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != b"up\n":
            raise RuntimeError("ssh made no connection")
        yield ssh_words(host, "-S", socket)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def master(words: Sequence[str], *, host: str = NEAR, width: int = 1, share: float = 0.25) -> Contender:
    """A client for each command, all over one connection."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with _master(host) as reach:
            argv = [*reach, shlex.join(words)]

            async def one() -> None:
                await asyncio.to_thread(_each, 1, argv)

            yield blocking(lambda count: _each(count, argv)) if width == 1 else at_once(one, width)

    name = MASTER if width == 1 else f"{MASTER}, {width} at once"
    return peer(name, opened, program_missing("ssh"), host=host, share=share)


# --- asyncssh


@asynccontextmanager
async def asyncssh_connection(host: str, cipher: str | None = None) -> AsyncIterator[Any]:
    """A connection of asyncssh."""
    asyncssh: Any = import_module("asyncssh")
    place = current().host(host)
    options = {} if cipher is None else {"encryption_algs": [cipher]}
    async with asyncssh.connect(
        place.address, place.port, username=USER, client_keys=[current().key],
        known_hosts=current().known_hosts, config=None, **options,
    ) as connection:  # fmt: skip
        yield connection


def asyncssh_run(words: Sequence[str], *, cipher: str | None = None, host: str = NEAR, share: float = 1.0) -> Contender:
    """One command after the other over one connection."""
    line = shlex.join(words)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with asyncssh_connection(host, cipher) as connection:

            async def block(count: int) -> None:
                for _ in range(count):
                    await connection.run(line, check=True, stdin=subprocess.DEVNULL)

            yield block

    name = ASYNCSSH if cipher is None else ASYNCSSH_GCM
    return peer(name, opened, package_missing("asyncssh"), host=host, share=share)


# --- paramiko and Fabric


@contextmanager
def paramiko_client(host: str) -> Iterator[Any]:
    client: Any = import_module("paramiko").SSHClient()
    client.load_host_keys(current().known_hosts)
    place = current().host(host)
    client.connect(place.address, place.port, USER, key_filename=current().key, look_for_keys=False, allow_agent=False)
    with client:
        yield client


def paramiko_one(client: Any, line: str) -> None:
    stdin, stdout, stderr = client.exec_command(line)
    try:
        stdout.read()
        stderr.read()
        if stdout.channel.recv_exit_status() != 0:
            raise RuntimeError(f"{line} failed")
    finally:
        stdin.close()
        stdout.channel.close()


def paramiko(words: Sequence[str], *, share: float = 0.1) -> Contender:
    """As shipped: its small packets wait for each other (Nagle)."""
    line = shlex.join(words)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with paramiko_client(NEAR) as client:

            def work(count: int) -> None:
                for _ in range(count):
                    paramiko_one(client, line)

            yield blocking(work)

    return peer(PARAMIKO, opened, package_missing("paramiko"), share=share)


@contextmanager
def fabric_connection(host: str) -> Iterator[Any]:
    place = current().host(host)
    keys = {"key_filename": current().key, "look_for_keys": False, "allow_agent": False}
    fabric: Any = import_module("fabric")
    config = fabric.Config(lazy=True)
    with fabric.Connection(place.address, USER, place.port, config=config, connect_kwargs=keys) as connection:
        yield connection


def fabric(words: Sequence[str], *, share: float = 0.1) -> Contender:
    """Without a pseudo-terminal, nothing printed, no standard input."""
    line = shlex.join(words)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with fabric_connection(NEAR) as connection:

            def work(count: int) -> None:
                for _ in range(count):
                    connection.run(line, hide=True, in_stream=False)

            yield blocking(work)

    return peer(FABRIC, opened, package_missing("fabric"), share=share)


# --- Pythons at the far end


@asynccontextmanager
async def mitogen_context(host: str) -> AsyncIterator[Any]:
    """A Python at the far end that is called."""
    master_: Any = import_module("mitogen.master")
    place = current().host(host)
    broker = master_.Broker()
    try:
        router = master_.Router(broker)
        yield router.ssh(
            hostname=place.address, port=place.port, username=USER, python_path="python3", compression=False,
            identity_file=current().key, ssh_args=["-F", current().config, "-o", "StrictHostKeyChecking=no"],
            check_host_keys="ignore",
        )  # fmt: skip
    finally:
        broker.shutdown()
        broker.join()


def mitogen(words: Sequence[str] | None, *, host: str = NEAR, share: float = 1.0) -> Contender:
    """A call of a function at the far end: one that runs the command there, or one that does nothing."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with mitogen_context(host) as context:

            def work(count: int) -> None:
                for _ in range(count):
                    if words is None:
                        context.call(os.getpid)
                    else:
                        context.call(subprocess.check_output, list(words))

            yield blocking(work)

    name = MITOGEN_NOTHING if words is None else MITOGEN
    return peer(name, opened, package_missing("mitogen"), host=host, share=share)


_LOOP = "import subprocess\nfor words in channel:\n channel.send(subprocess.check_output(words) if words else b'')\n"


@asynccontextmanager
async def execnet_channel(host: str, source: str = _LOOP) -> AsyncIterator[Any]:
    """A channel to a loop in a Python at the far end."""
    module: Any = import_module("execnet")
    group = module.Group()
    gateway = group.makegateway(f"ssh=-F {current().config} -l {USER} {host}//python=python3")
    try:
        yield gateway.remote_exec(source)
    finally:
        group.terminate(timeout=1.0)


def execnet(words: Sequence[str] | None, *, host: str = NEAR, share: float = 1.0) -> Contender:
    """A loop at the far end that runs what comes through the channel, or answers with nothing."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with execnet_channel(host) as channel:

            def work(count: int) -> None:
                for _ in range(count):
                    channel.send(list(words or ()))
                    channel.receive()

            yield blocking(work)

    name = EXECNET_NOTHING if words is None else EXECNET
    return peer(name, opened, package_missing("execnet"), host=host, share=share)


# --- floors


def raw(name: str, program: str, line: bytes, answer: bytes, *, host: str = NEAR, share: float = 1.0) -> Contender:
    """Write a line to a program at the far end, block until its answer is there."""

    opened = answers(lambda: [*ssh_words(host, "-c", GCM), program], line, answer)
    return peer(name, opened, program_missing("ssh"), host=host, share=share, kind="floor")


def cat(*, host: str = NEAR, share: float = 1.0) -> Contender:
    """A line there and back."""
    return raw(CAT, "exec cat", _PING, _PING, host=host, share=share)


def dash(words: Sequence[str], answer: bytes) -> Contender:
    """A shell that is kept, with nothing of isolation, separate outputs or exact ends."""
    line = f"{shlex.join(words)}; echo $?\n".encode()
    return raw(DASH, "exec dash", line, answer + b"0\n")


def one_trip(name: str, host: str) -> Contender:
    """The median time of a line there and back."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with piped([*ssh_words(host, "-c", GCM), "exec cat"]) as (to, back):

            async def block(_count: int) -> Reading:
                times = []
                for _ in range(9):
                    start = perf_counter()
                    os.write(to, _PING)
                    expect(back, _PING)
                    times.append(perf_counter() - start)
                return Reading(sorted(times)[4])

            yield block

    return peer(name, opened, program_missing("ssh"), host=host, kind="floor")
