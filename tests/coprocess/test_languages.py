"""Coprocesses in every language of the examples do the same as the ordinary command that they are, too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from warmshell.coprocess import CoprocessPool

from .examples import EXAMPLES, LANGUAGES, example

WORDS = [[], ["x", "y z", ""], ['it\'s\n"q"\\', "$(x)*", "é\t"], ["u0022", "\\u0022", "]}", "},{"]]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_cold_and_warm(language: str) -> None:
    tool = example(language)
    async with CoprocessPool(tool, size=1) as pool:
        for words in WORDS:
            done = subprocess.run([*tool, *words], input=b"1\nab\xff\n", capture_output=True, check=False)
            for _ in range(2):
                result = await pool.run(words, stdin=b"1\nab\xff\n")
                assert (result.returncode, result.stdout, result.stderr) == (done.returncode, done.stdout, done.stderr)
        assert pool.statistics().started == 1
        assert bytes(pool.log) == b""


@pytest.mark.parametrize("language", LANGUAGES)
async def test_surroundings(language: str, tmp_path) -> None:
    async with CoprocessPool(example(language), size=1) as pool:
        plain = (await pool.run(["--where"])).text
        where = (await pool.run(["--where"], cwd=tmp_path, env={"COLOUR": 'r"e\nd\\'})).text
        assert where == f'{tmp_path} r"e\nd\\\n'
        assert (await pool.run(["--where"])).text == plain
        assert pool.statistics().started == 1


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one.values[0] != "node"])  # it cannot hold such words
async def test_bytes_that_are_no_text(language: str) -> None:
    async with CoprocessPool(example(language), size=1) as pool:
        for _ in range(2):
            assert (await pool.run([b"\xff\xfe\x01"])).stdout == b"\xff\xfe\x01\n"


_OPENS_EACH_TIME = """
[ "$FCLI_VERSION" = 1 ] || { echo "run: $*"; exit; }
requests=$FCLI_REQUEST_FIFO responses=$FCLI_RESPONSE_FIFO
unset FCLI_VERSION FCLI_REQUEST_FIFO FCLI_RESPONSE_FIFO FCLI_CLIENT_PID FCLI_STREAMS FCLI_LOG
while IFS= read -r line <"$requests"; do
    case $line in
    '{"argv":'*) echo "served: $line"; echo '{"status":0}' >"$responses" ;;
    *) echo '{"status":2}' >"$responses" ;;
    esac
done
"""


def _of_the_specification() -> str:
    text = (EXAMPLES.parents[1] / "docs/fcli.md").read_text(encoding="utf-8")
    return text.split("## A coprocess in POSIX sh")[1].split("```sh\n")[1].split("```")[0]


@pytest.mark.parametrize("kind", ["the specification's own", "one that opens the pipes for each message"])
async def test_the_smallest_coprocesses(kind: str, tmp_path: Path) -> None:
    tool = tmp_path / "tool.sh"
    tool.write_text(_of_the_specification() if "own" in kind else _OPENS_EACH_TIME, encoding="utf-8")
    cold = subprocess.run(["sh", tool, "a"], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    assert cold.stdout == b"run: a\n"
    async with CoprocessPool(["sh", str(tool)], size=1) as pool:
        for word in ("a", "b", "c"):
            result = await pool.run([word], timeout=30)
            assert (result.returncode, result.text) == (0, f'served: {{"argv":["{tool}","{word}"]}}\n')
        assert pool.statistics().started == 1
