"""Bounded execution of many commands over many locations."""

from __future__ import annotations

from warmshell.pool.map import Results
from warmshell.pool.pool import Pool
from warmshell.pool.runner import Runner
from warmshell.pool.statistics import LocationStatistics, Statistics

__all__ = ["LocationStatistics", "Pool", "Results", "Runner", "Statistics"]
