"""Waiting for what must come to pass, where no event tells."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

_LOOK_SECONDS = 0.01


async def eventually(
    predicate: Callable[[], bool | Awaitable[bool]], within: float = 5.0, what: str = "it did not come to pass"
) -> None:
    """Return as soon as the predicate holds.

    Raises:
        AssertionError: it did not within so many seconds.
    """
    deadline = time.monotonic() + within
    while True:
        answer = predicate()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        assert time.monotonic() < deadline, f"{what} within {within:g} s"
        await asyncio.sleep(_LOOK_SECONDS)


def eventually_sync(
    predicate: Callable[[], bool], within: float = 5.0, what: str | Callable[[], str] = "it did not come to pass"
) -> None:
    """The same, blocking.

    Raises:
        AssertionError: it did not within so many seconds.
    """
    deadline = time.monotonic() + within
    while not predicate():
        said = what if isinstance(what, str) else ""
        assert time.monotonic() < deadline, f"{said or what()} within {within:g} s"  # type: ignore[operator]
        time.sleep(_LOOK_SECONDS)
