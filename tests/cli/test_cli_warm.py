"""The command itself: help without imports, versions, completion, doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from warmshell import __version__


def test_help_imports_no_subcommand_and_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['warm', '--help']\n"
        "from warmshell.cli import main\n"
        "try: main()\n"
        "finally:\n"
        "    heavy = [name for name in sys.modules if name in ('asyncio', 'rich') or 'warmshell.cli.' in name]\n"
        "    print(heavy, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("run", "map", "doctor", "demo"):
        assert f"  {name} " in done.stdout
    assert done.stderr == "['warmshell.cli.group']\n"


@pytest.mark.parametrize("command", ["run", "map", "sessions", "attach", "kill", "doctor"])
def test_every_subcommand_has_help(warm, command: str) -> None:
    assert f"warm {command}".encode() in warm.output(command, "--help")


def test_version(warm) -> None:
    assert warm.output("--version") == f"warm, version {__version__}\n".encode()


def test_without_a_subcommand_it_shows_its_help(warm) -> None:
    done = warm()
    assert done.returncode == 2
    assert b"Usage: warm" in done.stderr


def test_an_unknown_subcommand_is_one_sentence(warm) -> None:
    assert "wat" in warm.refused("wat")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(warm, shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from warmshell.cli import main; main()"],
        env={**os.environ, "_WARM_COMPLETE": f"{shell}_source"}, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, b"_WARM_COMPLETE" in done.stdout) == (0, True)


def test_completion_knows_subcommands_and_options() -> None:
    def complete(words: str, index: int) -> str:
        env = {**os.environ, "_WARM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
        done = subprocess.run(
            [sys.executable, "-c", "from warmshell.cli import main; main()"],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert "plain,map" in complete("warm m", 1)
    assert "plain,--keep-order" in complete("warm map --keep", 2)


def test_doctor_in_lines(warm) -> None:
    text = warm.output("doctor").decode()
    assert text.startswith("local  ok")
    assert "MISSING" not in text
    assert "own pipes" in text


def test_doctor_in_json(warm) -> None:
    found = json.loads(warm.output("doctor", "--json", "local:"))
    assert found["location"] == "local"
    checks = {check["name"]: check for check in found["checks"]}
    assert "markers" in checks["sh"]["found"]
    assert all(check["state"] in ("ok", "note") for check in checks.values())


def test_doctor_finds_what_is_missing(warm) -> None:
    warm.env["TMPDIR"] = "/nosuch"
    done = warm("doctor")
    assert done.returncode == 1
    assert b"MISSING  temporary files" in done.stdout


def test_doctor_of_an_unknown_location(warm) -> None:
    assert "nowhere:" in warm.refused("doctor", "nowhere:")
