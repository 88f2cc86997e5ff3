"""A command in a process of its own: for what a warm shell cannot carry (other accounts, terminals, long streams)."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmshell.command import Command, Result
from warmshell.errors import InputError
from warmshell.shell.capture import Capture
from warmshell.shell.diagnose import no_target
from warmshell.shell.feed import check_readable
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.connector.place import Place
    from warmshell.process import ByteReceiveStream, ByteSendStream, Process

_PIECE = 256 * 1024
_NO_TARGET = 125


async def run_process(place: Place, command: Command, partial: list[Result]) -> Result:
    """Run a command in a process of its own, to its result.

    Args:
        place: what opens the process.
        command: what to run.
        partial: gets what the command had written, if it is cancelled.
    """
    started = time.time()
    if isinstance(command.stdin, os.PathLike):
        check_readable(os.fsencode(command.stdin))
    token = secrets.token_hex(16).encode()
    process = await place.open(_with_targets(command, token))
    captures = Capture(command.output_limit), Capture(command.output_limit)

    def result(status: int) -> Result:
        return Result(
            status, captures[0].value(), captures[1].value(), started=started, ended=time.time(),
            location=place.name, shell="process", command=command,
        )  # fmt: skip

    try:
        ended = result(await _communicate(process, command, captures))
        if (command.stdout or command.stderr) and ended.returncode == _NO_TARGET and token in ended.stderr:
            raise no_target(command, place.name, ended.stderr.partition(token)[0])
    except asyncio.CancelledError:
        await shielded(process.kill())
        partial.append(result(-1))
        raise
    else:
        return ended
    finally:
        await shielded(process.aclose())


# Opens the targets in the command's own directory, under its own account; "exec" alone would end the shell.
_OPENER = (
    b't=$1 o=$2 e=$3; shift 3; { test -z "$o" || command exec >|"$o"; } && { test -z "$e" || command exec 3>|"$e"; }'
    b' || { echo "$t" >&2; exit %d; }; test -z "$e" || exec 2>&3 3>&-; exec "$@"' % _NO_TARGET
)


def _with_targets(command: Command, token: bytes) -> Command:
    """The command, sending its output where it is to go; it prints the token if that is not possible."""
    if command.stdout is None and command.stderr is None:
        return command
    opened = copy.copy(command)
    words = command.argv if command.script is None else (b"sh", b"-c", command.script)
    opened.argv = (b"sh", b"-c", _OPENER, b"sh", token, command.stdout or b"", command.stderr or b"", *words)
    opened.script = None
    return opened


async def _communicate(process: Process, command: Command, captures: tuple[Capture, Capture]) -> int:
    pumps = [
        asyncio.ensure_future(_pump(stream, capture))
        for stream, capture in zip((process.stdout, process.stderr), captures, strict=True)
    ]
    feeding = asyncio.ensure_future(feed(process.stdin, command.stdin))
    ending = asyncio.ensure_future(process.wait())
    try:
        pending: set[asyncio.Future[Any]] = {ending, feeding, *pumps}
        while not ending.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()  # a full disk, or a source that raises, ends the command
        for pump, stream, capture in zip(pumps, (process.stdout, process.stderr), captures, strict=True):
            await stream.settled()
            await _last(pump, stream, capture)
        return ending.result()
    finally:
        for future in (feeding, ending, *pumps):
            future.cancel()
        await asyncio.gather(feeding, ending, *pumps, return_exceptions=True)


async def _pump(stream: ByteReceiveStream, capture: Capture) -> None:
    async for data in stream:
        capture.feed(data)


async def _last(pump: asyncio.Future[None], stream: ByteReceiveStream, capture: Capture) -> None:
    """What the ended process left in the stream, without waiting for children that keep it open."""
    if not pump.done():
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump
        capture.feed(stream.rest())


async def feed(stream: ByteSendStream, source: object) -> None:
    """Give a process its standard input and then the end of it.

    Raises:
        InputError: the file cannot be read.
    """
    with contextlib.suppress(BrokenPipeError):  # it reads no more, which is its right
        if isinstance(source, bytes):
            await stream.send(source)
        elif isinstance(source, AsyncIterable):
            await _feed_stream(stream, source)
        elif isinstance(source, os.PathLike):
            await _feed_file(stream, Path(source))
    await stream.aclose()


async def _feed_stream(stream: ByteSendStream, source: AsyncIterable[bytes]) -> None:
    try:
        async for chunk in source:
            await stream.send(chunk)
    finally:  # a generator that is left early is closed now, not when somebody collects it
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _feed_file(stream: ByteSendStream, path: Path) -> None:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise InputError(
            f"standard input cannot be read from {str(path)!r}: {error.strerror}", errno=error.errno
        ) from error
    with file:
        while data := await asyncio.to_thread(file.read, _PIECE):
            await stream.send(data)
