"""This machine, by every shell and both framings, through the whole suite."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any, ClassVar

import warmshell
from warmshell.testing import LocationConformance


def other_account() -> str | None:
    """An account that commands can run as without a password."""
    if os.geteuid() != 0 or shutil.which("sudo") is None:
        return None
    done = subprocess.run(["sudo", "-n", "-u", "nobody", "--", "true"], capture_output=True, check=False)
    return "nobody" if done.returncode == 0 else None


ACCOUNT = other_account()


class Local(LocationConformance):
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


class Markers(Local):
    framing = "markers"
    late_output_is_apart = False


class TestShPipes(Local):
    pass


class TestShMarkers(Markers):
    pass


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
