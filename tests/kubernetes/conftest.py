from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kubernetes.lab import Kubernetes, NotHere


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """A cluster, or a skip that says why there is none."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    base = tmp_path_factory.getbasetemp()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    try:
        lab = Kubernetes(base.parent if worker else base, run, worker or "alone")
    except NotHere as why:
        pytest.skip(str(why))
    yield lab
    lab.close()


@pytest.fixture
def alone() -> None:
    """For tests that disturb the whole cluster: no other one uses it meanwhile."""


@pytest.fixture(autouse=True)
def _undisturbed(request: pytest.FixtureRequest) -> Iterator[None]:
    own = request.getfixturevalue("cluster").own if "cluster" in request.fixturenames else None
    if own is None:
        yield
        return
    with own.undisturbed(alone="alone" in request.fixturenames):
        yield


@pytest.fixture
def kube(cluster: Kubernetes) -> Iterator[Kubernetes]:
    """The cluster; after the test there are as many objects as before."""
    before = len(cluster.names())
    yield cluster
    cluster.nothing_left(but=before)
