"""The Python tools that are run cold and warm: where they are, and a directory for their servers."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOOLS = Path(os.environ.get("VENV", ".venv")).absolute() / "tools"
THEME = "coprocess"
VARIABLE = "WARMSHELL_COPROCESS_DIR"
COLD = "cold"
FORK = "Warmshell: fork, C client"

LINES = {
    "black": ("code", ["--version"]),
    "sqlfluff": ("sql", ["--version"]),
    "cfn-lint": ("cfn", ["--version"]),
    "aws": ("aws", ["--version"]),
    "ansible": ("ansible", ["--version"]),
    "yamllint": ("code", ["--version"]),
    "pip": ("code", ["--version"]),
    "sphinx-build": ("sphinx", ["--version"]),
    "pygmentize": ("code", ["-V"]),
    "http": ("code", ["--version"]),
    "mypy": ("code", ["--version"]),
}


def path_of(tool: str) -> Path:
    """The program of a tool."""
    return _TOOLS / LINES[tool][0] / "bin" / tool


def missing(tool: str) -> str | None:
    """Why a tool cannot be run, or nothing."""
    return None if path_of(tool).exists() else "not installed: make tools"


@contextmanager
def place() -> Iterator[Path]:
    """A directory for servers, which end with it."""
    from warmshell.coprocess.forkserver import servers

    with tempfile.TemporaryDirectory(prefix="warmshell-bench-") as folder:
        previous = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            os.environ[VARIABLE] = folder
            servers.stop(set())
            os.environ.pop(VARIABLE)
            if previous is not None:
                os.environ[VARIABLE] = previous


def serving() -> set[int]:
    """The servers in the directory of the moment."""
    from warmshell.coprocess.forkserver import servers

    return {info.pid for info in servers.servers()}
