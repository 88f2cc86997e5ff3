"""Containers, with a Python inside and without: a part of the suite each time, the whole of it when asked for.

``docker exec`` takes a while to start a session, and each test starts several: ``WARMSHELL_WHOLE=1`` asks for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import warmshell
from containers.lab import Docker
from warmshell.testing import LocationConformance
from warmshell.testing.exact_bytes import ExactBytes
from warmshell.testing.isolation import Isolation
from warmshell.testing.processes import Processes
from warmshell.testing.stateful import Stateful
from warmshell.testing.stdin import Stdin
from warmshell.testing.suite import Suite
from warmshell.testing.timeouts import Timeouts


class Container(Suite):
    image: ClassVar[str]
    lab: ClassVar[Docker]
    container: ClassVar[str]
    has_terminal = False

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _running(cls, docker_lab: Docker) -> Iterator[None]:
        cls.lab = docker_lab
        cls.container = docker_lab.start(cls.image)
        yield
        docker_lab.remove(cls.container)

    def connect(self, **options: Any) -> warmshell.Location:
        return self.lab.connect(self.container, **options)


WHOLE = bool(os.environ.get("WARMSHELL_WHOLE"))


class Part(Container, ExactBytes, Isolation, Processes, Stdin, Timeouts):
    pass


class StatefulPart(Container, ExactBytes, Processes, Stateful, Stdin):
    pass


class Whole(Container, LocationConformance):
    pass


class TestBusybox(Whole if WHOLE else StatefulPart):  # type: ignore[misc]
    """No Python: markers."""

    image = "warm/busybox:1"
    late_output_is_apart = False

    async def test_writing_to_one_that_reads_no_more(self, node: warmshell.Location) -> None:
        pytest.skip("`docker exec` does not tell that its program has closed its standard input")


class TestPython(Whole if WHOLE else Part):  # type: ignore[misc]
    image = "warm/python:1"
