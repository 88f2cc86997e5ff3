"""Python tools cold and warm: the levels of the fork server, its clients, and what others offer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench import coprocess_daemons, coprocess_fcli, coprocess_scripts  # noqa: F401 - of this theme too
from bench.coprocess_floor import FLOOR, floor
from bench.coprocess_tools import COLD, FORK, LINES, THEME, VARIABLE, missing, path_of, place, serving
from bench.cpu import ROOTS
from bench.model import Block, Contender, Target, case

FORK_PYTHON = "Warmshell: fork, Python client"
ASYNC = "Warmshell: fork, asyncio client"
PRELOAD, PRIMED, REUSE = (f"Warmshell: {level}, C client" for level in ("preload", "primed", "reuse"))
_SETTLE = 4  # calls after which imports are learned


def _quietly(argv: list[str], env: dict[str, str]) -> None:
    subprocess.run(
        argv, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _cold(tool: str) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        argv = [str(path_of(tool)), *LINES[tool][1]]

        async def block(count: int) -> None:
            for _ in range(count):
                _quietly(argv, dict(os.environ))

        yield block

    return Contender(COLD, "peer", opened, missing(tool), share=0.2)


def _warm(tool: str, name: str, level: str, *, native: bool = True) -> Contender:
    """A launcher, as ``warm alias`` writes it."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell.coprocess.forkserver import launcher

        words = LINES[tool][1]
        options = launcher.Options(level=level, prime=tuple(words))
        with place() as folder:
            target = launcher.Target(os.fsencode(path_of(tool)))
            program = launcher.write(folder / "bin", tool, target, options, native=native)
            argv, env = [str(program), *words], dict(os.environ)
            for _ in range(_SETTLE):
                _quietly(argv, env)
            pids = serving()
            if not pids:
                raise RuntimeError(f"{tool} is not served")
            ROOTS.update(pids)
            try:

                async def block(count: int) -> None:
                    for _ in range(count):
                        _quietly(argv, env)

                yield block
            finally:
                ROOTS.difference_update(pids)

    return Contender(name, "warm", opened, missing(tool))


def _in_process(tool: str) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell.coprocess.forkserver.tool import PythonTool

        with place() as folder:
            called, words, env = PythonTool(str(path_of(tool))), LINES[tool][1], {**os.environ, VARIABLE: str(folder)}

            async def block(count: int) -> None:
                os.environ[VARIABLE] = str(folder)
                for _ in range(count):
                    result = await called.run(words, env=env)
                    if not result.warm:
                        raise RuntimeError(f"{tool} ran cold")

            await block(1)
            pids = serving()
            ROOTS.update(pids)
            try:
                yield block
            finally:
                ROOTS.difference_update(pids)
                os.environ[VARIABLE] = str(folder)

    return Contender(ASYNC, "warm", opened, missing(tool))


def _quicken() -> Contender:
    return Contender(
        "quicken", "peer", _cold("black").make, "0.1.0 does not start on Python 3.10 and later (asyncio's loop=)"
    )


def _contenders(tool: str) -> list[Contender]:
    return [
        _cold(tool),
        _warm(tool, FORK, "fork"),
        _warm(tool, FORK_PYTHON, "fork", native=False),
        _in_process(tool),
        _warm(tool, PRELOAD, "preload"),
        _warm(tool, PRIMED, "primed"),
        _warm(tool, REUSE, "reuse"),
        _quicken(),
    ]


def _cpu(tool: str, what: str, ours: str, bound: float) -> Target:
    text = f"{tool}: CPU of a cold run ≥ {bound:g} x that of {what}, the client's own apart"
    return Target(text, COLD, ours, ">=", bound, metric="served", floor=FLOOR)


_TARGETS = {
    "black": [_cpu("black", "a fork", FORK, 25), _cpu("black", "a primed fork", PRIMED, 25)],
    "sqlfluff": [_cpu("sqlfluff", "a fork", FORK, 25)],
    "cfn-lint": [_cpu("cfn-lint", "a fork", FORK, 25)],
    "aws": [_cpu("aws", "a fork", FORK, 3), _cpu("aws", "learned imports", PRELOAD, 8)],
    "ansible": [_cpu("ansible", "a fork", FORK, 5)],
}


_COUNTS = {"black": 120, "sqlfluff": 80, "cfn-lint": 20, "aws": 20, "ansible": 20}
"""The whole theme is to take less than eight minutes."""


def _register(tool: str) -> None:
    words = " ".join(LINES[tool][1])
    text = (
        "Every launcher is a process of its own, except for the asyncio client. "
        "CPU is that of client, server and fork; with that of the client goes that of the harness that starts it. "
        "A tool that cannot have a level is forked there."
    )

    def contenders() -> list[Contender]:
        return [*_contenders(tool), *([floor(tool)] if targets else [])]

    targets = _TARGETS.get(tool, [])
    case(
        f"call-{tool}", theme=THEME, title=f"{tool} {words}", text=text, count=_COUNTS.get(tool, 15), quick=10,
        rounds=5 if targets else 3, ours=FORK, targets=targets, each=False,
    )(contenders)  # fmt: skip


for _tool in LINES:
    _register(_tool)


@case(
    "call-1000",
    theme=THEME,
    title="1,000 calls of yamllint --version, one after the other",
    count=1000,
    quick=50,
    rounds=2,
    ours=FORK,
)
def thousand() -> list[Contender]:
    return [_warm("yamllint", FORK, "fork"), _in_process("yamllint"), _warm("yamllint", REUSE, "reuse")]
