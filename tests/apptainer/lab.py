"""Apptainer for one test process, by ``tests/backends/apptainer.sh``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import warmshell
from warmshell.connector.singularity import ApptainerConnector
from warmshell.testing import eventually_sync

SCRIPT = Path(__file__).parents[1] / "backends" / "apptainer.sh"


class NotHere(Exception):
    """It cannot run here; the text says why."""


class Apptainer:
    """A program whose instances are seen by no other, and images: ``busybox.sif``, ``busybox``, perhaps ``python``."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="wapptainer-", dir="/tmp"))
        self.program = str(self.home / "bin" / "apptainer")
        self._run("start")

    def _run(self, word: str) -> None:
        done = subprocess.run(
            [SCRIPT, word], env={**os.environ, "APPTAINERLAB": str(self.home)}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        if done.returncode == 3:
            shutil.rmtree(self.home, ignore_errors=True)
            raise NotHere(done.stderr.strip() + " (see tests/backends/packages.sh)")
        assert done.returncode == 0, f"apptainer.sh {word}: {done.stderr}"

    def image(self, name: str) -> str:
        return str(self.home / "images" / name)

    @property
    def has_python(self) -> bool:
        return Path(self.image("python")).exists()

    def ask(self, *words: str, check: bool = True) -> str:
        """What the program answers."""
        done = subprocess.run(
            [self.program, "--quiet", *words], capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, image: str, name: str, *options: str) -> str:
        """An instance that runs until it is stopped; its name."""
        self.ask("instance", "start", *options, self.image(image), name)
        return name

    def stop(self, name: str) -> None:
        self.ask("instance", "stop", "--force", name)

    def connector(self, image: str = "busybox.sif", **options: Any) -> ApptainerConnector:
        given = {"program": self.program, **options}
        if not {"image", "instances", "instanceName"} & set(given):
            given["image"] = self.image(image)
        return ApptainerConnector("lab", **given)

    def instances(self) -> list[str]:
        """The names of those that run."""
        listed = json.loads(self.ask("instance", "list", "--json"))
        return [each["instance"] for each in listed["instances"] or ()]

    def nothing_left(self, but: int = 0) -> None:
        """Fail if more instances than so many run."""
        eventually_sync(lambda: len(self.instances()) <= but, 15.0, lambda: self.ask("instance", "list"))

    def connect(self, name: str, **options: Any) -> warmshell.Location:
        return warmshell.connect(f"apptainer://{name}", program=self.program, **options)

    def close(self) -> None:
        self._run("stop")
        assert not self.home.exists()
