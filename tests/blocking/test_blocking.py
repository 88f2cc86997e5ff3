"""Every name of the blocking face, with real shells."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import warmshell
from warmshell import blocking
from warmshell.errors import (
    BusyError,
    ClosedError,
    CommandError,
    CommandFailed,
    CommandTimeout,
    ConnectError,
    IncompleteStream,
    LocationError,
    ProgramNotFound,
    ShellLost,
    WorkdirNotFound,
)

from .interrupts import Started


@pytest.fixture
def here():
    with blocking.connect("local:", shells=8) as location:
        yield location


def loops() -> int:
    return sum(thread.name == "warmshell-blocking" for thread in threading.enumerate())


# -- running --


def test_words_scripts_and_options(here, tmp_path):
    assert here.run(["printf", "%s|", "a b", b"\xff"]).stdout == b"a b|\xff|"
    result = here.run("pwd; echo $X >&2; cat; exit 3", cwd=tmp_path, env={"X": "y"}, stdin=b"in")
    assert (result.returncode, result.stdout, result.stderr) == (3, bytes(tmp_path) + b"\nin", b"y\n")
    assert here.run(warmshell.Command(["true"])).ok
    assert result.location == here.name == "local"


def test_errors_are_the_same(here):
    with pytest.raises(ProgramNotFound):
        here.run(["no-such-program-here"])
    with pytest.raises(WorkdirNotFound):
        here.run(["true"], cwd="/no/such/directory")
    with pytest.raises(CommandError):
        here.run([])
    with pytest.raises(CommandTimeout) as caught:
        here.run("echo before; exec sleep 1000", timeout=0.5)
    assert caught.value.result.stdout == b"before\n"
    assert here.run(["echo", "next"]).text == "next\n"


def test_statistics_and_repr(here):
    here.run(["true"])
    assert here.statistics().started >= 1
    assert "local" in repr(here)


@pytest.mark.parametrize("framing", ["pipes", "markers"])
def test_input_from_whatever_can_be_iterated(tmp_path, framing):
    file = tmp_path / "file"
    file.write_bytes(b"1\n2\n3")
    with blocking.connect("local:", framing=framing) as here:
        with file.open("rb") as lines:
            assert here.run(["cat"], stdin=lines).stdout == b"1\n2\n3"
        assert here.run(["cat"], stdin=(b"%d," % number for number in range(1000))).stdout.count(b",") == 1000
        assert here.run(["cat"], stdin=[b"a", b"b"]).stdout == b"ab"
        assert here.run(["cat"], stdin=file).stdout == b"1\n2\n3"
        assert here.run(["head", "-c", "2"], stdin=iter([b"ab", b"cd"])).stdout == b"ab"
        # The source may use the location itself: it has a thread of its own.
        assert here.run(["cat"], stdin=(here.run(["echo", word]).stdout for word in "xy")).stdout == b"x\ny\n"


def test_a_source_that_raises_ends_the_command(here):
    def source():
        yield b"a"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        here.run(["cat"], stdin=source())
    assert here.run(["echo", "next"]).text == "next\n"


def test_a_generator_is_closed_when_nobody_wants_more_of_it(here):
    closed = threading.Event()

    def source():
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.set()

    assert here.run(["head", "-c", "3"], stdin=source()).stdout == b"xxx"
    assert closed.wait(20)


# -- processes --


def test_a_process_and_its_streams(here):
    with here.open(["cat"]) as process:
        process.stdin.send(b"hello")
        assert process.stdout.receive() == b"hello"
        process.stdin.send(b"again")
        assert process.stdout.receive(2) == b"ag"
        process.stdin.close()
        assert process.stdout.read() == b"ain"
        assert process.stdout.receive() == b""
        assert process.wait() == 0
    with here.open("echo out; echo err >&2; exit 4") as process:
        assert b"".join(process.stdout) == b"out\n"
        assert list(process.stderr) == [b"err\n"]
        assert process.wait() == 4


def test_a_process_is_ended_by_kill_and_by_leaving(here):
    with here.open(["sleep", "1000"]) as process:
        process.kill()
        assert process.wait() == 128 + 15
    with here.open(["sleep", "1000"]) as process:
        pass
    with pytest.raises(ClosedError):
        process.wait()
    with here.open(["yes"]) as process:
        assert process.stdout.receive(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait() == 128 + 13


def test_a_program_that_is_missing(here):
    with pytest.raises(ProgramNotFound), here.open(["no-such-program-here"]):
        pass


# -- shells --


def test_a_shell_and_its_subshells(here):
    with here.shell("bash") as shell:
        assert shell.alive
        shell.run("cd /usr && X=1")
        with shell.subshell() as child:
            assert child.run("pwd; echo $X").text == "/usr\n1\n"
            child.run("X=2")
            assert child.id != shell.id
        assert shell.run("echo $X").text == "1\n"
        assert shell.run(["printf", "a b"]).text == "a b"
        assert shell.run("exit 5").returncode == 5
        assert not shell.alive
        with pytest.raises(ShellLost) as caught:
            shell.run("true")
        assert caught.value.started == "no"
    assert not shell.alive


# -- contexts --


def test_one_thread_for_all_and_none_afterwards():
    assert loops() == 0
    with blocking.connect("local:") as one:
        assert loops() == 1
        with blocking.connect("local:") as two, blocking.Pool(one) as pool:
            assert loops() == 1
            assert one.run(["true"]).ok
            assert two.run(["true"]).ok
            assert pool.run(["true"]).ok
        assert one.run(["true"]).ok
    assert loops() == 0


def test_contexts_that_end_in_another_order():
    one, two = blocking.connect("local:"), blocking.connect("local:")
    one.__enter__()
    two.__enter__()
    one.close()
    assert two.run(["true"]).ok
    two.close()
    two.close()
    assert loops() == 0


def test_what_is_not_open():
    location = blocking.connect("local:")
    for use in (lambda: location.run(["true"]), location.shell, lambda: location.open(["true"]), location.statistics):
        with pytest.raises(ClosedError, match="not open"):
            use()
    with location:
        pass
    with pytest.raises(ClosedError, match="closed"):
        location.run(["true"])
    with pytest.raises(ClosedError, match="before"):
        location.__enter__()
    assert loops() == 0


def test_what_cannot_be_opened_leaves_no_thread():
    with pytest.raises(LocationError):
        blocking.connect("nowhere://x")
    with pytest.raises(ConnectError), blocking.connect("local:", shell="no-such-shell-here") as here:
        here.run(["true"])
    with pytest.raises(ConnectError), blocking.connect("local:", cwd="/no/such/directory"):
        pass
    assert loops() == 0


def test_an_exception_of_the_body_goes_on():
    with pytest.raises(ZeroDivisionError), blocking.connect("local:"):
        raise ZeroDivisionError
    assert loops() == 0


# -- threads and loops --


def test_commands_of_several_threads_run_at_once(here, tmp_path):
    meeting = Started(tmp_path)
    with ThreadPoolExecutor(2) as threads:  # each waits for the other at the FIFO: one after another would never end
        writer = threads.submit(here.run, meeting.script)
        reader = threads.submit(here.run, ["cat", str(meeting.path)])
        assert writer.result(60).ok
        assert reader.result(60).stdout


def test_many_threads_get_their_own_results(here):
    def run(number: int) -> bool:
        return all(here.run(["echo", f"{number}.{turn}"]).text == f"{number}.{turn}\n" for turn in range(25))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(run, range(8)))


def test_closing_ends_what_another_thread_waits_for(tmp_path):
    started = Started(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        with blocking.connect("local:") as here:
            running = threads.submit(here.run, started.script + "; exec sleep 1000")
            started.wait()
        with pytest.raises((ShellLost, ClosedError)):
            running.result(60)
    assert loops() == 0


def test_within_a_running_event_loop():
    async def main() -> str:
        with blocking.connect("local:") as here:
            return here.run(["echo", "inside"]).text

    assert asyncio.run(main()) == "inside\n"


def test_a_call_on_the_loop_s_own_thread_is_refused(here):
    async def source():
        yield here.run(["echo", "deadlock"]).stdout

    with pytest.raises(BusyError, match="wait for itself"):
        here.run(["cat"], stdin=source())
    assert here.run(["echo", "next"]).text == "next\n"


# -- the pool --


def test_the_pool(here):
    with blocking.connect("local:?framing=markers") as other, pytest.raises(LocationError, match="same name"):
        blocking.Pool([here, other])
    with blocking.Pool(here, size=3) as pool:
        assert pool.run(["echo", "x"], on=here).text == "x\n"
        assert pool.run(["echo", "x"], on="local").text == "x\n"
        assert [result.text for result in pool.map([["echo", str(n)] for n in range(50)])] == [
            f"{n}\n" for n in range(50)
        ]
        assert {result.text for result in pool.map((["echo", str(n)] for n in range(9)), ordered=False)} == {
            f"{n}\n" for n in range(9)
        }
        got = list(pool.map([["true"], ["no-such-program-here"]], errors="return"))
        assert got[0].ok
        assert isinstance(got[1], ProgramNotFound)
        with pytest.raises(ProgramNotFound):
            list(pool.map([["no-such-program-here"]]))
        pool.resize(5)
        assert pool.capacity() == pool.capacity(here) == 5
        pool.drain()
        assert pool.statistics().done >= 60
        assert not pool.closed
    assert pool.closed
    with pytest.raises(ClosedError):
        pool.run(["true"])


def test_a_map_of_what_is_no_collection_of_commands(here):
    with blocking.Pool(here) as pool:
        for wrong in ("echo", b"echo", 5, warmshell.Command(["true"])):
            with pytest.raises(CommandError):
                pool.map(wrong)
        with pytest.raises(ValueError, match="window"):
            pool.map([["true"]], window=0)
        assert list(pool.map([])) == []


def test_a_map_takes_commands_only_as_its_results_are_taken(here):
    taken = []

    def commands():
        for number in range(10_000_000):
            taken.append(number)
            yield ["echo", str(number)]

    with blocking.Pool(here, size=2) as pool, pool.map(commands(), window=4) as results:
        for number, result in zip(range(20), results, strict=False):
            assert result.text == f"{number}\n"
            assert len(taken) <= number + 5


def test_commands_may_come_from_other_commands(here):
    with blocking.Pool(here, size=2) as pool:
        commands = (["echo", here.run(["echo", str(number)]).text] for number in range(5))
        assert [result.text for result in pool.map(commands)] == [f"{number}\n\n" for number in range(5)]


def test_a_map_that_is_left(here, tmp_path):
    started = Started(tmp_path)
    with blocking.Pool(here, size=2) as pool:
        for result in pool.map(["echo first", started.script + "; exec sleep 1000"]):
            assert result.text == "first\n"
            started.wait()
            break
        results = pool.map([["true"]])
        results.close()
        assert list(results) == []


def test_locations_that_are_none(here):
    for wrong in ("local:", 5, [], [5], warmshell.connect("local:"), [warmshell.connect("local:")]):
        with pytest.raises(LocationError):
            blocking.Pool(wrong)
    with pytest.raises(ClosedError):
        blocking.Pool(blocking.connect("local:"))
    with blocking.Pool(here) as pool, pytest.raises(LocationError):
        pool.run(["true"], on="elsewhere")


def test_streams_of_commands(here):
    with here.writer(["sh", "-c", "cat >&2; exit 3"]) as writer, pytest.raises(CommandFailed, match="bytes"):
        writer.write(b"bytes")
        writer.close()
    assert writer.returncode == 3
    with here.reader(["seq", "3"]) as reader:
        assert reader.read(1) == b"1"
        assert b"".join(reader) == b"\n2\n3\n"
    assert reader.returncode == 0
    with pytest.raises(IncompleteStream), here.reader(["yes"]) as reader:
        reader.read(1)
    with pytest.raises(ZeroDivisionError), here.reader(["yes"]):
        1 / 0  # noqa: B018


# -- the names --


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("twin", "own", "elsewhere"),
    [
        (warmshell.Location, blocking.Location, {"place", "lane", "adopt", "disown", "files"}),
        (warmshell.Shell, blocking.Shell, {"state", "copy_lane"}),
        (warmshell.Process, blocking.Process, set()),
        (warmshell.Pool, blocking.Pool, set()),
        (warmshell.pool.Results, blocking.Results, set()),
        (warmshell.Attached, blocking.Attached, {"on_frame", "on_lost"}),
        (warmshell.process.ByteSendStream, blocking.Sender, {"send_some", "widen"}),
        (warmshell.process.ByteReceiveStream, blocking.Receiver, {"rest", "settled", "subscribe"}),
    ],
)
def test_every_name_has_its_twin(twin, own, elsewhere):
    names = {"close" if name == "aclose" else name for name in public(twin) - elsewhere}
    assert names <= public(own)


def test_importing_the_package_imports_no_blocking_face():
    import subprocess
    import sys

    text = (
        "import sys, warmshell; print(sorted(name for name in sys.modules if 'blocking' in name or name == 'asyncio'))"
    )
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, check=True).stdout == b"[]\n"
    assert Path(blocking.__file__).name == "blocking.py"
