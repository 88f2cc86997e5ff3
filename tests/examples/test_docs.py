"""What the texts say: their runnable blocks run, their links lead somewhere, the tests they name exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import END, Block, blocks
from .test_examples import ROOT, with_warm

TEXTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FILE = re.compile(r"`((?:tests|src)/[a-z0-9_/.-]+)(?:::(\w+))?`")
_PART = re.compile(r"`(\w+)::(test_\w+)`")  # of the conformance suite


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def runnable(language: str) -> list[Path]:
    return [path for path in TEXTS if any(block.language == language for block in blocks(path))]


def run(words: list[str | Path], where: Path) -> str:
    done = subprocess.run(
        words, cwd=where, env=with_warm(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.parametrize("path", runnable("python"), ids=name)
def test_python_blocks(path, tmp_path):
    wanted = [block for block in blocks(path) if block.language == "python"]
    outputs = run([sys.executable, "-W", "error", Path(__file__).with_name("blocks.py"), path], tmp_path).split(END)
    assert len(outputs) == len(wanted) + 1
    for block, output in zip(wanted, outputs, strict=False):
        check(path, block, output)


@pytest.mark.parametrize("path", runnable("sh"), ids=name)
def test_shell_blocks(path, tmp_path):
    for block in blocks(path):
        if block.language == "sh":
            check(path, block, run(["sh", "-euc", block.code], tmp_path))


def check(path: Path, block: Block, output: str) -> None:
    if block.prints is not None:
        assert output == block.prints, f"{name(path)}:{block.line}"


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    links = [link or picture for link, picture in _LINK.findall(text)]
    local = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_named_tests_exist(path):
    text, missing = path.read_text(encoding="utf-8"), []
    parts = [(f"src/warmshell/testing/{part}.py", function) for part, function in _PART.findall(text)]
    for file, function in [*_FILE.findall(text), *parts]:
        found = ROOT / file
        if not found.exists() or (function and function not in functions(found)):
            missing.append(f"{file}::{function}")
    assert missing == []


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_the_readme_and_the_guide_have_blocks_that_run():
    texts = {name(path) for path in runnable("python")} & {name(path) for path in runnable("sh")}
    assert "README.md" in texts


@pytest.mark.parametrize(
    "text",
    ["<!-- runnable -->\nnothing\n", "<!-- prints -->\n```text\nx\n```\n", "<!-- runnable -->\n```perl\n1\n```\n"],
)
def test_marks_that_mean_nothing_are_errors(text, tmp_path):
    path = tmp_path / "text.md"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"text\.md"):
        blocks(path)
