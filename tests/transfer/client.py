"""A client that copies: ``python client.py CONFIG|- SERVER SOURCE TARGET``."""

from __future__ import annotations

import asyncio
import sys

import warmshell


async def main(config: str, server: str, source: str, target: str) -> None:
    def tell(progress: warmshell.Progress) -> None:
        sys.stdout.write(f"{progress.size}\n")
        sys.stdout.flush()

    where = warmshell.connect(f"ssh://hostA?config={config}&server={server}")
    async with where as node:
        await node.put(source, target, progress=tell)


asyncio.run(main(*sys.argv[1:]))
