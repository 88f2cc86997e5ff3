"""One command after the other: what a command costs when nothing else runs."""

from __future__ import annotations

from bench import ours, peers
from bench.model import Contender, Target, case

_TRUE = "/bin/true"


def _builtin_targets() -> list[Target]:
    start = "a builtin ≤ 3 x the asyncio pipe ping-pong"
    floor = peers.DASH_PIPES
    return [
        Target("a builtin ≥ 10 x faster than asyncio.create_subprocess_exec", peers.ASYNCIO_EXEC, ours.OURS, ">=", 10),
        Target(f"{start} (add_reader)", ours.OURS, peers.CAT_READER, "<=", 3, floor=floor),
        Target(f"{start} (streams)", ours.OURS, peers.CAT_STREAMS, "<=", 3, floor=floor),
    ]


def _sequence(words: list[str], script: str) -> list[Contender]:
    return [
        ours.run(words),
        ours.run(words, name=ours.MARKERS, framing="markers"),
        ours.run(words, name=ours.BASH, shell="bash"),
        ours.stateful(script),
        ours.blocking_face(words),
        peers.asyncio_exec(words),
        peers.subprocess_run(words),
        peers.posix_spawn(words),
        peers.replwrap(script),
        peers.plumbum(script),
        peers.cat_raw(),
        peers.cat_reader(),
        peers.cat_streams(),
        peers.dash_raw(script),
        peers.dash_pipes(script),
    ]


@case(
    "builtin-echo",
    theme="latency",
    title='["echo", "hi"], one after the other',
    text="What a shell can do by itself costs no process: `node.run` against programs of the same name.",
    count=600,
    quick=100,
    targets=_builtin_targets(),
)
def builtin_echo() -> list[Contender]:
    return _sequence(["echo", "hi"], "echo hi")


@case(
    "builtin-true",
    theme="latency",
    title='["true"], one after the other',
    text="The same with nothing written at all.",
    count=600,
    quick=100,
    targets=_builtin_targets(),
)
def builtin_true() -> list[Contender]:
    return _sequence(["true"], "true")


@case(
    "external-true",
    theme="latency",
    title='["/bin/true"], one after the other',
    text="A real program: its fork and exec are the kernel's work, whoever asks for it.",
    count=400,
    quick=100,
    targets=[
        Target(
            "/bin/true ≤ 1.1 x os.posix_spawn with both pipes read by asyncio",
            ours.OURS,
            peers.POSIX_SPAWN,
            "<=",
            1.1,
            floor=peers.DASH_PIPES,
        )
    ],
)
def external_true() -> list[Contender]:
    return [
        one for one in _sequence([_TRUE], _TRUE) if one.name not in {peers.CAT_RAW, peers.CAT_READER, peers.CAT_STREAMS}
    ]


@case(
    "script",
    theme="latency",
    title="a sh script of one line, one after the other",
    text="A script runs in a fork of the warm shell, so that it cannot touch the next command; the peers "
    "start `sh -c` each time.",
    count=400,
    quick=100,
)
def script() -> list[Contender]:
    text = 'x=$((1 + 1)); [ "$x" = 2 ] && echo "$x"'
    argv = ["sh", "-c", text]
    return [
        ours.run(text),
        peers.asyncio_exec(argv),
        peers.subprocess_run(argv),
        peers.posix_spawn(argv),
        peers.plumbum(f"({text})"),
        peers.dash_raw(f"({text})"),
    ]
