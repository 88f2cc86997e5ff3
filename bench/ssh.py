"""Commands at a host by SSH: one after the other, many at once, much output, a slow link, the far end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Any

from bench import ssh_load, ssh_ours, ssh_peers
from bench.model import Block, Contender, Reading, Target, case
from bench.peers import package_missing
from bench.ssh_lab import FAR, NEAR, NO_PYTHON, missing
from bench.ssh_ours import OURS

_THEME = "ssh"
_TRUE = ["/bin/true"]
_NO_PYTHON = "Warmshell, no Python there"


def _sequence(words: Sequence[str], answer: bytes) -> list[Contender]:
    return [
        ssh_ours.run(words),
        ssh_ours.run(words, name=_NO_PYTHON, user=NO_PYTHON),
        ssh_peers.ssh(words),
        ssh_peers.master(words),
        ssh_peers.asyncssh_run(words),
        ssh_peers.asyncssh_run(words, cipher=ssh_peers.GCM),
        ssh_peers.paramiko(words),
        ssh_peers.fabric(words),
        ssh_peers.mitogen(words),
        ssh_peers.execnet(words),
        ssh_peers.dash(words, answer),
    ]


@case(
    "ssh-echo",
    theme=_THEME,
    title='["echo", "hi"] at a host, one after the other',
    text="The figure of a round is the median of its commands. Each contender keeps one connection, but for `ssh` per "
    "command. Mitogen and execnet have a Python at the far end: a call that does nothing and a channel that echoes are "
    "the least that they do.",
    count=150,
    quick=50,
    rounds=5,
    each=True,
    targets=[
        Target("echo ≥ 10 x faster than asyncssh's run", ssh_peers.ASYNCSSH, OURS, ">=", 10, floor=ssh_peers.CAT),
        Target("echo faster than a call of Mitogen's that does nothing", ssh_peers.MITOGEN_NOTHING, OURS, ">=", 1,
               floor=ssh_peers.CAT),
    ],
)  # fmt: skip
def ssh_echo() -> list[Contender]:
    return [
        *_sequence(["echo", "hi"], b"hi\n"),
        ssh_peers.mitogen(None),
        ssh_peers.execnet(None),
        ssh_peers.cat(),
    ]


@case(
    "ssh-true",
    theme=_THEME,
    title='["/bin/true"] at a host, one after the other',
    text="A real program: its fork and exec at the far end are in it, for everyone.",
    count=100,
    quick=50,
    rounds=5,
    each=True,
)
def ssh_true() -> list[Contender]:
    return _sequence(_TRUE, b"")


@case(
    "ssh-refused",
    theme=_THEME,
    title='the share of ["true"] that fails, MaxSessions 10',
    text="All over one connection, by callers who know no limit. An sshd of the usual configuration serves ten "
    "sessions of a connection and refuses the others.",
    unit="failures",
    count=320,
    quick=96,
    rounds=2,
    ours=f"{OURS}, 32 at once",
    targets=[
        Target(f"{width} commands at once on one connection: no error", f"{OURS}, {width} at once", None, "<=", 0)
        for width in (32, 256)
    ],
)
def ssh_refused() -> list[Contender]:
    return [
        ssh_ours.refused(["true"], 32),
        ssh_ours.refused(["true"], 256),
        ssh_load.asyncssh_refused("true", 10),
        ssh_load.asyncssh_refused("true", 32),
        ssh_load.paramiko_refused("true", 32),
        ssh_load.fabric_refused("true", 32),
    ]


def _crowd(words: Sequence[str]) -> list[Contender]:
    return [
        ssh_ours.many(words, 32, name=f"{OURS}, 32 at once"),
        ssh_ours.many(words, 256, name=f"{OURS}, 256 at once"),
        ssh_load.asyncssh_many(words),
        ssh_load.asyncssh_many(words, connections=4),
        ssh_peers.master(words, width=8, share=0.06),
        ssh_load.mitogen_many(words),
    ]


def _crowd_targets() -> list[Target]:
    return [
        Target(f"{width} at once ≥ 5 x {peer}", peer, f"{OURS}, {width} at once", ">=", 5)
        for width in (32, 256)
        for peer in (ssh_load.ASYNCSSH_CAREFUL, ssh_load.ASYNCSSH_FOUR)
    ]


@case(
    "ssh-many-builtin",
    theme=_THEME,
    title='["true"] at a host, many at once',
    text="One connection, unless another number is said. Peers run as many at once as an sshd serves, and ask "
    "again for what it refuses all the same.",
    count=1600,
    quick=640,
    rounds=3,
    ours=f"{OURS}, 32 at once",
    targets=_crowd_targets(),
)
def ssh_many_builtin() -> list[Contender]:
    return _crowd(["true"])


@case(
    "ssh-many-true",
    theme=_THEME,
    title='["/bin/true"] at a host, many at once',
    text="The same for a real program: the start of a process is what is left.",
    count=1600,
    quick=640,
    rounds=3,
    ours=f"{OURS}, 32 at once",
)
def ssh_many_true() -> list[Contender]:
    wide = (f"{OURS}, 256 at once", ssh_load.ASYNCSSH_FOUR)
    return [one for one in _crowd(_TRUE) if one.name not in wide]


# --- much output

_BESIDE = "Warmshell, beside a lane that runs true"
_OPEN = "Warmshell open, a channel of its own"
_RAW = "floor: raw ssh pipe, aes128-gcm"
_RAW_FILE = "floor: raw ssh pipe, aes128-gcm, into a file"
_SOURCE = "exec head -c {size} /dev/zero"


@case(
    "ssh-gigabyte",
    theme=_THEME,
    title="1 GB of output of one command at a host",
    text="`node.run` captures: what exceeds 16 MB goes to an unnamed file. The others throw away what they have "
    "read, but for the last floor. All but the first do a part of the gigabyte.",
    unit="gigabyte",
    count=1000,
    quick=40,
    rounds=3,
    targets=[
        Target("1 GB through one lane ≥ 80 % of a raw ssh pipe", _RAW, OURS, ">=", 0.8, floor=_RAW_FILE),
        Target("the same beside a lane that runs true", _RAW, _BESIDE, ">=", 0.8, floor=_RAW_FILE),
    ],
)
def ssh_gigabyte() -> list[Contender]:
    return [
        ssh_ours.gigabyte(OURS),
        ssh_ours.gigabyte(_BESIDE, beside=True, share=0.3),
        ssh_ours.opened_gigabyte(_OPEN, share=0.3),
        _asyncssh_gigabyte(0.3),
        ssh_load.pipe("ssh, its default cipher", _SOURCE, "peer", "chacha20-poly1305@openssh.com", share=0.3),
        ssh_load.pipe(_RAW, _SOURCE, "floor", ssh_peers.GCM, share=0.3),
        ssh_load.pipe(_RAW_FILE, _SOURCE, "floor", ssh_peers.GCM, share=0.3, keep=True),
    ]


def _asyncssh_gigabyte(share: float) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with ssh_peers.asyncssh_connection(NEAR, ssh_peers.GCM) as connection:

            async def block(megabytes: int) -> Reading:
                size, start = megabytes * 1_000_000, perf_counter()
                await ssh_load.asyncssh_read(connection, _SOURCE.format(size=size), size)
                return Reading((perf_counter() - start) / size * 1e9)

            yield block

    reason = package_missing("asyncssh") or missing()
    return Contender("asyncssh, read in pieces, aes128-gcm", "peer", opened, reason, share)


_IDLE, _BUSY = "Warmshell, nothing beside it", "Warmshell, beside output without end"


@case(
    "ssh-beside",
    theme=_THEME,
    title='the median of ["true"] beside endless output, same connection',
    text="One lane runs `true` again and again while another carries all that the connection can.",
    count=400,
    quick=150,
    rounds=5,
    ours=_IDLE,
    targets=[Target("beside 1 GB of output ≤ 3 x the idle median", _BUSY, _IDLE, "<=", 3)],
)
def ssh_beside() -> list[Contender]:
    return [
        ssh_ours.small(_IDLE, beside=False),
        ssh_ours.small(_BUSY, beside=True),
        _asyncssh_small("asyncssh run, nothing beside it", beside=False),
        _asyncssh_small("asyncssh run, beside output without end", beside=True),
    ]


def _asyncssh_small(name: str, *, beside: bool) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with ssh_peers.asyncssh_connection(NEAR, ssh_peers.GCM) as connection:
            yield lambda count: _asyncssh_median(connection, count, beside=beside)

    return Contender(name, "peer", opened, package_missing("asyncssh") or missing(), share=0.2)


async def _asyncssh_median(connection: Any, count: int, *, beside: bool) -> Reading:
    async def one() -> None:
        await connection.run("true", check=True)

    if not beside:
        return await ssh_ours.median_of(one, count)
    # It ends by itself once nobody reads it any more: asyncssh's own way to end it leaves it running.
    stream = ssh_load.asyncssh_read(connection, "exec timeout 20 cat /dev/zero", -1)
    big = asyncio.ensure_future(stream)
    try:
        await ssh_ours.median_of(one, 10)
        return await ssh_ours.median_of(one, count)
    finally:
        big.cancel()
        with suppress(asyncio.CancelledError):
            await big


# --- a slow link

_TRIP = "floor: one line there and back"
_LINK = "A link that delays every packet by 10 ms, each way."


@case(
    "ssh-far",
    theme=_THEME,
    title='["true"] over a link of 20 ms, one after the other',
    text=f"{_LINK} A command should take one round trip.",
    count=20,
    quick=5,
    rounds=3,
    each=True,
    targets=[Target("a command ≤ 1.2 x a line there and back", OURS, ssh_peers.CAT, "<=", 1.2)],
)
def ssh_far() -> list[Contender]:
    words = ["true"]
    return [
        ssh_ours.run(words, host=FAR),
        ssh_peers.ssh(words, host=FAR, share=0.1),
        ssh_peers.master(words, host=FAR, share=0.5),
        ssh_peers.asyncssh_run(words, cipher=ssh_peers.GCM, host=FAR, share=0.5),
        ssh_peers.mitogen(None, host=FAR),
        ssh_peers.execnet(None, host=FAR),
        ssh_peers.cat(host=FAR),
    ]


@case(
    "ssh-far-many",
    theme=_THEME,
    title='320 x ["true"] over a link of 20 ms, 32 at once: all of them',
    text=f"{_LINK} With 32 lanes, ten round trips are the least that 320 commands take.",
    unit="batch",
    count=2,
    quick=1,
    rounds=3,
    targets=[Target("320 commands by 32 lanes ≤ 15 round trips", OURS, _TRIP, "<=", 15)],
)
def ssh_far_many() -> list[Contender]:
    return [
        ssh_ours.batch(["true"], 320, 32, host=FAR),
        ssh_ours.batches(ssh_load.asyncssh_many(["true"], connections=4, host=FAR), 320),
        ssh_peers.one_trip(_TRIP, FAR),
    ]


# --- the far end

_SERVER, _SUBSHELL, _CPU = "the session server, resident", "one idle subshell, proportional", "the session server"


@case(
    "ssh-memory",
    theme=_THEME,
    title="memory at the far end",
    text="The server with 33 subshells that have run a command. A subshell: the proportional memory (PSS) of "
    "a server with all below it at 33 subshells, less that at 1, divided by 32.",
    unit="bytes",
    count=1,
    rounds=2,
    ours=_SERVER,
    targets=[
        Target("the server < 20 MB resident", _SERVER, None, "<=", 20e6),
        Target("an idle subshell ≤ 0.4 MB", _SUBSHELL, None, "<=", 0.4e6),
    ],
)
def ssh_memory() -> list[Contender]:
    return [
        ssh_ours.server_memory(_SERVER, 33),
        ssh_ours.subshell_memory(_SUBSHELL, 32),
        *ssh_load.far_memory(),
    ]


@case(
    "ssh-idle",
    theme=_THEME,
    title="processor time at the far end while nothing runs",
    text="Of the server and 32 idle subshells, for each second; the client's signs of life are in it.",
    unit="cpu",
    count=10,
    quick=3,
    rounds=1,
    ours=_CPU,
    targets=[Target("idle: 0.0 % of a CPU", _CPU, None, "<=", 0.0005)],
)
def ssh_idle() -> list[Contender]:
    return [ssh_ours.idle_cpu(_CPU, 32)]
