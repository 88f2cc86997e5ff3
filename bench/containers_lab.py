"""Real containers for the containers theme: of Docker, of Apptainer, and pods; each where it can be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cpu import ROOTS
from bench.ssh_lab import NotHere

if TYPE_CHECKING:
    from warmshell import Location

_BACKENDS = Path(__file__).parent.parent / "tests/backends"
_SLEEP = "1000000"
WITH, WITHOUT = "python", "busybox"  # images with a Python, and without one


@dataclass(frozen=True)
class Box:
    """One container, instance or pod.

    Attributes:
        words: what runs others inside, a process each time.
        url: what Warmshell reaches it by.
        options: the options of that.
    """

    words: Sequence[str]
    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def connect(self, **options: Any) -> Location:
        """It, as a location."""
        from warmshell import connect

        return connect(self.url, **self.options, **options)


_boxes: dict[tuple[str, str], Box] = {}
_reasons: dict[str, str] = {}


def box(kind: str, image: str) -> Box:
    """A container that runs now."""
    return _boxes[kind, image]


def missing(kind: str, image: str) -> str | None:
    """Why there is none, or ``None``."""
    return None if (kind, image) in _boxes else _reasons.get(kind, f"not started: {kind}, image {image}")


@contextmanager
def running() -> Iterator[None]:
    """Have them run; where they cannot, :func:`missing` says why."""
    starts = {"docker": _docker, "apptainer": _apptainer, "kubernetes": _kubernetes}
    with ExitStack() as stack:
        for kind, start in starts.items():
            try:
                stack.enter_context(start())
            except NotHere as why:
                _reasons[kind] = str(why)
        try:
            yield
        finally:
            _boxes.clear()


@contextmanager
def _lab(script: str, variable: str) -> Iterator[Path]:
    """What a script of the tests starts, in a directory of its own.

    Raises:
        NotHere: it cannot run here.
    """
    home = Path(tempfile.mkdtemp(prefix="warm-box-", dir="/tmp"))  # short, for the names of sockets
    number = os.getpid()  # a cluster has addresses of its own; those of the tests and of the ssh theme are others
    environment = {
        **os.environ, variable: str(home), "K8SLAB_ADDRESS": f"127.127.{number >> 8 & 255}.{number % 254 + 1}"
    }  # fmt: skip
    if not (_BACKENDS / script).exists():
        home.rmdir()
        raise NotHere(f"there is no tests/backends/{script}")

    def run(word: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_BACKENDS / script, word], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    try:
        done = run("start")
        if done.returncode == 3:
            raise NotHere(done.stderr.strip().splitlines()[-1])
        if done.returncode != 0:
            raise RuntimeError(f"{script} start: {done.stderr.strip()}")
        yield home
    finally:
        run("stop")
        shutil.rmtree(home, ignore_errors=True)


def _ask(*words: str, data: str = "") -> str:
    return subprocess.run(words, input=data, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def _docker() -> Iterator[None]:
    with _lab("docker.sh", "DOCKERLAB") as home:
        docker = ["docker", "--host", f"unix://{home}/docker.sock"]
        roots = {int((home / "pid").read_text())}
        for image in (WITH, WITHOUT):
            if _ask(*docker, "image", "ls", "--quiet", f"warm/{image}:1"):
                name = _ask(*docker, "run", "--detach", "--network=none", f"warm/{image}:1", "sleep", _SLEEP)[:12]
                roots.add(_parent(int(_ask(*docker, "inspect", "--format={{.State.Pid}}", name))))
                _boxes["docker", image] = Box([*docker, "exec", name], f"docker://{name}", {"host": docker[2]})
        ROOTS.update(roots)  # what the daemon uses, and what runs in the containers, is their client's
        try:
            yield
        finally:
            ROOTS.difference_update(roots)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


@contextmanager
def _apptainer() -> Iterator[None]:
    with _lab("apptainer.sh", "APPTAINERLAB") as home:
        program = str(home / "bin/apptainer")
        images = {WITH: home / "images/python", WITHOUT: home / "images/busybox.sif"}
        for image, path in images.items():
            if path.exists():
                name = f"bench-{image}"
                _ask(program, "--quiet", "instance", "start", str(path), name)
                words = [program, "--quiet", "exec", str(path)]
                _boxes["apptainer", image] = Box(words, f"apptainer://{name}", {"program": program})
        yield


@contextmanager
def _kubernetes() -> Iterator[None]:
    with _lab("kubernetes.sh", "K8SLAB") as home:
        kubectl = ["kubectl", f"--kubeconfig={home}/kubeconfig"]
        for image in (WITH, WITHOUT):
            name = f"bench-{image}"
            _ask(*kubectl, "apply", "--filename=-", data=json.dumps(_pod(name, f"warm/{image}:1")))
            _ask(*kubectl, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
            options = {"kubeconfig": f"{home}/kubeconfig"}
            _boxes["kubernetes", image] = Box([*kubectl, "exec", name, "--"], f"k8s://default/{name}", options)
        yield


def _pod(name: str, image: str) -> dict[str, Any]:
    container = {"name": "main", "image": image, "imagePullPolicy": "Never", "command": ["sleep", _SLEEP]}
    spec = {"hostNetwork": True, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0,
            "containers": [container]}  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
