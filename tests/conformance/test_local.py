"""This machine, by every shell and both framings, through the whole suite."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest

import warmshell
from warmshell.testing import LocationConformance, Suite
from warmshell.testing.environment import Environment
from warmshell.testing.exact_bytes import ExactBytes
from warmshell.testing.scripts import Scripts
from warmshell.testing.words import Words


def other_account() -> str | None:
    """An account that commands can run as without a password."""
    if os.geteuid() != 0 or shutil.which("sudo") is None:
        return None
    done = subprocess.run(["sudo", "-n", "-u", "nobody", "--", "true"], capture_output=True, check=False)
    return "nobody" if done.returncode == 0 else None


ACCOUNT = other_account()


class ThisMachine(Suite):
    framing: ClassVar[str] = "pipes"
    shell: ClassVar[str] = "sh"
    local = True
    account = ACCOUNT
    has_setsid = shutil.which("setsid") is not None

    def connect(self, **options: Any) -> warmshell.Location:
        return warmshell.connect("local:", shell=self.shell, framing=self.framing, **options)

    def missing(self) -> str | None:
        if shutil.which(self.shell) is None:
            return f"{self.shell} is not installed"
        if self.framing == "pipes" and not os.path.exists("/proc/self/fd"):
            return "own pipes need Linux's /proc"
        return None


class Local(ThisMachine, LocationConformance):
    pass


class Markers(Local):
    framing = "markers"
    late_output_is_apart = False


# sh is mostly one of the others under another name, whose tests need not all be done twice.
SH_IS_ANOTHER = os.path.basename(os.path.realpath(shutil.which("sh") or "sh")) in ("dash", "bash", "busybox")


class ByName(ThisMachine, ExactBytes, Words, Scripts, Environment):
    pass


class TestShPipes(ByName if SH_IS_ANOTHER else Local):  # type: ignore[misc]
    pass


class TestShMarkers(ByName if SH_IS_ANOTHER else Local):  # type: ignore[misc]
    framing = "markers"
    late_output_is_apart = False


class TestDashPipes(Local):
    shell = "dash"


class TestDashMarkers(Markers):
    shell = "dash"


class TestBashPipes(Local):
    shell = "bash"
    copies_all = True


class TestBashMarkers(Markers):
    shell = "bash"
    copies_all = True


class TestBusyboxPipes(Local):
    shell = "busybox"


class TestBusyboxMarkers(Markers):
    shell = "busybox"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
async def test_descriptors_of_a_shell_with_a_state_are_its_users(shell: str, tmp_path: Path) -> None:
    """But for the ninth, on which it tells its commands' status."""
    async with warmshell.connect("local:") as node, node.shell(shell) as kept:
        for number in range(3, 9):
            assert (await kept.run(f"echo none >&{number}")).returncode != 0
            assert (await kept.run(f"exec {number}>{tmp_path}/file; echo a >&{number}")).ok
            assert (await kept.run(f"echo b >&{number}; exec {number}>&-")).ok
            assert (tmp_path / "file").read_bytes() == b"a\nb\n"
        async with kept.subshell() as copy:
            assert (await copy.run("echo none >&8")).returncode != 0
