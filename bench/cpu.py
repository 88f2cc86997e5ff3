"""Processor time of the harness, its children, and servers that it started but that are not its children."""

from __future__ import annotations

from warmshell.cli.usage import CpuMeter, tree_seconds

ROOTS: set[int] = set()
"""Processes whose work, and that of all below them, belongs to what is measured."""


class Meter:
    """Counts from now on.

    Attributes:
        served: of what was read last, the part of :data:`ROOTS`: without that of clients, and of the harness.
    """

    def __init__(self) -> None:
        self._roots = {pid: tree_seconds(pid) for pid in ROOTS}
        self._own = CpuMeter()
        self.served = 0.0

    def read(self) -> float:
        """Processor seconds since the meter was made."""
        own = self._own.read()
        self.served = sum(max(0.0, tree_seconds(pid) - before) for pid, before in self._roots.items())
        return own + self.served
