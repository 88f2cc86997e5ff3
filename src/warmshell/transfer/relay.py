"""From one reader to many writers, through this machine: looked at once, at the pace of the slowest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from warmshell.errors import ArchiveError, CopyError
from warmshell.protocol.archive import ArchiveScanner, BadArchive

if TYPE_CHECKING:
    from warmshell.transfer.ends import Receiver, Sender
    from warmshell.transfer.progress import Meter


async def relay(sender: Sender, scanner: ArchiveScanner, receivers: Sequence[Receiver], meter: Meter) -> None:
    """Hand on the whole archive. A receiver that takes nothing any more does not hold up the others.

    Raises:
        ArchiveError: what the source sends is not what may be handed on.
        CopyError: the source could not be read.
    """
    try:
        async for data in sender:
            for piece in scanner.feed(data):
                await give(receivers, piece)
            meter.reached(scanner.size, scanner.files, scanner.name)
            if not any(receiver.lives for receiver in receivers):
                return
        await sender.check()
        scanner.finish()
    except BadArchive as error:
        raise ArchiveError(
            f"what the source sent was refused: {error}", location=sender.location.name,
            hint="nothing of it was kept",
        ) from None  # fmt: skip


async def give(receivers: Sequence[Receiver], data: bytes) -> None:
    """Hand the bytes to all; those that cannot take all of them at once are waited for together."""
    slow = []
    for receiver in receivers:
        sent = receiver.give_some(data)
        if sent < len(data):
            slow.append(receiver.give(memoryview(data)[sent:]))
    if len(slow) == 1:
        await slow[0]
    elif slow:
        await asyncio.gather(*slow)


def told(failures: dict[str, Exception], of: int) -> CopyError:
    """One error for all destinations that failed."""
    if len(failures) == 1 and of == 1:
        ((where, error),) = failures.items()
        text = f"{where}: {_words(error)}"
    else:
        text = f"{len(failures)} of {of} destinations failed: " + "; ".join(
            f"{where}: {_words(error)}" for where, error in failures.items()
        )
    number = next((error.errno for error in failures.values() if isinstance(error, OSError) and error.errno), None)
    return CopyError(text, failures=failures, errno=number)


def _words(error: Exception) -> str:
    return getattr(error, "message", None) or str(error)
