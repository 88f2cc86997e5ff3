"""Clients that are killed at each step leave nothing; a tool that commands share is called as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from warmshell import NotSupported
from warmshell.coprocess import CoprocessPool
from warmshell.testing import eventually_sync

from .examples import example
from .test_pool import ODD
from .test_warm_shell import place, server_pids  # noqa: F401 - a fixture

_CLIENT = """
import asyncio, sys
from warmshell.coprocess import CoprocessPool

async def main():
    async with CoprocessPool(sys.argv[2:], size=2) as pool:
        if STATE != "first":
            await pool.run(["count"])
        if STATE == "idle":
            open(sys.argv[1], "w").write("idle")
            await asyncio.sleep(1000)
        await pool.run(["sleep", sys.argv[1]], stdin=b"x" * 1_000_000)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("state", ["first", "later", "idle"])
def test_nothing_is_left_of_a_client_that_is_killed(state: str, number: signal.Signals, tmp_path: Path) -> None:
    on = tmp_path / "on"
    code = _CLIENT.replace("STATE", repr(state))
    process = subprocess.Popen([sys.executable, "-c", code, str(on), *ODD], stdin=subprocess.DEVNULL)
    eventually_sync(lambda: on.exists() and on.read_text(), 20, lambda: "it to run")
    process.send_signal(number)
    assert process.wait(20) == -number
    # processes, descriptors and temporary files are looked for by the fixture of all tests


async def test_a_client_that_could_not_hear_of_its_processes_is_told_so() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(NotSupported):
            async with CoprocessPool(["true"]):
                pass
    finally:
        signal.signal(signal.SIGCHLD, before)


_CALL = """
import os, sys
from warmshell.coprocess.driver.client import call_fcli
words = [os.fsencode(word) for word in sys.argv[2:]]
call_fcli(words[:int(sys.argv[1])], words[int(sys.argv[1]):])
"""


def called(tool: list[str], *words: str | bytes, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    given = [sys.executable, "-c", _CALL, str(len(tool)), *tool, *words]
    done = subprocess.run(given, input=stdin, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["coprocess", "ordinary"])
def test_a_tool_that_commands_share(kind: str, place: Path, tmp_path: Path) -> None:  # noqa: F811
    marks = tmp_path / "marks"
    tool = example("python") if kind == "coprocess" else ["sh", "-c", f'echo x >>{marks}; cat; echo "$@"; exit 4', "sh"]
    for words in (["a", "b c", b"\xff"], [""], ["x"] * 300):
        done = subprocess.run([*tool, *words], input=b"in\n", capture_output=True, check=False)
        for _ in range(2):
            assert called(tool, *words, stdin=b"in\n") == (done.returncode, done.stdout, done.stderr)
    assert len(server_pids(place)) == 1
    if kind == "ordinary":
        assert marks.read_text() == "x\n" * 9


def test_warm_call_when_told_that_it_is_one(place: Path) -> None:  # noqa: F811
    tool = example("python")
    words = [sys.executable, "-m", "warmshell", "call", "--fcli", "--words", str(len(tool)), *tool, "a", "b"]
    for _ in range(2):
        done = subprocess.run(words, input=b"in\n", capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (2, b"a b\nIN\n", b"2 words\n")
    assert len(server_pids(place)) == 1


def test_a_shared_tool_that_dies(place: Path) -> None:  # noqa: F811
    for _ in range(2):
        assert called(ODD, "kill", "SIGSEGV")[0] == 139
        assert called(ODD, "count")[1].split()[1] == b"1"
        assert called(ODD, "exit", "9")[:2] == (9, b"last words")
    assert called(["no-such-tool-at-all"])[0] == 127
    assert os.listdir(place)
