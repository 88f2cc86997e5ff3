"""The peers and floors do the work that they are timed for."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.child import peak, pss
from bench.harness import timed

from bench import peers
from warmshell.cli.usage import CpuMeter, descendants

ROOT = Path(__file__).parents[2]
WORDS = ["/bin/true"]
ALL = [
    peers.asyncio_exec(WORDS), peers.subprocess_run(WORDS), peers.posix_spawn(WORDS), peers.replwrap("true"),
    peers.plumbum("true"), peers.xargs(WORDS), peers.parallel(WORDS), peers.dash_loops("true"),
    peers.vfork_loops(WORDS),
    peers.cat_raw(), peers.cat_reader(), peers.cat_streams(), peers.dash_raw("true"), peers.dash_pipes("true"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("contender", ALL, ids=lambda contender: contender.name)
async def test_each_contender_runs_and_leaves_nothing(contender):
    if contender.missing:
        pytest.skip(contender.missing)
    async with contender.make() as block:
        sample = await timed(block, 5)
    assert sample.value > 0
    assert descendants() == []


@pytest.mark.parametrize(
    "contender",
    [peers.asyncio_exec(["false"]), peers.subprocess_run(["false"]), peers.posix_spawn(["false"]),
     peers.xargs(["false"]), peers.dash_raw("false"), peers.dash_pipes("false"), peers.vfork_loops(["/bin/false"])],
    ids=lambda contender: contender.name,
)  # fmt: skip
async def test_a_command_that_fails_is_not_timed_as_if_it_had_worked(contender):
    if contender.missing:
        pytest.skip(contender.missing)
    async with contender.make() as block:
        with pytest.raises((RuntimeError, subprocess.CalledProcessError)):
            await block(1)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open (Linux)")
async def test_the_spawn_peer_reads_both_outputs_whole():
    script = "head -c 300000 /dev/zero; echo oops >&2; exit 3"
    status, out, err = await peers.spawn("/bin/sh", ["sh", "-c", script])
    assert (status, out, err) == (3, bytes(300_000), b"oops\n")


async def test_so_many_at_once_and_no_more():
    running = most = done = 0

    async def one():
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done += 1

    await peers.at_once(one, 3)(10)
    assert (most, done) == (3, 10)


def test_what_is_absent_is_said():
    assert peers.program_missing("sh", "no-such-program") == "not installed: no-such-program"
    assert peers.program_missing("sh") is None
    assert peers.package_missing("no_such_package") == "not installed: no_such_package"


def test_cpu_of_this_process_of_ended_children_and_of_living_ones_is_counted():
    burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    meter = CpuMeter()
    subprocess.run(["sh", "-c", burn], check=True)
    ended = meter.read()
    assert ended > 0.01
    if not Path("/proc/self/stat").exists():
        pytest.skip("living children are counted by /proc")
    with subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        meter = CpuMeter()
        shell.stdin.write(f"{burn}; echo done\n".encode())
        shell.stdin.flush()
        assert shell.stdout.readline() == b"done\n"
        assert meter.read() > 0.01
        assert shell.pid in descendants()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc (Linux)")
def test_memory_is_in_bytes():
    assert 1e6 < pss(os.getpid()) <= peak() < 1e10


@pytest.mark.parametrize("name", ["raw", "reader", "streams"])
def test_a_child_tells_what_it_read(tmp_path, name):
    file = tmp_path / "file"
    file.write_bytes(bytes(200_000))
    argv = [sys.executable, "-m", "bench.child", name, str(file)]
    said = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True).stdout
    assert b'"result": 200000' in said


def harness(*arguments):
    argv = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_list_names_every_case():
    names = {line.split()[0] for line in harness("--list").stdout.splitlines()}
    assert {"builtin-echo", "external-true", "true-by-four", "gigabyte", "shell-memory", "queue"} <= names


def test_a_pattern_that_matches_nothing_is_refused():
    done = harness("--only", "no-such-case")
    assert done.returncode == 2
    assert "no case matches no-such-case" in done.stderr
