from __future__ import annotations

import pytest

from .far import Far


@pytest.fixture
def far():
    with Far() as far:
        yield far
