"""The pool of coprocesses without ``async``."""

from __future__ import annotations

from typing import Any

from warmshell.blocking import _Open
from warmshell.command import Result, Words
from warmshell.coprocess import pool
from warmshell.coprocess.statistics import CoprocessStatistics


class CoprocessPool(_Open[pool.CoprocessPool]):
    """Runs a tool again and again without starting it again and again; see :class:`warmshell.coprocess.CoprocessPool`.

    Several threads may use it at once.
    """

    def __init__(self, tool: Words, **options: Any) -> None:
        super().__init__(lambda: pool.CoprocessPool(tool, **options), "pool of coprocesses")

    def run(self, argv: Words = (), **options: Any) -> Result:
        """Give the tool these words; see :meth:`warmshell.coprocess.CoprocessPool.run`."""
        return self._ask(lambda inner: inner.run(argv, **options))

    def statistics(self) -> CoprocessStatistics:
        """How it is doing now."""

        async def ask(inner: pool.CoprocessPool) -> CoprocessStatistics:
            return inner.statistics()

        return self._ask(ask)
