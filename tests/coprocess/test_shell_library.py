"""warmshell.sh: a script's tool becomes a coprocess without other changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from warmshell.testing import eventually_sync

from .examples import LIBRARY, SHELLS, example

HERE = Path(__file__).parent
ODD = f"{sys.executable} {HERE / 'tools/odd.py'}"
UPPER = " ".join(example("python"))


def script(shell: list[str], text: str, where: Path, tool: str) -> subprocess.CompletedProcess[bytes]:
    before = {**os.environ, "TOOL": tool, "LIBRARY": str(LIBRARY), "TMPDIR": os.environ.get("TMPDIR", str(where))}
    return subprocess.run(
        [*shell, "-c", text], cwd=where, env=before, stdin=subprocess.DEVNULL, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip


WARM = '. "$LIBRARY"\nwarm_coprocess foo $TOOL\n'
COLD = 'eval "foo() { $TOOL \\"\\$@\\"; }"\n'


def both(shell: list[str], text: str, where: Path, tool: str = UPPER) -> list[tuple[int, bytes, bytes]]:
    outcomes = []
    for kind in (COLD, WARM):
        done = script(shell, kind + text, where, tool)
        outcomes.append((done.returncode, done.stdout, done.stderr))
    return outcomes


@pytest.mark.parametrize("shell", SHELLS)
def test_the_proposals_own_example(shell: list[str], tmp_path: Path) -> None:
    text = "seq 3 | foo x y z >out.txt 2>err.txt; echo $?; cat out.txt; cat err.txt >&2\n" * 3
    cold, warm = both(shell, text, tmp_path)
    assert cold == warm
    assert cold == (0, b"3\nx y z\n1\n2\n3\n" * 3, b"3 words\n" * 3)


TEXTS = [
    "foo a 'b c' ''\nfoo a\n",
    "foo 'it'\\''s' '\"q\\' 'two\nlines' '*'\nfoo \"$(printf '\\t\\r\\001')\"; echo $?\n",
    "for i in 1 2 3; do echo $i | foo a | cat; done\n",
    "foo p | foo q | foo r\nfoo p | foo q\n",
    "{ echo before; foo a; echo after; } >both; cat both\n" * 2,
    "foo a >>log; foo b >>log; echo c >>log; cat log; rm log\n" * 2,
    "echo file >in; foo a <in; foo b <in\n",
    "foo a >out 2>&1; cat out; foo b >out 2>&1; cat out\n",
    "foo a; cd /; foo --where; foo b\n",
    'x=$(foo a b); echo "$x" $?\nx=$(foo a b; exit $?); echo "$x" $?\n',
    "( foo a; echo done ) | cat; ( foo a >/dev/null; echo done ) | cat\n",
    "set -eu; foo; foo a || echo not\n",
    "set -f; foo '*' | cat; set +f; IFS=:; foo a:b; echo *.nothing\n",
    "mkfifo p; echo named >p & foo a <p; echo again >p & foo a <p; rm p; wait\n",
]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_same_bytes_and_status(shell: list[str], tmp_path: Path) -> None:
    clean = "rm -f out err in p f log both"
    text = "".join(f"echo {number}; (\n{text})\necho $?; {clean}\n" for number, text in enumerate(TEXTS))
    cold, warm = both(shell, text, tmp_path)
    assert warm[1].split(b"\n") == cold[1].split(b"\n")
    assert warm == cold


@pytest.mark.parametrize("shell", SHELLS)
def test_it_is_warm(shell: list[str], tmp_path: Path) -> None:
    done = script(shell, WARM + "foo count\nfoo count | cat\nfoo count >f; cat f\n", tmp_path, ODD)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [line[1] for line in lines] == ["1", "2", "3"]
    assert len({line[0] for line in lines}) == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tools_end_is_the_status(shell: list[str], tmp_path: Path) -> None:
    text = "foo kill SIGKILL; echo $?; foo count; foo exit 7; echo ' '$?; foo count; foo leave 3; echo $?; foo count\n"
    done = script(shell, WARM + text, tmp_path, ODD)
    lines = [line.split()[-1] for line in done.stdout.decode().splitlines()]
    assert lines == ["137", "1", "7", "1", "3", "3"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("tool", ["ordinary", "published"])
def test_a_tool_that_a_shell_cannot_keep_is_an_ordinary_command(shell: list[str], tool: str, tmp_path: Path) -> None:
    text = "foo a; echo $?; echo in | foo b | cat; foo c >f 2>&1; cat f\n"
    words = f"{sys.executable} {HERE / 'tools/published.py'}"
    if tool == "ordinary":
        (tmp_path / "tool").write_text("echo x >>marks; echo $1; cat; echo e >&2; exit 5\n")
        words = "sh tool"
    cold, warm = both(shell, text, tmp_path, words)
    assert warm == cold
    if tool == "ordinary":
        assert (tmp_path / "marks").read_text() == "x\n" * 6  # three cold and three warm: none in vain, none twice


@pytest.mark.parametrize("shell", SHELLS)
def test_variables_by_name(shell: list[str], tmp_path: Path) -> None:
    text = "WARM_ENV='COLOUR OTHER'; foo --where; export COLOUR='a \"b'; foo --where; unset COLOUR; foo --where\n"
    cold, warm = both(shell, text, tmp_path)
    assert warm == cold


def test_a_directory_that_is_written_to_while_it_goes_is_gone_nevertheless(tmp_path: Path, monkeypatch) -> None:
    rm, mark = tmp_path / "rm", tmp_path / "tried"
    rm.write_text(f'#!/bin/sh\n[ -e {mark} ] || {{ : >{mark}; exit 1; }}\nPATH=/usr/bin:/bin exec rm "$@"\n')
    rm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert script(["sh"], WARM + "foo count >/dev/null\n", tmp_path, ODD).returncode == 0
    eventually_sync(mark.exists, 20, lambda: "the first try")
    # that the directory is gone is seen to by the fixture of all tests


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_nothing_is_left_of_a_killed_script(shell: list[str], state: str, tmp_path: Path) -> None:
    text = WARM + "foo count; " + ("foo sleep on" if state == "busy" else "echo ready >on; read never") + "\n"
    read, write = os.pipe()
    environment = {**os.environ, "TOOL": ODD, "LIBRARY": str(LIBRARY)}
    process = subprocess.Popen(
        [*shell, "-c", text], cwd=tmp_path, env=environment, stdin=read, stdout=subprocess.DEVNULL
    )
    os.close(read)
    eventually_sync(lambda: (tmp_path / "on").exists() and (tmp_path / "on").read_text(), 20, lambda: "ready")
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.close(write)
    # what is left is looked for by the fixture of all tests, in processes, descriptors and temporary files
