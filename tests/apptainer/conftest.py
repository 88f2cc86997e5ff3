from __future__ import annotations

from collections.abc import Iterator

import pytest

from apptainer.lab import Apptainer, NotHere


@pytest.fixture(scope="session")
def apptainer_lab() -> Iterator[Apptainer]:
    """The program with its images, or a skip that says why there is none."""
    try:
        lab = Apptainer()
    except NotHere as why:
        pytest.skip(str(why))
    yield lab
    lab.close()


@pytest.fixture
def apptainer(apptainer_lab: Apptainer) -> Iterator[Apptainer]:
    """The same; after the test as many instances run as before."""
    before = len(apptainer_lab.instances())
    yield apptainer_lab
    apptainer_lab.nothing_left(but=before)
