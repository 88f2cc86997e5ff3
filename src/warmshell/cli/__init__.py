"""The command ``warm``: its entry point, and what every subcommand shares with it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run ``warm`` and exit with its status.

    Args:
        argv: the words after ``warm``; those of this process by default.
    """
    exit_at_once_on_signals()
    _open_standard_streams()
    from warmshell.cli.group import run

    sys.exit(run(argv))


def exit_at_once_on_signals() -> None:
    """End without a word on Ctrl-C or TERM: for the time when nothing is started yet, or nothing is left."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_at_once)


def _exit_at_once(number: int, _: object) -> None:
    os._exit(128 + number)


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
