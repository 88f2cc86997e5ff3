"""Keeps files and functions short: no file over 500 lines, no function over 40, nine of ten at most 25."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 500
FUNCTION_LINES = 40
MOST_LINES = 25
SHARE = 0.9

_ROOT = Path(__file__).parents[2]
_TREES = ("src", "bench", "examples")


def functions(path: Path) -> Iterator[tuple[int, str]]:
    """The length of every function of a file, from its ``def`` to its last line, docstring included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield length, f"{path}:{node.lineno}: {node.name} has {length} lines"


def complaints(paths: list[Path]) -> list[str]:
    """What is too long among these files."""
    found = []
    lengths = []
    for path in paths:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES:
            found.append(f"{path}: {lines} lines; {FILE_LINES} is the most")
        for length, text in functions(path):
            lengths.append(length)
            if length > FUNCTION_LINES:
                found.append(f"{text}; {FUNCTION_LINES} is the most")
    lengths.sort()
    if lengths and (length := lengths[int(SHARE * (len(lengths) - 1))]) > MOST_LINES:
        found.append(f"one function in ten has {length} lines or more; {MOST_LINES} is the most")
    return found


def main() -> int:
    found = complaints(sorted(path for tree in _TREES for path in (_ROOT / tree).rglob("*.py")))
    sys.stdout.write("\n".join(found or ["sizes: all within the limits"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
