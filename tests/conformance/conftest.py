"""One guardian for all tests of a file, as starting it takes longer than most of them; ``faults`` has others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from warmshell.guardian import client


@pytest.fixture(scope="module", autouse=True)
def one_guardian() -> Iterator[None]:
    guardian = client.acquire()
    yield
    asyncio.run(client.release(guardian))
