"""Podman by the same file as Docker: what is tested of its containers, once more."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import warmshell
from containers.lab import Docker, NotHere, Podman
from containers.test_conformance import WHOLE
from containers.test_conformance import Container as _Container
from containers.test_conformance import Part as _Part
from containers.test_docker import (  # with the fixture below instead of Docker's
    test_a_client_that_is_killed_leaves_no_container,
    test_a_command_of_its_own,
    test_a_container_that_does_not_run_is_named,
    test_containers_are_made_used_and_removed,
    test_no_value_of_a_variable_is_on_a_command_line,
    test_those_that_run_are_left_running,
    test_what_a_dead_client_left_is_swept_and_nothing_else,
    test_what_leaves_no_parent_is_reaped,
)
from warmshell.testing.exact_bytes import ExactBytes

__all__ = [
    "test_a_client_that_is_killed_leaves_no_container",
    "test_a_command_of_its_own",
    "test_a_container_that_does_not_run_is_named",
    "test_containers_are_made_used_and_removed",
    "test_no_value_of_a_variable_is_on_a_command_line",
    "test_those_that_run_are_left_running",
    "test_what_a_dead_client_left_is_swept_and_nothing_else",
    "test_what_leaves_no_parent_is_reaped",
]


@pytest.fixture(scope="module")
def podman_lab() -> Iterator[Docker]:
    """Podman, or a skip that says why there is none."""
    try:
        made = Podman()
    except NotHere as why:
        pytest.skip(str(why))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", made.path, prepend=os.pathsep)
        yield made
    made.close()


@pytest.fixture
def docker(podman_lab: Docker) -> Iterator[Docker]:
    yield podman_lab
    podman_lab.nothing_left()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "warm/nowhere:1", "pull": "never"}, "warm/nowhere"),
        ({"containers": ["no-such-container"]}, "no-such-container"),
        ({"image": "warm/busybox:1", "volume": ["/no/such/directory:/data"]}, "/no/such/directory"),
    ],
)
async def test_what_cannot_be_is_one_clear_error(docker: Docker, options: dict[str, object], words: str) -> None:
    connector = docker.connector(**options)  # type: ignore[arg-type]
    with pytest.raises(warmshell.WarmshellError, match=words):
        await connector.deploy()
    await connector.undeploy()


class Least(_Container, ExactBytes):
    pass


class TestPython(_Part if WHOLE else Least):  # type: ignore[misc]
    """Inside of one, a part of what Docker's have to do: `podman exec` takes several times as long to start."""

    image = "warm/python:1"

    @pytest.fixture(scope="class")
    @classmethod
    def docker_lab(cls, podman_lab: Docker) -> Docker:
        return podman_lab
