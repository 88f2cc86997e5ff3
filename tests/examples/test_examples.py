"""Every example does what its last lines say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".sh"))


def with_warm(env: dict[str, str] | None = None) -> dict[str, str]:
    """The environment in which ``warm`` and ``python`` are those of the tests."""
    env = dict(os.environ if env is None else env)
    return {**env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}


def said(path: Path) -> str:
    """What the file says it prints."""
    _, found, tail = path.read_text(encoding="utf-8").partition("\n# prints:\n")
    assert found, f"{path} does not say what it prints"
    return "".join(line.removeprefix("#").removeprefix(" ") for line in tail.splitlines(keepends=True))


def test_there_are_examples():
    assert {path.suffix for path in EXAMPLES} == {".py", ".sh"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path, tmp_path):
    words = [sys.executable, "-W", "error", path] if path.suffix == ".py" else ["sh", path]
    done = subprocess.run(
        words, cwd=tmp_path, env=with_warm(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == said(path)
