"""Instances, of a SIF without a Python and of a directory with one: a part of the suite each time, all when asked for.

Each session is started by a program that takes a while: ``WARMSHELL_WHOLE=1`` asks for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import warmshell
from apptainer.lab import Apptainer
from warmshell.testing import LocationConformance
from warmshell.testing.exact_bytes import ExactBytes
from warmshell.testing.processes import Processes
from warmshell.testing.stateful import Stateful
from warmshell.testing.stdin import Stdin
from warmshell.testing.suite import Suite
from warmshell.testing.timeouts import Timeouts
from warmshell.testing.words import Words


class Inside(Suite):
    image: ClassVar[str]
    lab: ClassVar[Apptainer]
    has_terminal = False

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _running(cls, apptainer_lab: Apptainer) -> Iterator[None]:
        if cls.image == "python" and not apptainer_lab.has_python:
            pytest.skip("there is no /usr/bin/python3 to make an image of")
        cls.lab = apptainer_lab
        apptainer_lab.start(cls.image, cls.__name__)
        yield
        apptainer_lab.stop(cls.__name__)

    def connect(self, **options: Any) -> warmshell.Location:
        return self.lab.connect(type(self).__name__, **options)


WHOLE = bool(os.environ.get("WARMSHELL_WHOLE"))


class Part(Inside, ExactBytes, Processes, Timeouts):
    pass


class StatefulPart(Inside, Processes, Stateful, Stdin):
    pass


class Whole(Inside, LocationConformance):
    pass


class NoServer(Suite):
    test_the_longest_word_arrives = Words.test_the_longest_word_arrives  # it takes a look at the system's limits

    async def test_writing_to_one_that_reads_no_more(self, node: warmshell.Location) -> None:
        pytest.skip("without a session server the far shell holds the same pipe")


class TestBusybox(NoServer, Whole if WHOLE else StatefulPart):  # type: ignore[misc]
    """No Python: markers."""

    image = "busybox.sif"
    late_output_is_apart = False


class TestPython(Whole if WHOLE else Part):  # type: ignore[misc]
    image = "python"


class TestImage(NoServer, Inside, Processes):
    """An image by itself, which each session is opened in anew."""

    image = "busybox"

    def connect(self, **options: Any) -> warmshell.Location:
        url = f"apptainer://{self.lab.image(self.image)}"
        return warmshell.connect(url, program=self.lab.program, **options)
