"""The pool with real locations: warm shells of this machine and the processes that they start."""

from __future__ import annotations

import asyncio
import itertools
import os
import pathlib
import uuid

import pytest

import warmshell
from warmshell.errors import ClosedError, CommandTimeout, ShellLost

linux = pytest.mark.skipif(not pathlib.Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")


class Named:
    """A location, or a shell, under another name."""

    def __init__(self, name, inner):
        self.name = name
        self.inner = inner

    def run(self, command, **options):
        return self.inner.run(command, **options)


class Signals:
    """Lines that commands write when they get somewhere."""

    def __init__(self, directory):
        self.path = directory / "signals"
        os.mkfifo(self.path)
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.got = b""

    async def lines(self, count):
        loop = asyncio.get_running_loop()
        while self.got.count(b"\n") < count:
            ready = loop.create_future()
            loop.add_reader(self.descriptor, ready.set_result, None)
            try:
                await ready
            finally:
                loop.remove_reader(self.descriptor)
            self.got += os.read(self.descriptor, 65536)

    def close(self):
        os.close(self.descriptor)


@pytest.fixture
def signals(tmp_path):
    signals = Signals(tmp_path)
    yield signals
    signals.close()


@pytest.fixture
async def here():
    async with warmshell.connect("local:", shells=4) as location:
        yield location


@pytest.fixture
def marker():
    return f"marker-{uuid.uuid4().hex}"


def processes(marker):
    """The processes, except this one, that have the marker among their words."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in words:
                found.append(words)
    return found


def endless(signals, marker):
    """A process with the marker among its words, that says when it runs and never ends."""
    code = 'echo on > "$1"; while :; do sleep 1000; done'
    return ["sh", "-c", code, "sh", str(signals.path), marker]


async def test_two_thousand_results_exact_and_in_order(here):
    async with warmshell.Pool(here, 4) as pool:
        words = [f"{number} \n'\"\\ $(x)" for number in range(2000)]
        seen = [result async for result in pool.map(["printf", "%s", word] for word in words)]
        assert [result.stdout for result in seen] == [word.encode() for word in words]
        assert pool.statistics().done == 2000
        assert pool.statistics().most_running <= 4


async def test_words_scripts_and_commands_with_their_options(here, tmp_path):
    async with warmshell.Pool(here, 2) as pool:
        commands = [["pwd"], "pwd; exit 3", warmshell.Command(["pwd"], cwd="/")]
        first, second = [result async for result in pool.map(commands[:2], cwd=str(tmp_path))]
        assert (first.stdout, first.returncode) == (f"{tmp_path}\n".encode(), 0)
        assert (second.stdout, second.returncode) == (f"{tmp_path}\n".encode(), 3)
        assert (await pool.run(commands[2])).stdout == b"/\n"
        assert (await pool.run(["cat"], stdin=b"\0\xff")).stdout == b"\0\xff"


async def test_really_so_many_at_once_and_no_more(here, signals, tmp_path):
    """Every command says that it is in and waits until it is let out: who is in is known, not guessed."""
    doors = [tmp_path / f"door{number}" for number in range(7)]
    for door in doors:
        os.mkfifo(door)
    async with warmshell.Pool(here, 3) as pool:
        scripts = [f"echo {number} > {signals.path}; read line < {door}" for number, door in enumerate(doors)]
        tasks = [asyncio.ensure_future(pool.run(script)) for script in scripts]
        for out, (door, task) in enumerate(zip(doors, tasks, strict=True)):
            await signals.lines(min(7, 3 + out))
            assert len(signals.got.split()) == min(7, 3 + out)
            assert pool.statistics().waiting == max(0, 4 - out)
            door.write_bytes(b"\n")
            assert (await task).returncode == 0
        assert pool.statistics().most_running == 3
        assert sorted(signals.got.split()) == [b"%d" % number for number in range(7)]


async def test_an_endless_input_goes_no_further_than_the_window(here, tmp_path):
    record = tmp_path / "record"
    async with warmshell.Pool(here, 2) as pool:
        commands = (f"echo {number} >> {record}; echo {number}" for number in itertools.count())
        async with pool.map(commands, window=5) as results:
            for number in range(20):
                assert (await anext(results)).stdout == f"{number}\n".encode()
            await pool.drain()
        assert 20 <= len(record.read_text().split()) <= 25


@linux
@pytest.mark.parametrize("how", ["break", "body", "aclose", "cancel", "pool"])
async def test_leaving_a_map_leaves_no_process(here, signals, marker, how):
    left = []

    async def consume(pool):
        commands = itertools.chain([["echo", "first"]], itertools.repeat(endless(signals, marker)))
        async for result in (results := pool.map(commands)):
            left.append(result.stdout)
            await signals.lines(3)
            left.append(len(processes(marker)) >= 3)
            if how == "break":
                break
            if how == "body":
                del results  # else the traceback would keep it
                raise ZeroDivisionError
            if how == "aclose":
                await results.aclose()
                left.append(processes(marker))
            elif how == "cancel":
                asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
            else:
                await pool.aclose()
        return

    async with warmshell.Pool(here, 3) as pool:
        task = asyncio.ensure_future(consume(pool))
        await asyncio.wait([task])
        left.append(processes(marker) if how in ("cancel", "pool") else [])
        await pool.drain()
        assert not processes(marker)
    assert left == [b"first\n", True, *([[]] if how == "aclose" else []), []]
    expected = {"body": ZeroDivisionError, "cancel": asyncio.CancelledError, "pool": ClosedError}
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, expected.get(how, type(None)))
    assert (await here.run(["echo", "next"])).stdout == b"next\n"


@linux
async def test_closing_ends_processes_and_tells_their_callers(here, signals, marker):
    async with warmshell.Pool(here, 2) as pool:
        tasks = [asyncio.ensure_future(pool.run(endless(signals, marker))) for _ in range(5)]
        await signals.lines(2)
    assert not processes(marker)
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [ShellLost, ShellLost, ClosedError, ClosedError, ClosedError]
    assert marker in str(errors[0])
    assert signals.got == b"on\n" * 2


@linux
async def test_cancelled_tasks_give_their_slots_back(here, signals, marker):
    async with warmshell.Pool(here, 2) as pool:
        tasks = [asyncio.ensure_future(pool.run(endless(signals, marker))) for _ in range(50)]
        await signals.lines(2)
        last = [asyncio.ensure_future(pool.run(["echo", str(number)])) for number in range(5)]
        for task in tasks:
            task.cancel()
        assert [(await task).stdout for task in last] == [b"%d\n" % number for number in range(5)]
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
    assert not processes(marker)


async def test_timeouts_in_their_places(here):
    async with warmshell.Pool(here, 3) as pool:
        commands = [
            warmshell.Command(["sleep", "1000"], timeout=0.2) if n % 3 == 1 else ["echo", str(n)] for n in range(9)
        ]
        seen = [item async for item in pool.map(commands, errors="return")]
    assert [isinstance(item, CommandTimeout) for item in seen] == [n % 3 == 1 for n in range(9)]


async def test_a_command_that_takes_its_shell_with_it_is_not_run_again(here, tmp_path):
    record = tmp_path / "record"
    async with (
        warmshell.connect("local:") as there,
        warmshell.Pool([Named("here", here), Named("there", there)], 2) as pool,
    ):
        with pytest.raises(ShellLost) as caught:
            await pool.run(f"echo ran >> {record}; kill -9 $$")
        assert caught.value.started != "no"
        assert pool.statistics().failovers == 0
        assert record.read_text() == "ran\n"
        assert (await pool.run(["echo", "next"])).stdout == b"next\n"


async def test_a_shell_that_has_ended_is_failed_over(here):
    """A stateful shell after ``exit``: nothing can start in it, so the other one gets the commands."""
    async with here.shell() as shell:
        assert (await shell.run("exit 3")).returncode == 3
        async with warmshell.Pool([Named("ended", shell), Named("here", here)], 2) as pool:
            seen = [result.stdout async for result in pool.map(["echo", str(number)] for number in range(10))]
            assert seen == [b"%d\n" % number for number in range(10)]
            numbers = pool.statistics()
            assert numbers.failovers >= 1
            assert (numbers.done, numbers.failed) == (10, 0)
            with pytest.raises(ShellLost) as caught:
                await pool.run(["echo", "there only"], on="ended")
            assert caught.value.started == "no"
