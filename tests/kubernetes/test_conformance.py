"""Containers of pods, with a Python inside and without: a part of the suite each time, the whole of it when asked for.

The server of the tests' own cluster speaks version 4 of the protocol; ``WARMSHELL_WHOLE=1`` asks for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import warmshell
from kubernetes.lab import BUSYBOX, PYTHON, Kubernetes
from warmshell.testing import LocationConformance
from warmshell.testing.processes import Processes
from warmshell.testing.suite import Suite


class Container(Suite):
    image: ClassVar[str]
    kube: ClassVar[Kubernetes]
    pod: ClassVar[str]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _running(cls, cluster: Kubernetes) -> Iterator[None]:
        cls.kube = cluster
        cls.pod = cluster.start(cls.__name__.lower(), cls.image)
        yield
        cluster.remove(cls.pod)

    def connect(self, **options: Any) -> warmshell.Location:
        return self.kube.connect(self.pod, **options)


WHOLE = bool(os.environ.get("WARMSHELL_WHOLE"))


class Part(Container, Processes):
    """A process of its own is what depends most on what carries its streams; the rest passes with the stand-in."""


class Whole(Container, LocationConformance):
    pass


class TestBusybox(Whole if WHOLE else Part):  # type: ignore[misc]
    """No Python: markers, and standard input that is counted."""

    image = BUSYBOX
    late_output_is_apart = False

    async def test_writing_to_one_that_reads_no_more(self, node: warmshell.Location) -> None:
        pytest.skip("the API server does not tell that a program has closed its standard input")


class TestPython(Whole if WHOLE else Part):  # type: ignore[misc]
    image = PYTHON
