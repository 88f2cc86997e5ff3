"""A Kubernetes cluster for the tests: their own, started by ``tests/backends/kubernetes.sh``, or whichever is named.

It takes a while to start, so all test processes of a run use the same one. Each holds a lock that is shared among them;
the last one ends the cluster, and what waits for the lock does where the last one was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import warmshell
from warmshell.connector.kubernetes.connector import KubernetesConnector
from warmshell.testing import eventually_sync

SCRIPT = Path(__file__).parents[1] / "backends" / "kubernetes.sh"
GIVEN = os.environ.get("WARMSHELL_TEST_KUBECONFIG")
RUNNING = os.environ.get(
    "WARMSHELL_TEST_K8SLAB"
)  # one that kubernetes.sh has started already, for those who work on it
BUSYBOX = os.environ.get("WARMSHELL_TEST_IMAGE", "warm/busybox:1")
PYTHON = os.environ.get("WARMSHELL_TEST_PYTHON_IMAGE", "warm/python:1")


class NotHere(Exception):
    """No cluster can run here; the text says why."""


class Own:
    """The cluster that all test processes of a run share.

    Args:
        shared: a directory that they share.
        run: what tells the run from others.
    """

    def __init__(self, shared: Path, run: str) -> None:
        number = zlib.crc32(run.encode())
        self.home = Path(f"/tmp/wk8s-{number:08x}")
        address = f"127.{64 + (number >> 16) % 63}.{number >> 8 & 255}.{number % 254 + 1}"
        if RUNNING:
            self.home, address = Path(RUNNING), os.environ["K8SLAB_ADDRESS"]
        self._environment = {**os.environ, "K8SLAB": str(self.home), "K8SLAB_ADDRESS": address}
        self.kubeconfig = self.home / "kubeconfig"
        self._shared = shared
        self._users = (shared / "kubernetes.users").open("w")
        with (shared / "kubernetes.start").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not self.kubeconfig.exists():
                self._start(shared)

    def _start(self, shared: Path) -> None:
        words = ["setsid", "--fork", "flock", "--exclusive", str(shared / "kubernetes.users"), SCRIPT, "stop"]
        plain = {name: self._environment[name] for name in ("PATH", "K8SLAB", "K8SLAB_ADDRESS")}
        subprocess.run(words, env=plain, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       check=True)  # fmt: skip
        self.run("start")

    def run(self, word: str) -> None:
        done = subprocess.run(
            [SCRIPT, word], env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        if done.returncode == 3:
            self.close()
            raise NotHere(done.stderr.strip().splitlines()[-1] + " (see CONTRIBUTING.md)")
        assert done.returncode == 0, f"kubernetes.sh {word}: {done.stderr}"

    @contextlib.contextmanager
    def undisturbed(self, *, alone: bool) -> Iterator[None]:
        """What another test process does meanwhile disturbs nothing; one that is alone may disturb all."""
        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        with (self._shared / "kubernetes.in-use").open("w") as use:
            with (self._shared / "kubernetes.next").open("w") as turn:  # so that who wants to be alone gets a turn
                fcntl.flock(turn, kind)
                fcntl.flock(use, kind)
            yield

    def close(self) -> None:
        """End the cluster, if nobody else uses it."""
        with self._users, contextlib.suppress(BlockingIOError):
            if RUNNING:
                return
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            subprocess.run([SCRIPT, "stop"], env=self._environment, stdin=subprocess.DEVNULL, check=True, timeout=60)
            assert not self.home.exists()


class Kubernetes:
    """A namespace of a cluster, for one test process.

    Args:
        shared: a directory that all test processes share.
        run: what tells the run from others.
        worker: what tells the process from the others of the run.
    """

    def __init__(self, shared: Path, run: str, worker: str) -> None:
        self.own = None if GIVEN else Own(shared, run)
        self.kubeconfig = str(self.own.kubeconfig if self.own else GIVEN)
        self.namespace = f"warm-{zlib.crc32(run.encode()):08x}-{worker}"
        self.ask("create", "namespace", self.namespace)

    def ask(self, *words: str, data: str | None = None, check: bool = True) -> str:
        """What kubectl answers."""
        for _ in range(60):
            done = subprocess.run(
                ["kubectl", f"--kubeconfig={self.kubeconfig}", *words], capture_output=True, text=True, timeout=90,
                input=data or "", check=False,
            )  # fmt: skip
            if not re.search("was refused|Unable to connect|connection reset", done.stderr):
                break
            time.sleep(0.5)  # another test process has the API server start anew
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def within(self, *words: str, data: str | None = None, check: bool = True) -> str:
        """The same in the namespace."""
        return self.ask(f"--namespace={self.namespace}", *words, data=data, check=check)

    def start(self, name: str, image: str = BUSYBOX) -> str:
        """A pod that runs until it is removed; its name."""
        self.within("apply", "--filename=-", data=json.dumps(pod(name, image)))
        self.within("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        return name

    def remove(self, name: str) -> None:
        self.within("delete", "pod", name, "--ignore-not-found")

    def names(self, *kinds: str) -> list[str]:
        """The objects of some kinds that there are in the namespace."""
        return self.within(
            "get", ",".join(kinds or ("pods", "jobs", "deployments", "statefulsets")), "-o", "name"
        ).split()

    def connector(self, files: list[str] | None = None, **options: Any) -> KubernetesConnector:
        given = {"kubeconfig": self.kubeconfig, "namespace": self.namespace, "files": files, **options}
        return KubernetesConnector("lab", **given)

    def connect(self, name: str, container: str | None = None, **options: Any) -> warmshell.Location:
        parts = [self.namespace, name, *([container] if container else [])]
        return warmshell.connect("k8s://" + "/".join(parts), **{"kubeconfig": self.kubeconfig, **options})

    def nothing_left(self, but: int = 0) -> None:
        """Fail if there are other objects than so many."""
        eventually_sync(lambda: len(self.names()) <= but, 30.0, lambda: f"left: {self.names()}")

    def close(self) -> None:
        try:
            self.ask("delete", "namespace", self.namespace, f"--wait={str(self.own is None).lower()}")
        finally:
            if self.own is not None:
                self.own.close()


def container(image: str = BUSYBOX, name: str = "main", **more: Any) -> dict[str, Any]:
    pull = "IfNotPresent" if GIVEN else "Never"
    return {"name": name, "image": image, "imagePullPolicy": pull, "command": ["sleep", "1000000"], **more}


def spec(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a pod is made of; the tests' own cluster has no network of pods."""
    return {
        "hostNetwork": True, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0,
        "containers": list(containers) or [container()], **more,
    }  # fmt: skip


def pod(name: str, image: str = BUSYBOX, **more: Any) -> dict[str, Any]:
    """A pod of one container; what belongs to that goes there, what is else to the pod."""
    inner = {key: more.pop(key) for key in ("command", "envFrom", "resources", "readinessProbe") if key in more}
    made = spec(container(image, **inner), **more)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": made}


def manifest(path: Path, *objects: dict[str, Any]) -> str:
    """A file that holds these objects; its name."""
    path.write_text("\n---\n".join(json.dumps(each) for each in objects))
    return str(path)
