from __future__ import annotations

from collections.abc import Iterator

import pytest

from containers.lab import Docker, NotHere


@pytest.fixture(scope="session")
def docker_lab() -> Iterator[Docker]:
    """A daemon, or a skip that says why there is none."""
    try:
        lab = Docker()
    except NotHere as why:
        pytest.skip(str(why))
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def shared_container(docker_lab: Docker) -> Iterator[str]:
    """A container with a Python that has this machine's directory for temporary files: its name.

    It lacks a right that root has, so that copies between the two are sent all the same.
    """
    name = docker_lab.start("warm/python:1", "--volume=/tmp:/tmp", "--cap-drop=FSETID")
    yield name
    docker_lab.remove(name)


@pytest.fixture
def docker(docker_lab: Docker) -> Iterator[Docker]:
    """The daemon; after the test it has as many containers as before."""
    before = len(docker_lab.containers())
    yield docker_lab
    docker_lab.nothing_left(but=before)
