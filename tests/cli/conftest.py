"""The real command ``warm`` as a subprocess, and what must not be left behind by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WARM = [sys.executable, "-m", "warmshell"]

# A process begins with the peak of the one that starts it, which is a test process with all that it has imported.
_PEAK = """
import resource, subprocess, sys
with open(sys.argv[1], "wb") as out:
    done = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=out)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


class Cli:
    """Runs ``warm`` in a directory of its own; every process it starts carries a mark in its environment."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.mark = f"WARM_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.env = {**os.environ, name: value, "HOME": str(where)}

    def start(self, *words: str | bytes, **options) -> subprocess.Popen[bytes]:
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([*WARM, *words], cwd=self.where, env=self.env, **options)

    def __call__(
        self, *words: str | bytes, stdin: bytes | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        process = self.start(*words, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        finally:
            process.kill()
            process.wait()
        assert b"Traceback" not in err, err.decode()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def output(self, *words: str | bytes, stdin: bytes | None = None) -> bytes:
        done = self(*words, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout

    def peak(self, out: str | Path, *words: str) -> int:
        """The most memory, in mebibytes, of a run that succeeds and writes into a file."""
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, out, *WARM, *words], cwd=self.where, env=self.env, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        status, mebibytes = map(int, done.stdout.split())
        assert (status, done.stderr) == (0, "")
        return mebibytes

    def refused(self, *words: str | bytes, stdin: bytes | None = None) -> str:
        """What ``warm`` said when it ran nothing: one sentence, status 2."""
        done = self(*words, stdin=stdin)
        assert (done.returncode, done.stdout) == (2, b""), done
        text = done.stderr.decode()
        assert text.startswith("warm: ")
        assert text.count("\n") == 1
        assert text.endswith("\n")
        return text

    def left(self) -> list[str]:
        """The processes that carry the mark, except this one's own children that ended."""
        mark, found = self.mark.encode(), []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                if mark in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(tmp_path)
    yield cli
    wait_until(lambda: not cli.left(), f"left behind: {cli.left()}")


def wait_until(reached: Callable[[], object], complaint: str = "it did not come to pass", seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def parallel(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """The real GNU parallel, with a home of its own."""
    program = shutil.which("parallel")
    if program is None:
        pytest.skip("GNU parallel is not installed")

    def run(*words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
        # Otherwise it takes that of the process that it finds above itself, and what a death by a signal looks like to
        # it depends on that: bash makes way for the last command of a script, dash stays and says 128 + N.
        env["PARALLEL_SHELL"] = "/bin/bash"
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(
            [program, "--will-cite", *words],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            check=False,
            timeout=60,
            **given,
        )

    return run
