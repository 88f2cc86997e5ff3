"""Locations of every kind that files are copied between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import warmshell
from containers.conftest import docker_lab, shared_container
from ssh.conftest import lab, ssh_lab

__all__ = ["docker_lab", "lab", "shared_container", "ssh_lab"]

LOCAL = ("local", "local-markers")
REMOTE = ("ssh-server", "ssh-markers")


@pytest.fixture
def connect(request) -> Callable[[str], warmshell.Location]:
    """A location of a kind, by its name."""

    def make(kind: str) -> warmshell.Location:
        if kind == "local":
            return warmshell.connect("local:")
        if kind == "local-markers":
            return warmshell.connect("local:", framing="markers")
        if kind == "docker":
            return request.getfixturevalue("docker_lab").connect(request.getfixturevalue("shared_container"))
        lab = request.getfixturevalue("lab")
        return lab.connect("hostB" if kind == "ssh-second" else "hostA", server=kind != "ssh-markers")

    return make


@pytest.fixture(params=[*LOCAL, *REMOTE])
async def node(request, connect):
    """A location of every kind."""
    async with connect(request.param) as location:
        yield location
