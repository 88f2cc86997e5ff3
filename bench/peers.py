"""The peers: other ways of running a command, and floors that nobody who does the same work can be below."""

# ruff: noqa: ASYNC220, ASYNC221, ASYNC222 - blocking peers hold the event loop: nothing else runs meanwhile

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.model import Block, Contender

Argv = Sequence[str]
_PING = b"0123456789abcdef0123456789abcde\n"  # 32 bytes: about what a framed reply of a short command is

ASYNCIO_EXEC = "asyncio.create_subprocess_exec"
POSIX_SPAWN = "os.posix_spawn, pipes read by asyncio"
SUBPROCESS_RUN = "subprocess.run"
REPLWRAP = "pexpect replwrap bash (no delay)"
PLUMBUM = "plumbum local session"
XARGS = "xargs -P4"
PARALLEL = "GNU parallel -j4"
CAT_RAW = "floor: cat ping-pong, raw pipes"
CAT_READER = "floor: cat ping-pong, asyncio add_reader"
CAT_STREAMS = "floor: cat ping-pong, asyncio streams"
DASH_RAW = "floor: one warm dash, raw pipes"
DASH_PIPES = "floor: one warm dash, outputs and status apart, raw"
DASH_LOOPS = "floor: four dash loops"
VFORK_LOOPS = "floor: four loops of vfork and execve in C"


def blocking(work: Callable[[int], None]) -> Block:
    """A block of a peer that knows no event loop; it may hold the loop, since nothing else runs meanwhile."""

    async def block(count: int) -> None:
        work(count)

    return block


def simple(block: Block) -> Callable[[], AbstractAsyncContextManager[Block]]:
    """The opening of a peer that needs none."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        yield block

    return opened


def program_missing(*names: str) -> str | None:
    """Why these programs cannot be run, or ``None``."""
    absent = [name for name in names if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def package_missing(name: str) -> str | None:
    """Why a Python package cannot be used, or ``None``."""
    return None if find_spec(name) is not None else f"not installed: {name}"


def at_once(one: Callable[[], Any], width: int) -> Block:
    """A block that keeps ``width`` operations going until all are done."""

    async def worker(numbers: Any) -> None:
        for _ in numbers:
            await one()

    async def block(count: int) -> None:
        numbers = iter(range(count))
        await asyncio.gather(*(worker(numbers) for _ in range(width)))

    return block


# --- a process per command


def asyncio_exec(argv: Argv, *, width: int = 1) -> Contender:
    """The standard library's own way, both outputs captured."""

    async def one() -> None:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await process.communicate()
        _same(process.returncode, 0)

    return Contender(ASYNCIO_EXEC, "peer", simple(at_once(one, width)))


def subprocess_run(argv: Argv) -> Contender:
    """The standard library's blocking way, both outputs captured."""

    def work(count: int) -> None:
        for _ in range(count):
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)

    return Contender(SUBPROCESS_RUN, "peer", simple(blocking(work)))


def posix_spawn(argv: list[str], *, width: int = 1) -> Contender:
    """The leanest way to start a process from Python, pipes and end watched by the event loop."""
    program = shutil.which(argv[0]) or argv[0]

    async def one() -> None:
        status, _, _ = await spawn(program, argv)
        _same(status, 0)

    missing = None if hasattr(os, "pidfd_open") else "not available: pidfd_open (Linux)"
    return Contender(POSIX_SPAWN, "peer", simple(at_once(one, width)), missing)


async def spawn(program: str, argv: list[str]) -> tuple[int, bytes, bytes]:
    """Runs a program by ``posix_spawn``: its status and what it wrote to both outputs."""
    out, out_end = os.pipe2(os.O_CLOEXEC)
    err, err_end = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out_end, 1),
        (os.POSIX_SPAWN_DUP2, err_end, 2),
    ]
    pid = os.posix_spawn(program, argv, os.environ, file_actions=actions)
    os.close(out_end)
    os.close(err_end)
    exited = os.pidfd_open(pid)
    try:
        outputs = await _collect(out, err, exited)
    finally:
        for descriptor in (out, err, exited):
            os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), outputs[0], outputs[1]


async def _collect(out: int, err: int, exited: int) -> tuple[bytes, bytes]:
    """Reads two pipes to their ends and waits for the exit, all by one future."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    chunks: dict[int, list[bytes]] = {out: [], err: []}
    left = {out, err, exited}

    def finished(descriptor: int) -> None:
        loop.remove_reader(descriptor)
        left.discard(descriptor)
        if not left:
            done.set_result(None)

    def readable(descriptor: int) -> None:
        chunk = os.read(descriptor, 65536)
        if chunk:
            chunks[descriptor].append(chunk)
        else:
            finished(descriptor)

    loop.add_reader(out, readable, out)
    loop.add_reader(err, readable, err)
    loop.add_reader(exited, finished, exited)
    await done
    return b"".join(chunks[out]), b"".join(chunks[err])


# --- shells that stay


def replwrap(script: str) -> Contender:
    """A shell on a terminal, driven by its prompt; with its default delay of 50 ms switched off."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        shell: Any = import_module("pexpect.replwrap").bash()
        shell.child.delaybeforesend = None

        def work(count: int) -> None:
            for _ in range(count):
                shell.run_command(script)

        yield blocking(work)
        shell.child.close(force=True)

    missing = program_missing("bash") or package_missing("pexpect")
    return Contender(REPLWRAP, "peer", opened, missing)


def plumbum(script: str) -> Contender:
    """A persistent local sh, blocking; commands share its state."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        session: Any = import_module("plumbum").local.session()

        def work(count: int) -> None:
            for _ in range(count):
                session.run(script)

        yield blocking(work)
        session.close()

    return Contender(PLUMBUM, "peer", opened, package_missing("plumbum"))


# --- many commands at once


def xargs(argv: Argv) -> Contender:
    """``xargs -P4 -n1``: every command gets the number of its line as an argument."""
    return _fed(XARGS, ["xargs", "-P4", "-n1", *argv])


def parallel(argv: Argv, *, share: float = 1.0) -> Contender:
    """GNU parallel, without its notice; the command takes no argument."""
    return _fed(PARALLEL, ["parallel", "--will-cite", "-N0", "-j4", shlex.join(argv)], share)


def _fed(name: str, argv: Argv, share: float = 1.0) -> Contender:
    def work(count: int) -> None:
        lines = "".join(f"{number}\n" for number in range(count))
        subprocess.run(argv, input=lines.encode(), stdout=subprocess.DEVNULL, check=True)

    return Contender(name, "peer", simple(blocking(work)), program_missing(argv[0]), share)


def dash_loops(script: str, *, width: int = 4) -> Contender:
    """Plain loops in as many shells as run at once: what the kernel can start on this machine."""

    def work(count: int) -> None:
        counts = [count // width + (index < count % width) for index in range(width)]
        loop = "i=0; while [ $i -lt {} ]; do {}; i=$((i+1)); done"
        shells = [subprocess.Popen(["dash", "-c", loop.format(each, script)]) for each in counts]
        for shell in shells:
            _same(shell.wait(), 0)

    return Contender(DASH_LOOPS, "floor", simple(blocking(work)), program_missing("dash"))


def vfork_loops(argv: Argv, *, width: int = 4) -> Contender:
    """The same in C: nobody who starts a process for each command can be below it."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        source = Path(__file__).with_name("vfork_loops.c")
        with tempfile.TemporaryDirectory() as where:
            program = f"{where}/loops"
            subprocess.run(["cc", "-O2", "-o", program, source], check=True)
            yield blocking(lambda count: _quiet([program, str(width), str(count), *argv]))

    return Contender(VFORK_LOOPS, "floor", opened, program_missing("cc"))


def _quiet(argv: Argv) -> None:
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


# --- floors


@asynccontextmanager
async def piped(argv: Argv) -> AsyncIterator[tuple[int, int]]:
    """A program behind two raw pipes."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdin.fileno(), process.stdout.fileno()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def answers(argv: Callable[[], Argv], line: bytes, answer: bytes) -> Callable[[], AbstractAsyncContextManager[Block]]:
    """The opening of what writes a line to a program that is kept, and blocks until its answer is there."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with piped(argv()) as (to, back):

            def work(count: int) -> None:
                for _ in range(count):
                    os.write(to, line)
                    expect(back, answer)

            yield blocking(work)

    return opened


def expect(fd: int, answer: bytes) -> None:
    """Read an answer, and no other."""
    got = b""
    while len(got) < len(answer):
        piece = os.read(fd, 4096)
        got += piece
        if not piece or not answer.startswith(got):
            raise RuntimeError(f"got {got!r} in place of {answer!r}")


def cat_raw() -> Contender:
    """Write a line, block until it is back."""
    return Contender(CAT_RAW, "floor", answers(lambda: ["cat"], _PING, _PING))


def cat_reader() -> Contender:
    """Write a line, await a future that a reader callback sets."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bytes] = loop.create_future()

        async with piped(["cat"]) as (to, back):
            loop.add_reader(back, lambda: waiting.set_result(os.read(back, 4096)))

            async def block(count: int) -> None:
                nonlocal waiting
                for _ in range(count):
                    waiting = loop.create_future()
                    os.write(to, _PING)
                    _same(await waiting, _PING)

            yield block
            loop.remove_reader(back)

    return Contender(CAT_READER, "floor", opened)


def cat_streams() -> Contender:
    """Write a line and read it back through asyncio's own subprocess streams."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
        assert process.stdin is not None
        assert process.stdout is not None
        to, back = process.stdin, process.stdout

        async def block(count: int) -> None:
            for _ in range(count):
                to.write(_PING)
                await to.drain()
                _same(await back.readline(), _PING)

        yield block
        to.close()
        await process.wait()

    return Contender(CAT_STREAMS, "floor", opened)


def dash_raw(script: str) -> Contender:
    """One warm dash: write a line, block for one line with the status. No isolation, no separate outputs."""
    line = f"{script} >/dev/null; echo $?\n".encode()
    return Contender(DASH_RAW, "floor", answers(lambda: ["dash"], line, b"0\n"), program_missing("dash"))


def dash_pipes(script: str) -> Contender:
    """As :func:`dash_raw`, but stdin, stdout, stderr and the status of each command are apart.

    The shell opens pipes of this process by their names in ``/proc``; that is what it costs at the least to keep
    two outputs and a status apart, with no event loop and nothing checked.
    """

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        out, err = os.pipe(), os.pipe()
        places = [f"/proc/{os.getpid()}/fd/{end}" for _, end in (out, err)]
        line = f"{script} </dev/null >{places[0]} 2>{places[1]}; echo $?\n".encode()
        for end, _ in (out, err):
            os.set_blocking(end, False)
        try:
            async with piped(["dash"]) as (to, back):
                yield blocking(lambda count: _rounds(count, line, to, back, [out[0], err[0]]))
        finally:
            for end in (*out, *err):
                os.close(end)

    missing = program_missing("dash") or (None if os.path.isdir("/proc/self/fd") else "not available: /proc (Linux)")
    return Contender(DASH_PIPES, "floor", opened, missing)


def _rounds(count: int, line: bytes, to: int, back: int, outputs: Sequence[int]) -> None:
    for _ in range(count):
        os.write(to, line)
        _same(os.read(back, 4096), b"0\n")
        for output in outputs:
            with contextlib.suppress(BlockingIOError):
                os.read(output, 4096)


def _same(got: object, wanted: object) -> None:
    """A peer that does not do the work must not be timed."""
    if got != wanted:
        raise RuntimeError(f"got {got!r} in place of {wanted!r}")
