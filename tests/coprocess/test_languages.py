"""Coprocesses in every language of the examples do the same as the ordinary command that they are, too."""

from __future__ import annotations

import subprocess

import pytest

from warmshell.coprocess import CoprocessPool

from .examples import LANGUAGES, example

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
