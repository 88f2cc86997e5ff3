"""What ``warm run`` does: one process at a location, its streams joined to ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from warmshell.cli.common import DEFAULT_LOCATION, environment, exact, seconds
from warmshell.cli.output import Writer, write_out
from warmshell.cli.sources import read_some
from warmshell.connector import connect
from warmshell.errors import CommandError
from warmshell.process import ByteReceiveStream, ByteSendStream, Process

TIME_IS_OVER = 124  # what timeout(1) says


@dataclass(frozen=True, slots=True)
class Request:
    """The options of ``warm run``, checked as far as that needs no location."""

    words: list[str]
    location: str
    timeout: float | None
    options: dict[str, Any]
    pty: bool
    detach: bool = False
    lease: float | None = None


def request_from(
    *, words: Sequence[str], script: str | None, location: str | None, timeout: str | None, cwd: str | None,
    settings: Sequence[str], user: str | None, pty: bool, shell: str, detach: bool, lease: str | None,
) -> Request:  # fmt: skip
    """The request of the options as click gives them.

    Raises:
        CommandError: nothing to run, or an option whose value means nothing.
    """
    given = [exact(word) for word in words]
    if script is not None:
        program = exact(shell).split() or ["sh"]
        given = [*program, "-c", exact(script), program[0], *given]
    if not given:
        raise CommandError("nothing to run: give the words of a command after --, or a script with -c")
    options: dict[str, Any] = {"env": environment(settings) or None, "user": user, "pty": pty}
    if cwd is not None:
        options["cwd"] = exact(cwd)
    limit = None if timeout is None else seconds(timeout)
    if lease is not None and not detach:
        raise CommandError("--lease belongs to --detach")
    stay = None if lease is None else seconds(lease)
    return Request(given, location or DEFAULT_LOCATION, limit, options, pty, detach, stay)


async def ran(request: Request) -> int:
    """Run it; the exit status."""
    if request.detach:
        from warmshell.cli.attaching import left

        return await left(request)
    try:
        async with asyncio.timeout(request.timeout) as limit:
            return await _run(request)
    except TimeoutError:
        if not limit.expired():
            raise
    text = f"warm: the command did not end within {request.timeout:g} s; it and its descendants were ended\n"
    await Writer().do(partial(write_out, 2, text.encode()))
    return TIME_IS_OVER


async def _run(request: Request) -> int:
    async with connect(request.location) as node, node.open(request.words, **request.options) as process:
        with _raw_terminal() if request.pty else contextlib.nullcontext():
            return await _joined(process)


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Our terminal, if it is one, hands every key to the command's: Ctrl-C too, and nothing is echoed twice."""
    if not os.isatty(0):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


async def _joined(process: Process) -> int:
    """Carry the three streams until the command has ended and what it wrote is written.

    Raises:
        BrokenPipeError: the reader of our output has gone.
    """
    feeding = asyncio.ensure_future(_feed(process.stdin))
    showing = [asyncio.ensure_future(_show(process.stdout, 1)), asyncio.ensure_future(_show(process.stderr, 2))]
    ending = asyncio.ensure_future(process.wait())
    everything = [feeding, *showing, ending]
    try:
        await _unless_one_fails([*showing, ending])
        return ending.result()
    finally:
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)


async def _unless_one_fails(tasks: Sequence[asyncio.Task[Any]]) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


async def _feed(stdin: ByteSendStream) -> None:
    """Our standard input, passed on as it comes and no faster than it is read; then its end."""
    with contextlib.suppress(BrokenPipeError):  # the command reads no more, as it may
        while data := await read_some(0, "standard input"):
            await stdin.send(data)
    await stdin.aclose()


async def _show(stream: ByteReceiveStream, fd: int) -> None:
    writer = Writer()
    while data := await stream.receive():
        await writer.do(partial(write_out, fd, data))
