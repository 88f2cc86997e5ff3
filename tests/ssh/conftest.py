from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssh.lab import Lab, Link, NotHere


@pytest.fixture(scope="session")
def ssh_lab() -> Iterator[Lab]:
    """Hosts, or a skip that says why there are none."""
    if os.geteuid() != 0:
        pytest.skip("ssh.sh: only root can start these servers")
    try:
        lab = Lab()
    except NotHere as why:
        pytest.skip(str(why))
    yield lab
    lab.close()
    assert not lab.sessions()


@pytest.fixture
def lab(ssh_lab: Lab) -> Iterator[Lab]:
    """The hosts; after the test nothing may be left, at the far end or of the client's sockets."""
    yield ssh_lab
    ssh_lab.nothing_left()
    assert not list(Path("/tmp").glob(f"warm-{os.getpid()}-*"))


@pytest.fixture(scope="session")
def ssh_link(ssh_lab: Lab) -> Iterator[Link]:
    try:
        link = Link(ssh_lab)
    except NotHere as why:
        pytest.skip(str(why))
    yield link
    link.close()


@pytest.fixture
def link(ssh_link: Link, lab: Lab) -> Iterator[Link]:
    """A host behind a slow link."""
    yield ssh_link
    ssh_link.mend()


@pytest.fixture(params=[True, False], ids=["server", "markers"])
def server(request: pytest.FixtureRequest) -> bool:
    """With and without the session server."""
    return request.param
