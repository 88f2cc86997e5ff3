from __future__ import annotations

import pytest

from warmshell.protocol.dialect import Dialect

from .real_shells import dialect_of


@pytest.fixture
def shell(request: pytest.FixtureRequest) -> Dialect:
    """One installed shell after another."""
    return dialect_of(request.param)
