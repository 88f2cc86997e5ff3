"""What a third-party connector tests itself with: one suite, subclassed for each kind of location.

::

    import warmshell
    from warmshell.testing import LocationConformance

    class TestMine(LocationConformance):
        accounts = None                      # capability flags: what cannot be had is skipped with its reason

        def connect(self, **options):
            return warmshell.connect("mine://somewhere", **options)

Needs pytest with pytest-asyncio in its ``auto`` mode, and hypothesis. Every test opens the location, uses it and
closes it. :func:`check_leaks` is the check for what must not stay behind on this machine: wrap it around every test
with an autouse fixture.
"""

from __future__ import annotations

import pytest

_PARTS = (
    "accounts cancelling closing environment exact_bytes failures isolation leaks outputs pitfalls processes scripts"
    " shells_in_use stateful stdin subshells suite timeouts waiting words"
)
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS.split()))

from warmshell.testing.conformance import LocationConformance  # noqa: E402 - its asserts are to be rewritten
from warmshell.testing.leaks import Census, check_leaks  # noqa: E402
from warmshell.testing.suite import Suite  # noqa: E402
from warmshell.testing.waiting import eventually, eventually_sync  # noqa: E402

__all__ = ["Census", "LocationConformance", "Suite", "check_leaks", "eventually", "eventually_sync"]
