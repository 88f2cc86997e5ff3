"""Real ssh servers for the ssh theme, started before its cases and ended after them."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cpu import ROOTS

NEAR, FAR = "hostA", "hostFar"
USER = "warm-dash"
NO_PYTHON = "warm-quiet"  # an account that finds no Python
_BACKENDS = Path(__file__).parent.parent / "tests/backends"
_ONE_WAY_MS = 10
_turns = itertools.count()


@dataclass(frozen=True)
class Host:
    """How a client without a configuration file reaches a host."""

    address: str
    port: int


class NotHere(Exception):
    """Such servers cannot run here; the text says why."""


class Lab:
    """An sshd on a loopback address with the usual MaxSessions of 10, and one behind a link of 20 ms."""

    def __init__(self) -> None:
        # Two labs at once have nothing in common, nor with those of the tests, which are below 127.128.
        number, turn = os.getpid(), next(_turns) % 2
        self.home = Path(tempfile.mkdtemp(prefix="warm-bench-", dir="/tmp"))  # short, for the names of sockets
        self._environment = {
            **os.environ,
            "SSHLAB": str(self.home),
            "SSHLAB_ADDRESS": f"127.{128 + 64 * turn + (number >> 16) % 64}.{number >> 8 & 255}.{number & 255}",
            "DELAY_SUFFIX": str((number + 5461 * (turn + 1)) % 16384),
        }
        self.far_missing: str | None = None
        self._roots: set[int] = set()

    def start(self) -> None:
        """Start the servers.

        Raises:
            NotHere: that needs what this machine or account has not.
        """
        self._script("ssh.sh", "start")
        try:
            self._script("delay.sh", "start", str(_ONE_WAY_MS))
        except NotHere as why:
            self.far_missing = str(why)
        files = [*self.home.glob("hosts/*/pid"), self.home / "link/pid"]
        self._roots = {int(file.read_text()) for file in files if file.exists()}
        ROOTS.update(self._roots)

    def stop(self) -> None:
        """End them, and all that they began."""
        ROOTS.difference_update(self._roots)
        if self.far_missing is None and (self.home / "link").exists():
            self._script("delay.sh", "stop")
        self._script("ssh.sh", "stop")
        shutil.rmtree(self.home, ignore_errors=True)

    def _script(self, name: str, *words: str) -> None:
        done = subprocess.run(
            [_BACKENDS / name, *words], env=self._environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 3:
            raise NotHere(done.stderr.strip())
        if done.returncode != 0:
            raise RuntimeError(f"{name} {' '.join(words)}: {done.stderr.strip()}")

    @property
    def config(self) -> str:
        """The configuration file for OpenSSH clients."""
        return str(self.home / "config")

    @property
    def key(self) -> str:
        """The file with the private key."""
        return str(self.home / "key")

    @property
    def known_hosts(self) -> str:
        """The file with the keys of the hosts."""
        return str(self.home / "known_hosts")

    def host(self, name: str) -> Host:
        """The address and port of a host."""
        lines = (self.home / "hosts.d" / name).read_text().splitlines()
        words = dict(line.split() for line in lines)
        return Host(words["HostName"], int(words["Port"]))

    def missing(self, host: str) -> str | None:
        """Why this host cannot be reached, or ``None``."""
        return self.far_missing if host == FAR else None


_labs: list[Lab] = []
_reason = "not started: the servers of the ssh theme"


@contextmanager
def running() -> Iterator[None]:
    """Have the servers run; where they cannot, :func:`missing` says why."""
    global _reason  # noqa: PLW0603 - the reason is told by the contenders, which are made later
    lab = Lab()
    try:
        try:
            lab.start()
        except NotHere as why:
            _reason = str(why)
        else:
            _labs.append(lab)
        yield
    finally:
        if lab in _labs:
            _labs.remove(lab)
        lab.stop()


def missing(host: str = NEAR) -> str | None:
    """Why nothing can be measured with this host, or ``None``."""
    return _labs[-1].missing(host) if _labs else _reason


def current() -> Lab:
    """The servers that run now."""
    return _labs[-1]
