"""Real ssh servers for one test process, started by ``tests/backends/ssh.sh`` on an address of its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import warmshell
from warmshell.testing import eventually_sync

BACKENDS = Path(__file__).parents[1] / "backends"


class NotHere(Exception):
    """Such servers cannot run here; the text says why."""


def script(name: str, lab: Lab, *words: str, **environment: str) -> None:
    done = subprocess.run(
        [BACKENDS / name, *words], env={**os.environ, **lab.environment, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    if done.returncode == 3:
        raise NotHere(done.stderr.strip() + " (see tests/backends/packages.sh)")
    assert done.returncode == 0, f"{name} {' '.join(words)}: {done.stderr}"


def free_address() -> str:
    """A loopback address without a listener.

    By chance, not by pid: a lab whose owner was killed may live on, and pids come again.
    """
    for _ in range(100):
        address = f"127.{random.randint(64, 127)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
        if not any(listening(address)):
            return address
    raise AssertionError("every loopback address seems to be in use")


def listening(address: str) -> Iterator[int]:
    """The ports of this address that somebody listens on."""
    mark = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        where, state = line.split()[1], line.split()[3]
        if where.startswith(f"{mark}:") and state == "0A":
            yield int(where.partition(":")[2], 16)


class Lab:
    """Hosts of one test process, on a loopback address that nobody else listens on."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="wlab-", dir="/tmp"))
        self.address = free_address()
        self.environment = {
            "SSHLAB": str(self.home), "SSHLAB_ADDRESS": self.address, "DELAY_SUFFIX": str(random.randrange(16384)),
        }  # fmt: skip
        self.hosts: set[str] = set()
        script("ssh.sh", self, "start")

    @property
    def config(self) -> str:
        return str(self.home / "config")

    def host(self, name: str, *options: str, **environment: str) -> str:
        """The name of a host with these lines in its configuration, and what ``ssh.sh`` takes from the environment."""
        if name not in self.hosts:
            script("ssh.sh", self, "host", name, *options, **environment)
            self.hosts.add(name)
        return name

    def connect(self, where: str = "hostA", **options: Any) -> warmshell.Location:
        return warmshell.connect(f"ssh://{where}", **{"config": self.config, **options})

    def account(self, name: str) -> bool:
        """Whether there is such an account: its shell may not be installed."""
        return f"{name}:" in (self.home / "etc" / "passwd").read_text()

    def log(self, host: str) -> str:
        return (self.home / "hosts" / host / "log").read_text()

    def connections(self, host: str) -> list[int]:
        """The servers of the connections that a host has now."""
        listener = int((self.home / "hosts" / host / "pid").read_text())
        return children(listener)

    def sessions(self) -> dict[int, str]:
        """The processes that sessions of this lab began, wherever they hid."""
        found = {}
        mark = f"{self.address} ".encode()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                data = environ.read_bytes()
                words = environ.with_name("cmdline").read_bytes()
            except OSError:
                continue
            if any(v.startswith(b"SSH_CONNECTION=") and mark in v for v in data.split(b"\0")):
                found[int(environ.parent.name)] = words.replace(b"\0", b" ").decode("utf-8", "replace")[:200]
        return found

    def nothing_left(self, within: float = 30.0) -> None:
        """Fail if a session of this lab lives, or a directory of a client is still there.

        What looks after a host without Python notices within 15 s that it was killed itself, and looks three times.
        """
        eventually_sync(lambda: not self.sessions(), within, lambda: f"left at the far end: {self.sessions()}")

    def close(self) -> None:
        script("ssh.sh", self, "stop")
        shutil.rmtree(self.home, ignore_errors=True)


class Link:
    """A host of the lab behind a slow link.

    Slower than the machine ever is: so that round trips can be told from other delays.
    """

    ONE_WAY = 0.04
    ROUND_TRIP = 2 * ONE_WAY

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = "hostFar"
        script("delay.sh", lab, "start", str(self.ONE_WAY * 1000))

    def _signal(self, number: signal.Signals) -> None:
        os.kill(int((self.lab.home / "link" / "pid").read_text()), number)

    def cut(self) -> None:
        self._signal(signal.SIGUSR1)

    def mend(self) -> None:
        self._signal(signal.SIGUSR2)

    def close(self) -> None:
        script("delay.sh", self.lab, "stop")


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in task.read_text().split()]
    return found
