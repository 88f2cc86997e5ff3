"""The pool of coprocesses: each request gets what a cold run would give it, and nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from warmshell import BusyError, ClosedError, CommandTimeout, ProgramNotFound, ShellLost, WorkdirNotFound
from warmshell.coprocess import CoprocessPool
from warmshell.testing import eventually

HERE = Path(__file__).parent
ODD = [sys.executable, str(HERE / "tools/odd.py")]
PUBLISHED = [sys.executable, str(HERE / "tools/published.py")]
UPPER = [sys.executable, str(HERE.parents[1] / "examples/coprocess/upper.py")]


def cold(tool: list[str], words: list[bytes | str], stdin: bytes = b"", **options) -> tuple[int, bytes, bytes]:
    done = subprocess.run([*tool, *words], input=stdin, capture_output=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr


async def warm(pool: CoprocessPool, words: list[bytes | str], **options) -> tuple[int, bytes, bytes]:
    result = await pool.run(words, **options)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("tool", [UPPER, PUBLISHED], ids=["serve", "published"])
@pytest.mark.parametrize("words", [[], ["x", "y z", ""], ["\n'\"\\ $(x)", "é"], ["-h"]])
async def test_the_same_bytes_and_status_as_a_cold_run(tool, words) -> None:
    async with CoprocessPool(tool, size=1) as pool:
        for _ in range(3):
            assert await warm(pool, words, stdin=b"1\n2\n3\n") == cold(tool, words, b"1\n2\n3\n")
            assert await warm(pool, words) == cold(tool, words)


@pytest.mark.parametrize("knows", ["", "flush", "nothing"])
async def test_a_tool_that_does_not_flush_by_itself(knows: str) -> None:
    async with CoprocessPool(PUBLISHED, size=1, env={"KNOWS": knows}) as pool:
        for _ in range(4):
            assert await warm(pool, ["a"]) == (1, b"out a\n", b"err\n")


async def test_input_for_a_tool_that_cannot_open_streams(tmp_path) -> None:
    async with CoprocessPool(PUBLISHED, size=1) as pool:
        for number in range(3):
            assert await warm(pool, ["input"], stdin=b"%d" % number) == (1, b"out input\n%d\n" % number, b"err\n")
        assert pool.statistics().started == 3  # its input can end once


async def test_exit_n_is_status_n_and_the_next_request_has_a_new_process() -> None:
    async with CoprocessPool(PUBLISHED, size=1) as pool:
        assert await warm(pool, ["a"]) == (1, b"out a\n", b"err\n")
        assert await warm(pool, ["quit"]) == (123, b"out quit\n", b"err\n")
        assert await warm(pool, ["a"]) == (1, b"out a\n", b"err\n")
        assert pool.statistics().started == 2


@pytest.mark.parametrize(
    ("words", "status", "out"),
    [
        (["kill", "SIGKILL"], 137, b""), (["kill", "SIGSEGV"], 139, b""), (["kill", "SIGTERM"], 143, b""),
        (["exit", "0"], 0, b"last words"), (["exit", "77"], 77, b"last words"),
        (["raise", "oh"], 1, b""), (["leave", "3"], 3, b""), (["leave", "words"], 1, b""), (["leave", "259"], 3, b""),
    ],
)  # fmt: skip
async def test_the_tools_end(words: list[str], status: int, out: bytes) -> None:
    async with CoprocessPool(ODD, size=1) as pool:
        for _ in range(2):  # as the first request of a process, and as a later one
            result = await pool.run(words)
            assert (result.returncode, result.stdout) == (status, out)
            assert (await pool.run(["count"])).returncode == 0
        code, _, err = cold(ODD, words)
        assert (code if code >= 0 else 128 - code, err) == (status, result.stderr)


async def test_a_tool_that_ignores_the_variables_runs_once_for_each_request(tmp_path) -> None:
    marks = tmp_path / "marks"
    async with CoprocessPool(["sh", "-c", 'echo "$1" >>"$0"; cat; echo e >&2; exit 5', str(marks)], size=2) as pool:
        for number in range(4):
            assert await warm(pool, [f"{number}"], stdin=b"in") == (5, b"in", b"e\n")
        assert pool.statistics().is_ordinary
    assert marks.read_text() == "0\n1\n2\n3\n"


async def test_nothing_is_started_twice_when_many_come_at_once(tmp_path) -> None:
    marks = tmp_path / "marks"
    async with CoprocessPool(ODD, size=4) as pool:
        results = await asyncio.gather(*(pool.run(["note", str(marks)]) for _ in range(100)))
        assert {result.returncode for result in results} == {0}
        assert pool.statistics().started <= 4
    assert marks.read_text() == "x" * 100


async def test_surroundings_are_of_each_request(tmp_path) -> None:
    async with CoprocessPool(UPPER, size=1, env={"COLOUR": "red"}) as pool:
        assert (await pool.run(["--where"], cwd="/usr")).stdout == b"/usr red\n"
        assert (await pool.run(["--where"], cwd=tmp_path, env={"COLOUR": "blue"})).text == f"{tmp_path} blue\n"
        assert (await pool.run(["--where"], env_only={"PATH": os.environ["PATH"]})).text == f"{os.getcwd()} none\n"
        assert (await pool.run(["--where"])).text == f"{os.getcwd()} red\n"
        assert pool.statistics().started == 1


async def test_a_request_does_not_harm_the_next() -> None:
    async with CoprocessPool(ODD, size=1) as pool:
        before = await warm(pool, ["show"])
        for _ in range(2):
            assert (await pool.run(["harm"])).returncode == 0
            assert await warm(pool, ["show"]) == before
            assert (await pool.run(["copy"], stdin=b"still there")).stdout == b"still there"
        first = await warm(pool, ["fds"])
        for _ in range(20):
            assert await warm(pool, ["fds"]) == first  # descriptors are given back
        assert (await pool.run(["env"])).stdout == b"[]\n"


async def test_a_fork_for_each_request() -> None:
    async with CoprocessPool(ODD, size=1, env={"FORK": "1"}) as pool:
        assert {(await pool.run(["count"])).text.split()[1] for _ in range(3)} == {"1"}
        assert (await pool.run(["kill", "SIGSEGV"])).returncode == 139
        assert pool.statistics().started == 1


async def test_much_flows_both_ways() -> None:
    data = os.urandom(5_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100_000):
            yield data[at : at + 100_000]

    async with CoprocessPool(ODD, size=1) as pool:
        for source in (data, pieces(), data):
            assert (await pool.run(["copy"], stdin=source)).stdout == data
        for _ in range(2):
            assert (await pool.run(["one"], stdin=b"line\n" + data)).stdout == b"line\n"
        flood = await pool.run(["flood", "3000000"], output_limit=1000)
        assert flood.output().spilled
        assert len(flood.output()) == 3_000_000
        assert pool.statistics().started == 1


async def test_a_long_request() -> None:
    words = ["x" * 1000 + "\n" * 10] * 300
    async with CoprocessPool(UPPER, size=1) as pool:
        for _ in range(2):
            assert (await pool.run(words)).stdout == " ".join(words).encode() + b"\n"
    async with CoprocessPool(["printf", "%s."], size=1) as pool:  # it never reads it
        assert (await pool.run(words)).text == ".".join(words) + "."


async def test_affinity() -> None:
    async with CoprocessPool(ODD, size=3) as pool:
        await asyncio.gather(*(pool.run(["note", "/dev/null"], key=key) for key in "abc"))
        pids = {}
        for _ in range(4):
            for key in "cab":
                pids.setdefault(key, set()).add((await pool.run(["count"], key=key)).text.split()[0])
        assert {len(of_key) for of_key in pids.values()} == {1}
        assert len(set.union(*pids.values())) == 3


async def test_recycling() -> None:
    async with CoprocessPool(ODD, size=1, max_requests=2) as pool:
        assert [(await pool.run(["count"])).text.split()[1] for _ in range(5)] == ["1", "2", "1", "2", "1"]
        assert pool.statistics().recycled == 2
    async with CoprocessPool(ODD, size=1, max_memory=100_000_000) as pool:
        await pool.run(["eat", "1000"])
        assert (await pool.run(["eat", "200000000"])).returncode == 0
        assert (await pool.run(["count"])).text.split()[1] == "1"
    async with CoprocessPool(ODD, size=1, max_age=0) as pool:
        assert [(await pool.run(["count"])).text.split()[1] for _ in range(2)] == ["1", "1"]


async def test_an_idle_process_is_let_go_and_a_busy_one_is_not(tmp_path) -> None:
    async with CoprocessPool(ODD, size=2, idle=0.05) as pool:
        busy = asyncio.ensure_future(pool.run(["sleep", str(tmp_path / "on")]))
        await pool.run(["count"])
        await eventually((tmp_path / "on").exists, 10, lambda: "the tool to run")
        await eventually(lambda: len(pool.statistics().workers) == 1, 10, lambda: "the idle one to go")
        assert [worker.busy for worker in pool.statistics().workers] == [1]
        busy.cancel()


async def test_a_bounded_queue(tmp_path) -> None:
    async with CoprocessPool(ODD, size=1, queue=1) as pool:
        running = asyncio.ensure_future(pool.run(["sleep", str(tmp_path / "on")]))
        await eventually((tmp_path / "on").exists, 10, lambda: "the tool to run")
        waiting = asyncio.ensure_future(pool.run(["count"]))
        await eventually(lambda: pool.statistics().waiting == 1, 10, lambda: "one to wait")
        with pytest.raises(BusyError):
            await pool.run(["count"])
        running.cancel()
        assert (await waiting).returncode == 0


async def test_timeout_and_cancel_end_the_process(tmp_path) -> None:
    on = tmp_path / "on"
    async with CoprocessPool(ODD, size=1) as pool:
        for warmed in (False, True):
            if warmed:
                await pool.run(["count"])
            with pytest.raises(CommandTimeout):
                await pool.run(["sleep", str(on)], timeout=0.5)
            assert (await pool.run(["count"])).text.split()[1] == "1"
    for pid in on.read_text().split():
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    "said",
    ["nonsense\\n", "{}\\n", '{"status":999}\\n', '{"status":0}\\n{"status":1}\\n', "\\xff\\n"],
)
async def test_a_tool_that_breaks_the_protocol(said: str) -> None:
    async with CoprocessPool(ODD, size=1) as pool:
        for _ in range(2):
            await pool.run(["count"])
            try:
                result = await pool.run(["response", said], timeout=20)
                assert result.returncode == 0
            except ShellLost as error:
                assert error.started == "yes"  # noqa: PT017
            assert (await pool.run(["count"])).text.split()[1] == "1"  # nothing of it reaches the next


async def test_a_response_without_end() -> None:
    script = 'read -r l <"$FCLI_REQUEST_FIFO"; while :; do printf %099999d 1; done >"$FCLI_RESPONSE_FIFO"'
    async with CoprocessPool(["sh", "-c", script], size=1) as pool:
        with pytest.raises(ShellLost):
            await pool.run([])


async def test_a_process_killed_while_idle_costs_nobody_a_request() -> None:
    async with CoprocessPool(ODD, size=1) as pool:
        for _ in range(5):
            pid = int((await pool.run(["count"])).text.split()[0])
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is dead, and the pool has not heard of it
            assert (await pool.run(["count"])).text.split()[1] == "1"


async def test_errors_before_anything_runs(tmp_path) -> None:
    async with CoprocessPool(["no-such-tool"], size=1) as pool:
        with pytest.raises(ProgramNotFound):
            await pool.run([])
    async with CoprocessPool(UPPER, size=1) as pool:
        with pytest.raises(WorkdirNotFound):
            await pool.run([], cwd="/no/such")
        assert (await pool.run(["a"])).returncode == 1
        with pytest.raises(WorkdirNotFound):
            await pool.run(["a"], cwd="/no/such")
    with pytest.raises(ClosedError):
        await pool.run([])


async def test_leaving_ends_what_runs(tmp_path) -> None:
    async with CoprocessPool(ODD, size=2) as pool:
        running = asyncio.ensure_future(pool.run(["sleep", str(tmp_path / "on")]))
        await eventually((tmp_path / "on").exists, 10, lambda: "the tool to run")
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_full_disk_is_an_error() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    from warmshell.coprocess.streams import Passed
    from warmshell.coprocess.worker import Invocation

    null, full = os.open("/dev/null", os.O_RDWR), os.open("/dev/full", os.O_WRONLY)
    try:
        async with CoprocessPool(ODD, size=1) as pool:
            for _ in range(2):
                given = Invocation([b"flood", b"10"], dict(os.environb), os.getcwdb(), Passed((null, full, null)))
                with pytest.raises(OSError, match="No space"):
                    await pool.call(given)
                assert (await pool.run(["count"])).returncode == 0
    finally:
        os.close(null)
        os.close(full)
