"""Tools kept running and fed one invocation after another."""

from __future__ import annotations
