"""Copies to a host: one large file, many small ones, one file to four hosts; cases of the transfer theme."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from bench import ssh_ours, ssh_peers
from bench.model import Block, Contender, Target, case
from bench.peers import package_missing, program_missing
from bench.ssh_lab import NEAR, NO_PYTHON, USER, current, missing
from bench.ssh_ours import OURS

THEME = "transfer"
_SCRIPTS = "Warmshell, no Python there"
_TAR, _TAR_GCM, _FOUR = "tar | ssh tar", "tar | ssh tar, aes128-gcm", "tar | ssh tar, four side by side"
_LARGE, _FILES = 200_000_000, 5000
_PLACES = 4

Make = Callable[[Path], None]
Once = Callable[[Path, Path], Awaitable[object]]


def _large(where: Path) -> None:
    with (where / "large").open("wb") as file:
        for _ in range(_LARGE // 1_000_000):
            file.write(os.urandom(1_000_000))


def _small(where: Path) -> None:
    (where / "small").mkdir()
    for number in range(_FILES):
        (where / "small" / f"{number}").write_bytes(os.urandom(1024))


@contextmanager
def _scene(make: Make) -> Iterator[tuple[Path, Path]]:
    """A source, and a directory that the accounts of the lab may write to."""
    top = Path(tempfile.mkdtemp(prefix="warm-bench-copies-"))
    try:
        top.chmod(0o755)
        (top / "from").mkdir()
        (top / "to").mkdir()
        (top / "to").chmod(0o777)
        make(top / "from")
        yield next((top / "from").iterdir()), top / "to"
    finally:
        shutil.rmtree(top, ignore_errors=True)


def _block(source: Path, target: Path, once: Once, copies: int) -> Block:
    """Copies again and again, each into a directory that is empty; checks that all of it came."""
    expected = _weight(source) * copies

    async def block(count: int) -> None:
        for _ in range(count):
            for place in target.iterdir():
                shutil.rmtree(place)
            for number in range(copies):
                (target / str(number)).mkdir()
                (target / str(number)).chmod(0o777)
            await once(source, target)
            if _weight(target) != expected:
                raise RuntimeError(f"{_weight(target)} of {expected} bytes came")

    return block


def _weight(top: Path) -> int:
    return sum(path.stat().st_size for path in [top, *top.rglob("*")] if path.is_file())


def _ours(name: str, make: Make, user: str, copies: int = 1) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        import warmshell

        with _scene(make) as (source, target):
            async with AsyncExitStack() as stack:
                nodes = [await stack.enter_async_context(ssh_ours.place(NEAR, user=user)) for _ in range(copies)]

                async def once(source: Path, target: Path) -> None:
                    places = [node.path(str(target / str(number))) for number, node in enumerate(nodes)]
                    await warmshell.copy(source, places)

                yield _block(source, target, once, copies)

    return Contender(name, "warm", opened, missing(NEAR))


def _peer(name: str, make: Make, once: Once, *needs: str | None, copies: int = 1, share: float = 1.0) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with _scene(make) as (source, target):
            yield _block(source, target, once, copies)

    return ssh_peers.peer(name, opened, *needs, share=share)


async def _sh(script: str) -> None:
    process = await asyncio.create_subprocess_exec("sh", "-c", script)
    if await process.wait():
        raise RuntimeError(f"{script} failed")


def _ssh(*options: str) -> str:
    return shlex.join(ssh_peers.ssh_words(NEAR, *options))


def _tar(*options: str, copies: int = 1) -> Once:
    async def once(source: Path, target: Path) -> None:
        reads = f"tar -C {source.parent} -cf - {source.name}"
        pipes = [f"{reads} | {_ssh(*options)} tar -C {target}/{number} -xf -" for number in range(copies)]
        await asyncio.gather(*[_sh(pipe) for pipe in pipes])

    return once


def _client(words: Callable[[Path, Path], Sequence[str]]) -> Once:
    async def once(source: Path, target: Path) -> None:
        await _sh(shlex.join(words(source, target / "0")))

    return once


def _scp(source: Path, target: Path) -> Sequence[str]:
    return ["scp", "-q", "-r", "-F", current().config, str(source), f"{USER}@{NEAR}:{target}/"]


def _rsync(source: Path, target: Path) -> Sequence[str]:
    shell = shlex.join(["ssh", "-F", current().config, "-l", USER])
    return ["rsync", "-a", "-e", shell, str(source), f"{NEAR}:{target}/"]


async def _sftp_put(source: Path, target: Path) -> None:
    batch = f"put -r {source} {target}/0/"
    await _sh(f"echo {shlex.quote(batch)} | sftp -q -b - -F {current().config} {USER}@{NEAR} >/dev/null")


async def _asyncssh_put(source: Path, target: Path) -> None:
    async with ssh_peers.asyncssh_connection(NEAR, ssh_peers.GCM) as connection:
        client: Any = await connection.start_sftp_client().__aenter__()
        await client.put(str(source), f"{target}/0/", recurse=source.is_dir())
        client.exit()


async def _fabric_put(source: Path, target: Path) -> None:
    with ssh_peers.fabric_connection(NEAR) as connection:
        for path in [source] if source.is_file() else sorted(source.iterdir()):
            connection.put(str(path), f"{target}/0/{path.name}")


def _peers(make: Make) -> list[Contender]:
    return [
        _peer(_TAR, make, _tar(), program_missing("ssh", "tar")),
        _peer(_TAR_GCM, make, _tar("-c", ssh_peers.GCM), program_missing("ssh", "tar")),
        _peer("scp", make, _client(_scp), program_missing("scp")),
        _peer("sftp", make, _sftp_put, program_missing("sftp")),
        _peer("rsync -a", make, _client(_rsync), program_missing("rsync")),
        _peer("asyncssh sftp put, aes128-gcm", make, _asyncssh_put, package_missing("asyncssh")),
        _peer("Fabric put", make, _fabric_put, package_missing("fabric")),
    ]


_TEXT = (
    "Ours goes over a connection that is there; each of the others makes one, which is a part of it (0.1 to 0.2 s). "
    "Every copy goes into an empty directory and is checked."
)


def _targets(peers: Sequence[str]) -> list[Target]:
    return [Target(f"no slower than 1.1 x {peer}", peer, OURS, ">=", 1 / 1.1) for peer in peers]


@case(
    "copy-large", theme=THEME, title="one file of 200 MB to a host", text=_TEXT, unit="batch", count=1, quick=1,
    rounds=5, targets=_targets([_TAR, _TAR_GCM, "scp", "sftp", "rsync -a", "asyncssh sftp put, aes128-gcm"]),
)  # fmt: skip
def copy_large() -> list[Contender]:
    return [_ours(OURS, _large, USER), _ours(_SCRIPTS, _large, NO_PYTHON), *_peers(_large)]


@case(
    "copy-small", theme=THEME, title="5,000 files of 1 KB to a host", text=_TEXT, unit="batch", count=1, quick=1,
    rounds=5, targets=_targets([_TAR, _TAR_GCM, "scp", "sftp", "rsync -a", "asyncssh sftp put, aes128-gcm"]),
)  # fmt: skip
def copy_small() -> list[Contender]:
    return [_ours(OURS, _small, USER), _ours(_SCRIPTS, _small, NO_PYTHON), *_peers(_small)]


@case(
    "copy-four", theme=THEME, title="one file of 200 MB to four places", unit="batch", count=1, quick=1, rounds=3,
    text="Four connections to the same machine, so that their ciphers compete for its processors. Ours reads once.",
    targets=[Target("no slower than four side by side", _FOUR, OURS, ">=", 1 / 1.1)],
)  # fmt: skip
def copy_four() -> list[Contender]:
    gcm = _tar("-c", ssh_peers.GCM, copies=_PLACES)
    return [
        _ours(OURS, _large, USER, _PLACES),
        _peer(_FOUR, _large, _tar(copies=_PLACES), program_missing("ssh", "tar"), copies=_PLACES),
        _peer(f"{_FOUR}, aes128-gcm", _large, gcm, program_missing("ssh", "tar"), copies=_PLACES),
    ]
