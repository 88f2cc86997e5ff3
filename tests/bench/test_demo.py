"""The demo on a small input: the same bytes both ways, figures, a plot; and a clear end when bytes differ."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from warmshell.cli import demo as module
from warmshell.cli.demo import DemoError, Step, Tally, compare, demo, library
from warmshell.cli.usage import descendants


def invoke(*arguments):
    return CliRunner().invoke(demo, list(arguments))


def no_progress(_step, _count):
    pass


def test_a_small_demo_writes_figures_and_a_plot(tmp_path):
    done = invoke("--files", "7", "-j", "2", "--output", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "Same bytes for every file and command." in done.output
    figures = json.loads((tmp_path / "out/demo.json").read_text())
    assert figures["files"] == 7
    assert {way["runs"] for step in figures["steps"].values() for way in step.values()} == {7}
    assert len(figures["steps"]) == 5
    ET.fromstring((tmp_path / "out/demo.svg").read_text())


def test_an_output_that_cannot_be_written_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    done = invoke("--files", "1", "--output", str(tmp_path / "file/below"))
    assert done.exit_code == 2
    assert "cannot write to" in done.output
    assert "commands at once" not in done.output  # nothing was run


@pytest.mark.parametrize("words", [("--files", "0"), ("-j", "0"), ("-j", "many")])
def test_bad_options_are_refused(words):
    assert invoke(*words).exit_code == 2


def test_files_are_spread_over_the_whole_library():
    every, some = library(None), library(10)
    assert len(some) == len(set(some)) == 10
    assert set(some) <= set(every)
    assert some[0] == every[0]
    assert every.index(some[-1]) > 0.8 * len(every)
    assert len(every) > 500
    assert not any("__pycache__" in path or "site-packages" in path for path in every)


def odd_files(tmp_path):
    names = ["plain", "with space", "quo'te", "back\\slash\\n", "-dash", "$(touch gone)", "new\nline", "ünï"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 3)
    (tmp_path / "empty").write_bytes(b"")
    return [str(path) for path in tmp_path.iterdir()]


async def test_odd_names_say_the_same_both_ways(tmp_path):
    files = odd_files(tmp_path)
    outcome = await compare(module._steps(), files, 2, 0, no_progress)
    assert {len(tally.latencies) for ways in outcome.tallies.values() for tally in ways.values()} == {len(files)}


async def test_bytes_that_differ_end_the_demo(tmp_path):
    (tmp_path / "file").write_text("text")
    own = Step("the shell's own number", script="echo $$ #")
    with pytest.raises(DemoError, match=r"the shell's own number differs for .*/file"):
        await compare([own], [str(tmp_path / "file")], 1, 0, no_progress)
    assert descendants() == []


async def test_what_gzip_spoils_ends_the_demo(tmp_path):
    (tmp_path / "file").write_text("text")
    steps = [Step("plain", ("sha256sum",)), Step("packed", script="cat {} {} | sha256sum")]
    with pytest.raises(DemoError, match="/file is not the same after gzip and back"):
        await compare(steps, [str(tmp_path / "file")], 1, 0, no_progress)


def test_bytes_that_differ_are_exit_status_1(monkeypatch):
    monkeypatch.setattr(module, "_steps", lambda: [Step("differs", script="echo $$ #")])
    done = invoke("--files", "1")
    assert done.exit_code == 1
    assert "differs differs for" in done.output


def test_a_missing_program_is_one_clear_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = invoke("--files", "1")
    assert done.exit_code == 2
    assert "the demo needs cksum, wc, gzip, test, echo" in done.output


def test_quantiles():
    tally = Tally(seconds=2.0, latencies=[float(number) for number in range(100, 0, -1)])
    assert tally.quantile(0.5) == 51
    assert tally.quantile(0.95) == 96
    assert tally.quantile(1.0) == 100
    assert tally.rate == 50
    assert Tally().quantile(0.5) == 0


@pytest.mark.parametrize("then", ["exec sleep 600", "exit 0"])
def test_an_interrupt_ends_it_and_leaves_nothing(tmp_path, then):
    script = (
        "import os, signal, sys\n"
        "from warmshell.cli import demo as module\n"
        f"text = 'echo $$ >>\"$MARKS\"; kill -INT $CLIENT; {then} #'\n"
        "step = module.Step('sleeps', script=text)\n"
        "module._steps = lambda: [step]\n"
        "os.environ['CLIENT'] = str(os.getpid())\n"
        "module.demo()\n"
    )
    marks = tmp_path / "marks"
    argv = [sys.executable, "-c", script, "--files", "4", "-j", "1", "--output", str(tmp_path / "out")]
    with subprocess.Popen(argv, env={**os.environ, "MARKS": str(marks)}, stderr=subprocess.PIPE) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.decode().endswith("interrupted: nothing was written\n")
    assert list((tmp_path / "out").iterdir()) == []
    for pid in map(int, marks.read_text().split()):
        assert not alive(pid)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        return False
    except NotADirectoryError:  # no /proc at all
        os.kill(pid, signal.SIGCONT)
        return True
    return state != b"Z"
