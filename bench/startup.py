"""What is paid once: importing, the command line, the first command."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench import ours, peers
from bench.model import Block, Contender, Reading, Target, case

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from warmshell.cli.plot import Kind

_HELP = "Warmshell: warm --help"
_IMPORT = "Warmshell: import warmshell"


def _program(name: str, kind: Kind, argv: list[str]) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async def block(count: int) -> Reading:
            return Reading(sum(_cpu(argv) for _ in range(count)) / count)

        yield block

    missing = None if Path(argv[0]).exists() else f"not installed: {Path(argv[0]).name}"
    return Contender(name, kind, opened, missing)


def _cpu(argv: list[str]) -> float:
    """CPU seconds of a program from its start to its end."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"{argv[-1]} ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


@case(
    "startup",
    theme="startup",
    title="CPU time to start",
    text="Whole programs, from exec to exit; the floor is a Python that does nothing.",
    unit="cpu",
    count=5,
    quick=2,
    rounds=5,
    ours=_HELP,
    targets=[
        Target("warm --help in < 150 ms of CPU", _HELP, None, "<=", 0.150),
        Target("import warmshell in < 150 ms of CPU, Python's own start included", _IMPORT, None, "<=", 0.150),
    ],
)
def startup() -> list[Contender]:
    python = sys.executable
    return [
        _program(_HELP, "warm", [str(Path(python).parent / "warm"), "--help"]),
        _program(_IMPORT, "warm", [python, "-c", "import warmshell"]),
        _program("import asyncio", "peer", [python, "-c", "import asyncio"]),
        _program("floor: python -c pass", "floor", [python, "-c", "pass"]),
    ]


@case(
    "first-command",
    theme="startup",
    title="connect, one command, close",
    text="What the first command costs, with the shell and the guardian started and ended: one command alone "
    "is not what a warm shell is for.",
    count=5,
    quick=2,
    rounds=5,
)
def first_command() -> list[Contender]:
    async def one(count: int) -> None:
        from warmshell import connect

        for _ in range(count):
            async with connect("local:") as node:
                (await node.run(["true"])).check()

    return [Contender(ours.OURS, "warm", peers.simple(one)), peers.asyncio_exec(["true"])]
