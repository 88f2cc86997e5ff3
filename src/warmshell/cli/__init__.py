"""The command ``warm``: its entry point, and what every subcommand shares with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run ``warm`` and exit with its status.

    Args:
        argv: the words after ``warm``; those of this process by default.
    """
    _open_standard_streams()
    try:
        from warmshell.cli.group import run

        status = run(argv)
    except KeyboardInterrupt:  # so early that nothing has been started, or so late that nothing is left
        status = 130
    sys.exit(status)


def _open_standard_streams() -> None:
    """Fill descriptors 0, 1 and 2 where the caller closed them, before a pipe of ours gets such a number.

    Input is empty then; writing output fails, as it does for other programs.
    """
    for wanted, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(wanted)
        except OSError:
            fd = os.open(os.devnull, mode)
            if fd != wanted:
                os.dup2(fd, wanted)
                os.close(fd)
            os.set_inheritable(wanted, True)
