"""Coprocesses by FCLI, and warm shells: a tool, a script and a Makefile, each cold and warm."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from bench.model import Block, Contender, Target, case
from warmshell.coprocess import CoprocessPool
from warmshell.coprocess.driver.launcher import write
from warmshell.coprocess.driver.shells import LIBRARY

_TOOL = """
import sys
import argparse, asyncio, email, http.client, json, logging.config
import sqlite3, unittest.mock, urllib.request, xml.dom.minidom
from warmshell.coprocess import serve

def main(argv):
    sys.stdout.write(sys.stdin.read().upper() + " ".join(argv))

if __name__ == "__main__":
    sys.exit(serve(main))
"""
_START = 'for i in $(seq 1500); do eval "f$i() { echo $i; }"; export V$i=$i; done\n'
_MAKEFILE = "all: $(foreach n,$(shell seq {count}),t$(n))\nt%:\n\t@echo $* | grep -q x || echo $* >/dev/null\n"
_WARM = "a warm coprocess"
_COLD = "a new process each time"
_Words = Callable[[Path, int], list[str]]


@asynccontextmanager
async def _room() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        (where / "tool.py").write_text(_TOOL, encoding="utf-8")
        (where / "start.sh").write_text(_START, encoding="utf-8")
        (where / "servers").mkdir(0o700)
        yield where


@asynccontextmanager
async def _pool() -> AsyncIterator[Block]:
    async with _room() as where, CoprocessPool([sys.executable, str(where / "tool.py")], size=1) as pool:

        async def block(count: int) -> None:
            for _ in range(count):
                (await pool.run(["a", "b"], stdin=b"in")).check()

        yield block


def _running(words: _Words, **env: str) -> Callable[[], AbstractAsyncContextManager[Block]]:
    """A block that is one program, which does all the operations itself."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with _room() as where:
            more = {name: value.replace("WHERE", str(where)) for name, value in env.items()}
            environment = {**os.environ, "WARMSHELL_COPROCESS_DIR": str(where / "servers"), **more}

            async def block(count: int) -> None:
                subprocess.run(  # noqa: ASYNC221 - nothing else is to run meanwhile
                    words(where, count), env=environment, cwd=where, check=True, stdout=subprocess.DEVNULL,
                    stdin=subprocess.DEVNULL,
                )  # fmt: skip

            yield block
            _stop(where / "servers")

    return opened


def _stop(servers: Path) -> None:
    for path in servers.glob("*.sock"):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))
            credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        os.kill(struct.unpack("3i", credentials)[0], signal.SIGTERM)


def _cold_tool(_: Path, count: int) -> list[str]:
    return ["sh", "-c", f"for i in $(seq {count}); do {sys.executable} tool.py a; done"]


def _script(kind: str) -> _Words:
    def words(where: Path, count: int) -> list[str]:
        tool = f"{sys.executable} {where / 'tool.py'}"
        start = f'. "{LIBRARY}"; warm_coprocess tool {tool}' if kind == "warm" else f'tool() {{ {tool} "$@"; }}'
        return ["sh", "-c", f"{start}\nfor i in $(seq {count}); do echo line | tool a $i | cat; done"]

    return words


def _make(shell: str) -> _Words:
    def words(where: Path, count: int) -> list[str]:
        program = shell
        if shell.startswith("warm "):
            program = str(where / "warm-shell")
            if not os.path.exists(program):
                write(program, shell.removeprefix("warm "))
        makefile = where / f"Makefile.{count}"
        makefile.write_text(_MAKEFILE.replace("{count}", str(count)), encoding="utf-8")
        return ["make", "-s", "-f", str(makefile), f"SHELL={program}"]

    return words


@case(
    "coprocess-tool", theme="coprocess", title="a Python tool that speaks FCLI, from Python",
    text="A filter that imports a dozen modules of the standard library: by CoprocessPool, and by a process each time.",
    count=40, rounds=5, ours=_WARM,
    targets=[Target("a warm tool takes a tenth of the time", _COLD, _WARM, ">=", 10)],
)  # fmt: skip
def coprocess_tool() -> list[Contender]:
    return [Contender(_WARM, "warm", _pool), Contender(_COLD, "floor", _running(_cold_tool))]


@case(
    "coprocess-script", theme="coprocess", title="a shell script that calls it",
    text="`echo line | tool a $i | cat` in a loop of sh; warm by warmshell.sh, its own start included.",
    count=40, rounds=5, ours="warmshell.sh",
)  # fmt: skip
def coprocess_script() -> list[Contender]:
    return [
        Contender("warmshell.sh", "warm", _running(_script("warm"))),
        Contender(_COLD, "floor", _running(_script("cold"))),
    ]


@case(
    "coprocess-make", theme="coprocess", title="make with short recipes",
    text="A Makefile of recipes that take no time. BASH_ENV has 1,500 functions and variables where it says heavy. "
    "CPU time is that of make and what it starts: the server of a warm shell is not among them.",
    count=100, rounds=5, ours="warm bash, heavy start-up",
)  # fmt: skip
def coprocess_make() -> list[Contender]:
    heavy = {"BASH_ENV": "WHERE/start.sh"}
    missing = None if shutil.which("make") else "not installed: make"
    return [
        Contender("warm bash, heavy start-up", "warm", _running(_make("warm bash"), **heavy), missing),
        Contender("bash, heavy start-up", "floor", _running(_make("/bin/bash"), **heavy), missing),
        Contender("warm bash", "warm", _running(_make("warm bash")), missing),
        Contender("bash", "floor", _running(_make("/bin/bash")), missing),
        Contender("warm dash", "warm", _running(_make("warm dash")), missing),
        Contender("dash", "floor", _running(_make("/bin/dash")), missing),
    ]
