"""Commands in containers: warm, against the program that starts each one anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat

from bench.containers_lab import WITH, WITHOUT, box, missing
from bench.model import Block, Contender, Target, case
from bench.peers import answers, at_once, simple

_THEME = "containers"
OURS = "Warmshell"
_BARE = "Warmshell, no Python in the image"
_KEPT = "floor: one sh, kept open"
_ECHO = ["echo", "hi"]
_TEXT = (
    "The figure of a round is the median of its commands. The image of the second row has busybox and no Python; the "
    "others are measured in the one with a Python. The floor is a shell that is kept open by hand: no isolation, no "
    "separate outputs, no exact ends."
)
_SHARE = 0.06  # of what starts a process in a container each time


def _warm(kind: str, name: str, image: str) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        async with box(kind, image).connect(shells=1) as node:

            async def block(count: int) -> None:
                for _ in range(count):
                    (await node.run(_ECHO)).check()

            yield block

    return Contender(name, "warm", opened, missing(kind, image))


def _cold(kind: str, name: str, *, width: int = 1, share: float = _SHARE) -> Contender:
    async def one() -> None:
        process = await asyncio.create_subprocess_exec(
            *box(kind, WITH).words, *_ECHO, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, said = await process.communicate()
        if process.returncode or output != b"hi\n":
            raise RuntimeError(f"status {process.returncode}: {said.decode()}")

    return Contender(name, "peer", simple(at_once(one, width)), missing(kind, WITH), share)


def _kept(kind: str, *words: str) -> Contender:
    made = answers(lambda: [*_interactive(kind, words), "sh"], b"echo hi; echo $?\n", b"hi\n0\n")
    return Contender(_KEPT, "floor", made, missing(kind, WITH))


def _interactive(kind: str, words: tuple[str, ...]) -> list[str]:
    """The words of a program, with those that hand it the standard input."""
    own = list(box(kind, WITH).words)
    at = own.index("exec") + 1
    return [*own[:at], *words, *own[at:]]


def _targets(peer: str, least: int) -> list[Target]:
    return [
        Target(f"echo ≥ {least} x {peer}{what}", peer, name, ">=", least, floor=_KEPT)
        for name, what in ((OURS, ""), (_BARE, ", without a Python"))
    ]


def _sequence(kind: str, peer: str, *interactive: str) -> list[Contender]:
    return [
        _warm(kind, OURS, WITH),
        _warm(kind, _BARE, WITHOUT),
        _cold(kind, peer),
        _kept(kind, *interactive),
    ]


@case(
    "docker-echo",
    theme=_THEME,
    title='["echo", "hi"] in a container of Docker, one after the other',
    text=_TEXT,
    count=250,
    quick=100,
    rounds=5,
    each=True,
    targets=_targets("docker exec", 300),
)
def docker_echo() -> list[Contender]:
    return _sequence("docker", "docker exec", "--interactive")


@case(
    "apptainer-echo",
    theme=_THEME,
    title='["echo", "hi"] in an instance of Apptainer, one after the other',
    text=f"{_TEXT} `apptainer exec` is given the image, as is usual.",
    count=250,
    quick=100,
    rounds=5,
    each=True,
    targets=_targets("apptainer exec", 300),
)
def apptainer_echo() -> list[Contender]:
    return _sequence("apptainer", "apptainer exec")


@case(
    "kubernetes-echo",
    theme=_THEME,
    title='["echo", "hi"] in a pod, one after the other',
    text=_TEXT,
    count=250,
    quick=100,
    rounds=5,
    each=True,
    targets=_targets("kubectl exec", 200),
)
def kubernetes_echo() -> list[Contender]:
    return _sequence("kubernetes", "kubectl exec", "--stdin")


def _many(kind: str, width: int, image: str = WITH) -> Contender:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        from warmshell import Pool

        async with box(kind, image).connect(shells=width) as node, Pool([node], size=width) as pool:

            async def block(count: int) -> None:
                async for result in pool.map(repeat(_ECHO, count), ordered=False):
                    result.check()

            yield block

    name = f"{OURS if image == WITH else _BARE}, {width} at once"
    return Contender(name, "warm", opened, missing(kind, image))


@case(
    "docker-many",
    theme=_THEME,
    title='["echo", "hi"] in one container of Docker, many at once',
    text="All in one container.",
    count=3200,
    quick=640,
    rounds=3,
    ours=f"{OURS}, 16 at once",
)
def docker_many() -> list[Contender]:
    return [
        *[_many("docker", width, image) for image in (WITH, WITHOUT) for width in (16, 32)],
        *[_cold("docker", f"docker exec, {width} at once", width=width, share=0.02) for width in (16, 32)],
    ]


@case(
    "kubernetes-many",
    theme=_THEME,
    title='["echo", "hi"] in one pod, many at once',
    text="All in one pod, over one WebSocket where the image has a Python.",
    count=3200,
    quick=640,
    rounds=3,
    ours=f"{OURS}, 16 at once",
)
def kubernetes_many() -> list[Contender]:
    return [
        _many("kubernetes", 16),
        _many("kubernetes", 32),
        _cold("kubernetes", "kubectl exec, 16 at once", width=16, share=0.01),
    ]
