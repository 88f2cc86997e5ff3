from __future__ import annotations

import pytest

from .place import Place


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A place whose lines can be cut; after the test nothing may be left of its sessions."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = Place(tmp_path)
    yield place
    place.clean()
