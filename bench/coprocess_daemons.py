"""Warm calls beside the daemons that some tools bring themselves."""

# ruff: noqa: ASYNC210, ASYNC220, ASYNC221 - a call is waited for: nothing else runs meanwhile

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bench.coprocess_tools import COLD, FORK, THEME, missing, path_of, place, serving
from bench.cpu import ROOTS
from bench.model import Block, Contender, case

_CODE = "import os\ndef f( a,b ):\n    return {  'a':a }\n"
_TYPED = "def f(a: int) -> str:\n    return str(a)\n"
_Words = Callable[[Path], list[str]]


def _called(tool: str, name: str, words: _Words, *, warm: bool, source: str = "") -> Contender:
    """A program that is started for each call; ``words`` makes it in a directory, which is the working directory."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with place() as folder:
            (folder / "code.py").write_text(_TYPED, encoding="utf-8")
            argv, env = words(folder), dict(os.environ)

            async def block(count: int) -> None:
                for _ in range(count):
                    subprocess.run(argv, input=source, text=True, check=True, capture_output=True, cwd=folder, env=env)

            await block(2)
            pids = serving()
            ROOTS.update(pids)
            try:
                yield block
            finally:
                ROOTS.difference_update(pids)

    return Contender(name, "warm" if warm else "peer", opened, missing(tool), share=1.0 if warm else 0.3)


def _launcher(tool: str, *words: str) -> _Words:
    def made(folder: Path) -> list[str]:
        from warmshell.coprocess.forkserver import launcher

        target = launcher.Target(os.fsencode(path_of(tool)))
        return [str(launcher.write(folder / "bin", tool, target, launcher.Options())), *words]

    return made


async def _listens(port: int) -> None:
    """Comes back when somebody listens there."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return
    raise RuntimeError("blackd does not listen")


def _blackd() -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = [str(path_of("black").with_name("blackd")), "--bind-host", "127.0.0.1", "--bind-port", str(port)]
        null = subprocess.DEVNULL
        with subprocess.Popen(words, stdin=null, stdout=null, stderr=null) as server:
            try:
                await _listens(port)

                async def block(count: int) -> None:
                    for _ in range(count):
                        request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=_CODE.encode())
                        with urllib.request.urlopen(request, timeout=30) as answer:
                            answer.read()

                await block(1)
                yield block
            finally:
                server.terminate()

    return Contender("blackd, asked by HTTP from within", "peer", opened, missing("black"))


def _dmypy() -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with place() as folder:
            (folder / "code.py").write_text(_TYPED, encoding="utf-8")
            dmypy = str(path_of("mypy").with_name("dmypy"))

            async def block(count: int) -> None:
                for _ in range(count):
                    subprocess.run([dmypy, "run", "code.py"], check=True, capture_output=True, cwd=folder)

            await block(1)
            pid = json.loads((folder / ".dmypy.json").read_text(encoding="utf-8"))["pid"]
            ROOTS.add(pid)
            try:
                yield block
            finally:
                ROOTS.discard(pid)
                subprocess.run([dmypy, "stop"], check=False, capture_output=True, cwd=folder)

    return Contender("dmypy run", "peer", opened, missing("mypy"), share=0.3)


@case("call-black-format", theme=THEME, title="black -q -: three lines", count=30, quick=10, rounds=3, ours=FORK)
def black_format() -> list[Contender]:
    return [
        _called("black", COLD, lambda _: [str(path_of("black")), "-q", "-"], warm=False, source=_CODE),
        _called("black", FORK, _launcher("black", "-q", "-"), warm=True, source=_CODE),
        _blackd(),
    ]


@case(
    "call-mypy-check", theme=THEME, title="mypy code.py: two lines, nothing changed", count=15, quick=5, rounds=3,
    ours=FORK,    text="`dmypy` keeps what it has checked; a fork reads the cache of mypy.",
)  # fmt: skip
def mypy_check() -> list[Contender]:
    return [
        _called("mypy", COLD, lambda _: [str(path_of("mypy")), "code.py"], warm=False),
        _called("mypy", FORK, _launcher("mypy", "code.py"), warm=True),
        _dmypy(),
    ]
