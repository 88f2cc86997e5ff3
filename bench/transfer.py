"""Files at a host: questions about many at once, patterns over many. Needs the servers of the ssh theme."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from bench import copies, ssh_ours, ssh_peers
from bench.model import Block, Contender, Target, case
from bench.peers import package_missing, program_missing
from bench.ssh_lab import NEAR, NO_PYTHON, USER, missing
from bench.ssh_ours import OURS

_THEME = copies.THEME
_SCRIPTS = "Warmshell, no Python there"
_SFTP = "asyncssh sftp"


@contextmanager
def _tree(files: int) -> Iterator[Path]:
    """A directory with so many files, which the accounts of the lab can read."""
    where = Path(tempfile.mkdtemp(prefix="warm-bench-files-"))
    where.chmod(0o755)
    try:
        for number in range(files):
            (where / f"{2 * number}.txt").touch()
        yield where
    finally:
        shutil.rmtree(where)


def _ours(name: str, user: str, files: int, work: Callable[[Any, Path, int], Awaitable[None]]) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with ssh_ours.place(NEAR, user=user) as node:
            with _tree(files) as tree:

                async def block(count: int) -> None:
                    await work(node, tree, count)

                yield block

    return Contender(name, "warm", opened, missing(NEAR))


def _sftp(files: int, work: Callable[[Any, Path, int], Awaitable[None]], share: float = 1.0) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with ssh_peers.asyncssh_connection(NEAR) as connection, connection.start_sftp_client() as sftp:
            with _tree(files) as tree:

                async def block(count: int) -> None:
                    await work(sftp, tree, count)

                yield block

    return ssh_peers.peer(_SFTP, opened, package_missing("asyncssh"), share=share)


def _find(files: int) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with _tree(files) as tree:

            async def block(_count: int) -> None:
                words = [*ssh_peers.ssh_words(NEAR), f"find {tree} -name '*4.txt'"]
                process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
                output, _ = await process.communicate()
                _check(len(output.splitlines()), _MATCHES)

            yield block

    return ssh_peers.peer("ssh find, a connection for it", opened, program_missing("ssh"))


def _check(found: int, there: int) -> None:
    if found != there:
        raise RuntimeError(f"{found} of {there} were found")


# --- 1,000 questions at once


async def _exists(node: Any, tree: Path, count: int) -> None:
    answers = await asyncio.gather(*[node.path(str(tree / f"{number}.txt")).exists() for number in range(count)])
    _check(sum(answers), (count + 1) // 2)


async def _sftp_exists(sftp: Any, tree: Path, count: int) -> None:
    answers = await asyncio.gather(*[sftp.exists(str(tree / f"{number}.txt")) for number in range(count)])
    _check(sum(answers), (count + 1) // 2)


@case(
    "files-exists",
    theme=_THEME,
    title="1,000 concurrent exists at a host",
    text="The figure is that of one question. Half of the files are there. Each contender has one connection.",
    count=1000,
    quick=1000,
    rounds=5,
    targets=[Target("1,000 exists: no slower than asyncssh's sftp", _SFTP, OURS, ">=", 1 / 1.1)],
)
def files_exists() -> list[Contender]:
    return [
        _ours(OURS, USER, 500, _exists),
        _ours(_SCRIPTS, NO_PYTHON, 500, _exists),
        _sftp(500, _sftp_exists),
    ]


# --- a pattern over many files


async def _glob(node: Any, tree: Path, _count: int) -> None:
    found = 0
    async for _ in node.path(str(tree)).glob("**/*4.txt"):
        found += 1
    _check(found, _MATCHES)


async def _sftp_glob(sftp: Any, tree: Path, _count: int) -> None:
    _check(len(await sftp.glob(f"{tree}/*4.txt")), _MATCHES)


_FILES = 100_000
_MATCHES = _FILES // 5


@case(
    "files-glob",
    theme=_THEME,
    title="a pattern over 100,000 files at a host",
    text="Every fifth matches. ssh makes a connection for it.",
    count=1,
    quick=1,
    rounds=3,
    targets=[Target("glob: no slower than asyncssh's sftp", _SFTP, OURS, ">=", 1 / 1.1)],
)
def files_glob() -> list[Contender]:
    return [
        _ours(OURS, USER, _FILES, _glob),
        _ours(_SCRIPTS, NO_PYTHON, _FILES, _glob),
        _sftp(_FILES, _sftp_glob),
        _find(_FILES),
    ]
