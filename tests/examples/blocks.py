"""Code in texts, and running it: every block below ``<!-- runnable -->`` is executed, in the order of its text.

Python blocks of one text share their names, and ``await`` stands outside functions as it may in ``python -m
asyncio``. Shell blocks are scripts for ``sh -eu``. A block below ``<!-- prints -->`` is what the block before it
writes. As a program (``blocks.py TEXT``) this runs the Python blocks of one text, and writes a line with NUL after
each; that keeps what they do to their process away from the tests.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^<!-- (runnable|prints) -->\n+```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"^<!-- (?:runnable|prints) -->$", re.MULTILINE)
END = "\0\n"


@dataclass
class Block:
    """One block: its language, its line in the text, its code, and what it writes (if the text says)."""

    language: str
    line: int
    code: str
    prints: str | None = None


def blocks(path: Path) -> list[Block]:
    """The runnable blocks of a text.

    Raises:
        ValueError: a mark without a block, or a block of a language that cannot be run.
    """
    text = path.read_text(encoding="utf-8")
    found: list[Block] = []
    fences = list(_FENCE.finditer(text))
    if len(fences) != len(MARK.findall(text)):
        raise ValueError(f"{path}: a mark without a block below it")
    for fence in fences:
        line = text.count("\n", 0, fence.start(3)) + 1
        if fence[1] == "prints":
            if not found or found[-1].prints is not None:
                raise ValueError(f"{path}:{line}: output of no block")
            found[-1].prints = fence[3]
        elif fence[2] in ("python", "sh"):
            found.append(Block(fence[2], line, fence[3]))
        else:
            raise ValueError(f"{path}:{line}: {fence[2]!r} cannot be run")
    return found


def run(path: Path) -> None:
    """Run the Python blocks of a text in this process, those that await on one event loop."""
    names: dict[str, object] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks(path):
            if block.language == "python":
                code = "\n" * (block.line - 1) + block.code  # so that a traceback names lines of the text
                flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
                value = eval(compile(code, str(path), "exec", flags), names)
                if inspect.iscoroutine(value):
                    runner.run(value)
                sys.stdout.write(END)
                sys.stdout.flush()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
