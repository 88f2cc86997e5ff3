"""A Docker daemon for one test process, started by ``tests/backends/docker.sh``; and Podman in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import warmshell
from warmshell.connector.docker import DockerConnector
from warmshell.testing import eventually_sync

SCRIPTS = Path(__file__).parents[1] / "backends"


class NotHere(Exception):
    """No daemon can run here; the text says why."""


class Docker:
    """A daemon with two images: ``warm/busybox:1`` and, where this machine has a Python, ``warm/python:1``."""

    script: ClassVar[str] = "docker.sh"

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="wdocker-", dir="/tmp"))
        self._run("start")

    @property
    def socket(self) -> str:
        """Where the daemon is."""
        return f"unix://{self.home}/docker.sock"

    @property
    def options(self) -> dict[str, Any]:
        """The options by which it is found."""
        return {"host": self.socket}

    @property
    def words(self) -> list[str]:
        """What every call of its program begins with."""
        return ["docker", "--host", self.socket]

    def _run(self, word: str) -> None:
        done = subprocess.run(
            [SCRIPTS / self.script, word], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150,
            env={**os.environ, "DOCKERLAB": str(self.home), "PODMANLAB": str(self.home)}, check=False,
        )  # fmt: skip
        if done.returncode == 3:
            shutil.rmtree(self.home, ignore_errors=True)
            raise NotHere(done.stderr.strip() + " (see tests/backends/packages.sh)")
        assert done.returncode == 0, f"{self.script} {word}: {done.stderr}"

    def ask(self, *words: str, check: bool = True) -> str:
        """What docker answers."""
        done = subprocess.run(
            [*self.words, *words], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    @staticmethod
    def plugin() -> str | None:
        """The directory that DOCKER_CONFIG has to name so that there is ``docker compose``; ``None``: any does.

        Raises:
            NotHere: there is no Compose, and the text says why.
        """
        done = subprocess.run(
            [SCRIPTS / "compose.sh", "plugin"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
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
        given = {"network": "none", **self.options, **options}
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


class Podman(Docker):
    """Podman with the same images. It has no daemon, only a program that keeps everything in one directory."""

    script = "podman.sh"

    @property
    def options(self) -> dict[str, Any]:
        return {"program": "podman"}

    @property
    def words(self) -> list[str]:
        return [self.path + "/podman"]

    @property
    def path(self) -> str:
        """Where the program is."""
        return str(self.home / "bin")

    def connect(self, name: str, **options: Any) -> warmshell.Location:
        return warmshell.connect(f"podman://{name}", **options)
