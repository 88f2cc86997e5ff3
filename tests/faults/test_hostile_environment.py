"""A client whose own environment would lead shells astray."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import warmshell

HOSTILE = {
    "SHELLOPTS=errexit": {"SHELLOPTS": "errexit"},
    "SHELLOPTS=xtrace": {"SHELLOPTS": "xtrace:verbose"},
    "SHELLOPTS=noexec": {"SHELLOPTS": "noexec"},
    "BASHOPTS": {"BASHOPTS": "extdebug:failglob"},
    "POSIXLY_CORRECT": {"POSIXLY_CORRECT": "1"},
    "CDPATH": {"CDPATH": "/:/usr"},
    "PS4": {"PS4": "$(echo pwned >&2)"},
    "IFS": {"IFS": "0123456789"},
    "ENV": {"ENV": "/dev/stdin"},
    "a function over echo": {"BASH_FUNC_echo%%": "() { builtin echo hijacked; }"},
    "a function over cd": {"BASH_FUNC_cd%%": "() { :; }"},
    "a function over eval": {"BASH_FUNC_eval%%": "() { :; }"},
    "a function over unset": {"BASH_FUNC_unset%%": "() { echo hijacked; }"},
    "a function over hash": {"BASH_FUNC_hash%%": "() { echo hijacked; }"},
    "a function over command": {"BASH_FUNC_command%%": "() { echo hijacked; }"},
    "a function over cat": {"BASH_FUNC_cat%%": "() { echo hijacked; }"},
    "a function over test": {"BASH_FUNC_test%%": "() { echo hijacked; }"},
    "TMOUT": {"TMOUT": "1"},
    "OLDPWD": {"OLDPWD": "/nowhere", "PWD": "/nowhere"},
    "a tag of an outer client": {"WARMSHELL_COMMAND": "x.1", "WARMSHELL_SESSION": "x"},
    "variables of the framing": {"s": "7", "_warm_s": "7", "N": "7", "W": "7", "_warm_line": "7", "_warm_nl": "7"},
    "PYTHON": {"PYTHONSTARTUP": "/nowhere", "PYTHONHOME": "/nowhere"},
    "no HOME": {"HOME": "/nowhere"},
    "LC_ALL": {"LC_ALL": "xx_YY.nonsense"},
}


@pytest.mark.parametrize("framing", ["pipes", "markers"])
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
@pytest.mark.parametrize("variables", HOSTILE.values(), ids=HOSTILE)
async def test_commands_are_right_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], shell: str, framing: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    here = os.getcwd()
    async with warmshell.connect("local:", shell=shell, framing=framing, shells=1) as node:
        for _ in range(2):
            assert (await node.run(["false"], timeout=20)).returncode == 1
            result = await node.run(["printf", "%s|", "a b", "0 1"], timeout=20)
            assert (result.returncode, result.stdout) == (0, b"a b|0 1|")
            result = await node.run(["cat"], stdin=b"given", timeout=20)
            assert (result.returncode, result.stdout) == (0, b"given")
            result = await node.run(["env", "pwd"], cwd=tmp_path, timeout=20)
            assert result.stdout == os.fsencode(tmp_path) + b"\n"
            result = await node.run(["env", "pwd"], timeout=20)
            assert result.stdout == os.fsencode(here) + b"\n"
            result = await node.run(["printenv", "A", "a.b"], env={"A": "1", "a.b": "2"}, timeout=20)
            assert result.stdout == b"1\n2\n"
