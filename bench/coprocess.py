"""Python tools cold and warm: the levels of the fork server, its clients, and what others offer."""

# ruff: noqa: ASYNC210, ASYNC220, ASYNC221 - a call is waited for: nothing else runs meanwhile

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench import coprocess_fcli  # noqa: F401 - its cases belong to this theme
from bench.cpu import ROOTS
from bench.model import Block, Contender, Target, case

if TYPE_CHECKING:
    from collections.abc import Iterator

_THEME = "coprocess"
_TOOLS = Path(os.environ.get("VENV", ".venv")).absolute() / "tools"
COLD = "cold"
FORK, FORK_PYTHON = "Warmshell: fork, C client", "Warmshell: fork, Python client"
ASYNC = "Warmshell: fork, asyncio client"
PRELOAD, PRIMED, REUSE = (f"Warmshell: {level}, C client" for level in ("preload", "primed", "reuse"))
_VARIABLE = "WARMSHELL_COPROCESS_DIR"
_SETTLE = 4  # calls after which imports are learned

_LINES = {
    "black": ("code", ["--version"]),
    "sqlfluff": ("sql", ["--version"]),
    "cfn-lint": ("cfn", ["--version"]),
    "aws": ("aws", ["--version"]),
    "ansible": ("ansible", ["--version"]),
    "yamllint": ("code", ["--version"]),
    "pip": ("code", ["--version"]),
    "sphinx-build": ("sphinx", ["--version"]),
    "pygmentize": ("code", ["-V"]),
    "http": ("code", ["--version"]),
    "mypy": ("code", ["--version"]),
}


def _path(tool: str) -> Path:
    return _TOOLS / _LINES[tool][0] / "bin" / tool


def _missing(tool: str) -> str | None:
    return None if _path(tool).exists() else "not installed: make tools"


@contextmanager
def _place() -> Iterator[Path]:
    """A directory for servers, which end with it."""
    from warmshell.coprocess.forkserver import servers

    with tempfile.TemporaryDirectory(prefix="warmshell-bench-") as folder:
        previous = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            os.environ[_VARIABLE] = folder
            servers.stop(set())
            os.environ.pop(_VARIABLE)
            if previous is not None:
                os.environ[_VARIABLE] = previous


def _pids() -> set[int]:
    from warmshell.coprocess.forkserver import servers

    return {info.pid for info in servers.servers()}


def _quietly(argv: list[str], env: dict[str, str]) -> None:
    subprocess.run(
        argv, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _cold(tool: str) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        argv = [str(_path(tool)), *_LINES[tool][1]]

        async def block(count: int) -> None:
            for _ in range(count):
                _quietly(argv, dict(os.environ))

        yield block

    return Contender(COLD, "peer", opened, _missing(tool), share=0.2)


def _warm(tool: str, name: str, level: str, *, native: bool = True) -> Contender:
    """A launcher, as ``warm alias`` writes it."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell.coprocess.forkserver import launcher

        words = _LINES[tool][1]
        options = launcher.Options(level=level, prime=tuple(words))
        with _place() as folder:
            target = launcher.Target(os.fsencode(_path(tool)))
            program = launcher.write(folder / "bin", tool, target, options, native=native)
            argv, env = [str(program), *words], dict(os.environ)
            for _ in range(_SETTLE):
                _quietly(argv, env)
            pids = _pids()
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

    return Contender(name, "warm", opened, _missing(tool))


def _in_process(tool: str) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell.coprocess.forkserver.tool import PythonTool

        with _place() as folder:
            called, words, env = PythonTool(str(_path(tool))), _LINES[tool][1], {**os.environ, _VARIABLE: str(folder)}

            async def block(count: int) -> None:
                os.environ[_VARIABLE] = str(folder)
                for _ in range(count):
                    result = await called.run(words, env=env)
                    if not result.warm:
                        raise RuntimeError(f"{tool} ran cold")

            await block(1)
            pids = _pids()
            ROOTS.update(pids)
            try:
                yield block
            finally:
                ROOTS.difference_update(pids)
                os.environ[_VARIABLE] = str(folder)

    return Contender(ASYNC, "warm", opened, _missing(tool))


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


def _cpu(text: str, ours: str, bound: float) -> Target:
    return Target(text, COLD, ours, ">=", bound, metric="cpu")


_TARGETS = {
    "black": [_cpu("black: CPU of a cold run ≥ 25 x that of a fork", FORK, 25)],
    "sqlfluff": [_cpu("sqlfluff: CPU of a cold run ≥ 25 x that of a fork", FORK, 25)],
    "cfn-lint": [_cpu("cfn-lint: CPU of a cold run ≥ 25 x that of a fork", FORK, 25)],
    "aws": [
        _cpu("aws: CPU of a cold run ≥ 3 x that of a fork", FORK, 3),
        _cpu("aws: CPU of a cold run ≥ 8 x that with learned imports", PRELOAD, 8),
    ],
    "ansible": [_cpu("ansible: CPU of a cold run ≥ 5 x that of a fork", FORK, 5)],
}


def _register(tool: str) -> None:
    words = " ".join(_LINES[tool][1])
    text = (
        "Every launcher is a process of its own, except for the asyncio client. "
        "CPU is that of client, server and fork. A tool that cannot have a level is forked there."
    )

    def contenders() -> list[Contender]:
        return _contenders(tool)

    case(
        f"call-{tool}", theme=_THEME, title=f"{tool} {words}", text=text, count=50, quick=10, rounds=5, ours=FORK,
        targets=_TARGETS.get(tool, []), each=False,
    )(contenders)  # fmt: skip


for _tool in _LINES:
    _register(_tool)


@case(
    "call-1000",
    theme=_THEME,
    title="1,000 calls of yamllint --version, one after the other",
    count=1000,
    quick=50,
    rounds=3,
    ours=FORK,
)
def thousand() -> list[Contender]:
    return [_warm("yamllint", FORK, "fork"), _in_process("yamllint"), _warm("yamllint", REUSE, "reuse")]


_CODE = "import os\ndef f( a,b ):\n    return {  'a':a }\n"


def _piped(name: str, make: Callable[[Path], list[str]], *, warm: bool) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with _place() as folder:
            argv = make(folder)

            async def block(count: int) -> None:
                for _ in range(count):
                    subprocess.run(argv, input=_CODE, text=True, check=True, capture_output=True)

            await block(2)
            pids = _pids()
            ROOTS.update(pids)
            try:
                yield block
            finally:
                ROOTS.difference_update(pids)

    return Contender(name, "warm" if warm else "peer", opened, _missing("black"), share=1.0 if warm else 0.2)


def _launcher(folder: Path) -> list[str]:
    from warmshell.coprocess.forkserver import launcher

    target = launcher.Target(os.fsencode(_path("black")))
    return [str(launcher.write(folder / "bin", "black", target, launcher.Options())), "-q", "-"]


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
        words = [str(_path("black").with_name("blackd")), "--bind-host", "127.0.0.1", "--bind-port", str(port)]
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

    return Contender("blackd, asked by HTTP from within", "peer", opened, _missing("black"))


@case("call-black-format", theme=_THEME, title="black -q -: three lines", count=50, quick=10, rounds=5, ours=FORK)
def black_format() -> list[Contender]:
    return [
        _piped(COLD, lambda _: [str(_path("black")), "-q", "-"], warm=False),
        _piped(FORK, _launcher, warm=True),
        _blackd(),
    ]
