"""The command ``warm``: its entry point, and what every subcommand shares with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run ``warm`` and exit with its status.

    Args:
        argv: the words after ``warm``; those of this process by default.
    """
    from warmshell.cli.group import run

    sys.exit(run(argv))
