"""``warm coprocess check`` and ``serve``; Bazel's persistent workers from both sides."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warmshell import ShellLost
from warmshell.coprocess import CoprocessPool
from warmshell.protocol.bazel import Codec, WorkRequest, WorkResponse
from warmshell.testing import eventually

from .examples import LANGUAGES, example

HERE = Path(__file__).parent
WARM = [sys.executable, "-m", "warmshell", "coprocess"]
WORKER = [sys.executable, str(HERE / "tools/bazel.py")]
ODD = [sys.executable, str(HERE / "tools/odd.py")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_examples_pass_the_check(language: str) -> None:
    tool = example(language)
    words = [*WARM, "check", "--words", str(len(tool)), "--input", "in\n", "--", *tool, "a", "b c"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("right ") == 13


@pytest.mark.parametrize(
    ("tool", "wrong"),
    [
        (["cat"], "lives on"),
        (
            ["sh", "-c", 'read -r x <"$FCLI_REQUEST_FIFO"; echo nonsense >"$FCLI_RESPONSE_FIFO"; sleep 1'],
            "first request",
        ),
    ],
    ids=["ordinary", "nonsense"],
)
def test_what_is_wrong_is_told(tool: list[str], wrong: str) -> None:
    words = [*WARM, "check", "--words", str(len(tool)), "--", *tool]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert any(line.startswith("WRONG") and wrong in line for line in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize("form", ["bazel", "bazel-json"])
@pytest.mark.parametrize("multiplex", [1, 4])
async def test_a_bazel_worker(form, multiplex: int) -> None:
    env = {"FORM": form}
    async with CoprocessPool(WORKER, size=1, protocol=form, multiplex=multiplex, env=env) as pool:
        results = await asyncio.gather(*(pool.run([f"é{number}", str(number)]) for number in range(10)))
        assert [(r.returncode, r.text) for r in results] == [(n, f"é{n} {n}") for n in range(10)]
        assert pool.statistics().started == 1


async def test_a_bazel_worker_is_cancelled(tmp_path) -> None:
    on = tmp_path / "on"
    options = {"size": 1, "protocol": "bazel", "multiplex": 2, "cancellable": True, "env": {"FORM": "bazel"}}
    async with CoprocessPool(WORKER, **options) as pool:
        waits = asyncio.ensure_future(pool.run(["wait", str(on)]))
        await eventually(on.exists, 10, lambda: "the work to begin")
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert (await pool.run(["a", "1"])).returncode == 1
        assert pool.statistics().started == 1


async def test_a_bazel_worker_that_dies_or_talks_nonsense() -> None:
    async with CoprocessPool(WORKER, size=1, protocol="bazel", env={"FORM": "bazel"}) as pool:
        for word in ("die", "nonsense"):
            with pytest.raises(ShellLost) as caught:
                await pool.run([word])
            assert caught.value.started == "yes"
            assert (await pool.run(["a", "2"])).returncode == 2


class Client:
    """Bazel's side, by pipes."""

    def __init__(self, form: str, tool: list[str]) -> None:
        self.codec = Codec("json" if form == "--bazel-json" else "proto")
        self.process = subprocess.Popen(
            [*WARM, "serve", form, "-j", "3", "--", *tool, "--persistent_worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, request: WorkRequest) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(self.codec.request(request))
        self.process.stdin.flush()

    def responses(self, count: int) -> dict[int, WorkResponse]:
        found: list[WorkResponse] = []
        assert self.process.stdout is not None
        while len(found) < count:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "it ended"
            found += self.codec.responses(data)
        assert len({one.request_id for one in found}) == len(found) == count
        return {one.request_id: one for one in found}

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.stdout.read() == b""
        self.process.stdout.close()
        assert self.process.wait(20) == 0


@pytest.mark.parametrize("form", ["--bazel", "--bazel-json"])
def test_ours_as_a_bazel_worker(form: str, tmp_path: Path) -> None:
    client = Client(form, ODD)
    for number in range(1, 6):
        client.ask(WorkRequest(["leave", str(number)], number))
    assert {n: r.exit_code for n, r in client.responses(5).items()} == {n: n for n in range(1, 6)}
    on = tmp_path / "on"
    client.ask(WorkRequest(["sleep", str(on)], 7))
    while not on.exists():
        time.sleep(0.01)
    for _ in range(3):
        client.ask(WorkRequest(request_id=7, cancel=True))
    client.ask(WorkRequest(["leave", "two"], 8))
    responses = client.responses(2)
    assert responses[7].was_cancelled
    assert (responses[8].exit_code, responses[8].output) == (1, "two\n")
    client.ask(WorkRequest(request_id=8, cancel=True))  # too late: nothing is said
    client.ask(WorkRequest(["kill", "SIGSEGV"], 0))
    assert client.responses(1)[0].exit_code == 139
    client.ask(WorkRequest(["sleep", str(on)], 9))
    client.end()
