"""An SSH host, with the session server and without, through the whole suite."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
import pytest_asyncio

import warmshell
from ssh.lab import Lab
from warmshell.testing import LocationConformance
from warmshell.testing.stateful import Stateful
from warmshell.testing.subshells import Subshells
from warmshell.testing.suite import Suite


class SshPart(Suite):
    server: ClassVar[bool] = True
    shell: ClassVar[str] = "sh"
    lab: ClassVar[Lab]
    local = True
    account = "nobody" if shutil.which("sudo") else None
    has_setsid = True

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _hosts(cls, ssh_lab: Lab) -> None:
        cls.lab = ssh_lab

    @pytest.fixture(autouse=True)
    def _nothing_left(self, lab: Lab) -> None:
        """What the fixture checks is checked after each test."""

    def connect(self, **options: Any) -> warmshell.Location:
        # Some tests compare with a process of this machine: where it runs must not make a difference.
        options.setdefault("cwd", os.getcwd())
        return self.lab.connect(server=self.server, shell=self.shell, **options)

    @pytest_asyncio.fixture
    async def observer(self, _needs: None) -> AsyncIterator[warmshell.Location]:
        """The host is this machine, which can be asked quicker."""
        async with warmshell.connect("local:") as node:
            yield node


class Ssh(SshPart, LocationConformance):
    pass


class OnChannels:
    """Without a session server, each process has a channel of its own."""

    async def test_writing_to_one_that_reads_no_more(self, node: warmshell.Location) -> None:
        pytest.skip("a channel of SSH does not tell that its program has closed its standard input")


class TestSshServer(Ssh):
    pass


class TestSshMarkers(OnChannels, Ssh):
    server = False
    late_output_is_apart = False


class TestSshServerBash(SshPart, Stateful, Subshells):
    shell = "bash"
    copies_all = True


class TestSshMarkersBash(SshPart, Stateful, Subshells):
    server = False
    shell = "bash"
    copies_all = True
    late_output_is_apart = False
