"""What the subcommands share: running a coroutine under signals, times, environment and names of locations."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterable
from typing import Any

from warmshell.cli import exit_at_once_on_signals
from warmshell.errors import CommandError

BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell shows for a program that the signal ended
DEFAULT_LOCATION = "local:"

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def run_async(main: Coroutine[Any, Any, int]) -> int:
    """Run to the end, or until a signal asks to stop: then cancel, let the cleanup finish, and exit as the signal says.

    The cleanup is bounded, so a second Ctrl-C has nothing to hurry and is ignored.
    """
    received: list[int] = []

    async def supervised() -> int:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            if not received:
                received.append(number)
                task.cancel()

        for number in _signals():
            loop.add_signal_handler(number, stop, number)
        return await task

    try:
        status = asyncio.run(supervised())
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    except BrokenPipeError:  # told here, as click would make exit status 1 of it
        return broken_pipe()
    finally:
        exit_at_once_on_signals()  # all is cleaned up: another Ctrl-C must not turn the exit into a traceback
    return 128 + received[0] if received else status


def _signals() -> list[signal.Signals]:
    """Interrupt and terminate always; hang-up unless it is ignored on purpose (``nohup``)."""
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def exact(word: str) -> str:
    """A word of our own command line as text whose bytes are those the user gave, whatever the locale is."""
    return os.fsencode(word).decode("utf-8", "surrogateescape")


def seconds(text: str) -> float:
    """A time such as ``90``, ``1.5m``, ``2h``.

    Raises:
        CommandError: anything else.
    """
    unit = _UNITS.get(text[-1:])
    try:
        value = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise CommandError(f"a time limit is a positive number of seconds (or 1.5m, 2h, 1d), not {text!r}")
    return value


def environment(settings: Iterable[str], *, copy: bool = False) -> dict[str, str]:
    """The variables of ``--env NAME=VALUE``; with ``copy``, ``--env NAME`` takes the value from our environment.

    Raises:
        CommandError: an empty name, a value that is missing.
    """
    env: dict[str, str] = {}
    for setting in settings:
        name, equals, value = exact(setting).partition("=")
        if not name:
            raise CommandError(f"--env needs a name before '=': {setting!r}")
        if not equals:
            if not copy:
                raise CommandError(f"--env takes NAME=VALUE, not {setting!r}")
            if setting not in os.environ:
                raise CommandError(f"--env {setting}: no such variable is set here; give --env {setting}=VALUE")
            value = exact(os.environ[setting])
        env[name] = value
    return env


def broken_pipe() -> int:
    """End quietly when the reader of our output has gone, as a program that SIGPIPE ends does."""
    discard_output()
    return BROKEN_PIPE


def discard_output() -> None:
    """Send what Python still flushes at exit nowhere, once writing has failed: it must not fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
