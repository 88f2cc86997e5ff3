"""Containers, with a Python inside and without, through the whole suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import warmshell
from containers.lab import Docker
from warmshell.testing import LocationConformance


class Container(LocationConformance):
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


class TestBusybox(Container):
    """No Python: markers."""

    image = "warm/busybox:1"
    late_output_is_apart = False


class TestPython(Container):
    image = "warm/python:1"
