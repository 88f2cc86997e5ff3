"""A Docker daemon for one test process, started by ``tests/backends/docker.sh``."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import warmshell
from warmshell.connector.docker import DockerConnector
from warmshell.testing import eventually_sync

SCRIPT = Path(__file__).parents[1] / "backends" / "docker.sh"


class NotHere(Exception):
    """No daemon can run here; the text says why."""


class Docker:
    """A daemon with two images: ``warm/busybox:1`` and, where this machine has a Python, ``warm/python:1``."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="wdocker-", dir="/tmp"))
        self.socket = f"unix://{self.home}/docker.sock"
        self._run("start")

    def _run(self, word: str) -> None:
        done = subprocess.run(
            [SCRIPT, word], env={**os.environ, "DOCKERLAB": str(self.home)}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip
        if done.returncode == 3:
            shutil.rmtree(self.home, ignore_errors=True)
            raise NotHere(done.stderr.strip() + " (see tests/backends/packages.sh)")
        assert done.returncode == 0, f"docker.sh {word}: {done.stderr}"

    def ask(self, *words: str, check: bool = True) -> str:
        """What docker answers."""
        done = subprocess.run(
            ["docker", "--host", self.socket, *words], capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    @staticmethod
    def plugin() -> str | None:
        """The directory that DOCKER_CONFIG has to name so that there is ``docker compose``; ``None``: any does.

        Raises:
            NotHere: there is no Compose, and the text says why.
        """
        done = subprocess.run(
            [SCRIPT.with_name("compose.sh"), "plugin"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        if done.returncode == 3:
            raise NotHere(done.stderr.strip())
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() or None

    def start(self, image: str, *options: str) -> str:
        """A container that runs until it is removed; its name."""
        return self.ask("run", "--detach", "--network=none", *options, image, "sleep", "1000000")[:12]

    def remove(self, name: str) -> None:
        self.ask("rm", "--force", name)

    def connector(self, image: str = "warm/busybox:1", **options: Any) -> DockerConnector:
        """A deployment of containers without a network."""
        given = {"network": "none", "host": self.socket, **options}
        return DockerConnector("lab", **(given if "containers" in given else {"image": image, **given}))

    def connect(self, name: str, **options: Any) -> warmshell.Location:
        return warmshell.connect(f"docker://{name}", host=self.socket, **options)

    def containers(self) -> list[str]:
        """Those that there are, running or not."""
        return self.ask("ps", "--all", "--quiet").split()

    def nothing_left(self, but: int = 0) -> None:
        """Fail if there are other containers than so many."""
        eventually_sync(lambda: len(self.containers()) <= but, 15.0, lambda: self.ask("ps", "--all"))

    def close(self) -> None:
        self._run("stop")
        assert not self.home.exists()
