"""Tags, JSON and result files from output of any size and content; progress in numbers."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell import OutputError
from warmshell.cli.output import is_text, json_base64, json_text, tagged
from warmshell.cli.progress import Bar, Lines, Meter, duration
from warmshell.cli.results import Results, component, directory
from warmshell.command import Output


@given(st.lists(st.binary(max_size=6), max_size=6), st.binary(max_size=3).map(lambda raw: raw.replace(b"\n", b"")))
def test_every_line_has_the_tag_however_it_is_cut(parts: list[bytes], tag: bytes) -> None:
    whole = b"".join(parts)
    lines = whole.split(b"\n")
    wanted = b"\n".join(tag + line if line or n < len(lines) - 1 else line for n, line in enumerate(lines))
    assert b"".join(tagged(parts, tag)) == wanted


@given(st.binary(max_size=50))
def test_output_in_json_comes_back(raw: bytes) -> None:
    output = Output(raw)
    assert base64.b64decode(json.loads(b"".join(json_base64(output)))) == raw
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        assert not is_text(output)
    else:
        assert is_text(output)
        assert json.loads(b"".join(json_text(output))) == text


@given(st.lists(st.text(max_size=300), max_size=4, unique=True))
def test_no_two_values_share_a_directory_and_none_leaves_it(values: list[str]) -> None:
    names = [component(value) for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        assert "/" not in name
        assert name not in ("", ".", "..")
        assert len(name.encode("utf-8", "surrogatepass")) <= 255 or "\ud800" <= max(name) <= "\udfff"


@pytest.mark.parametrize(
    ("value", "name"), [("a b", "a b"), ("x/y", "x\\_y"), ("a\\b", "a\\\\b"), ("t\tx", "t\\tx"), ("a%b", "a%b")]
)
def test_names_as_gnu_parallel_has_them(value: str, name: str) -> None:
    assert component(value) == name


def test_a_directory_for_every_job() -> None:
    assert directory([("a", "1")]) == "1/a/2/1"
    assert directory([("a",), ("b",)]) == "1/a/1/b"
    assert len(directory([(str(n),) for n in range(5000)])) < 4096


def test_results_of_a_job_with_thousands_of_values_can_be_written(tmp_path) -> None:
    rows = [(f"value-{n}",) for n in range(3000)]
    Results(str(tmp_path / "r")).write(rows, 7, Output(b"out"), Output(b"err"))
    found = {name: Path(where, name).read_bytes() for where, _, names in os.walk(tmp_path) for name in names}
    assert found == {"stdout": b"out", "stderr": b"err", "seq": b"7"}


def test_results_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write the results"):
        Results(str(tmp_path / "file"))


def test_rate_and_remaining_time() -> None:
    meter = Meter(started=100.0, total=100)
    assert meter.remaining(100.0) is None
    for n in range(20):
        meter.ended(100.5 + n / 2, ok=n % 10 != 0)
    assert meter.rate(110.0) == pytest.approx(2.0)
    assert meter.remaining(110.0) == pytest.approx(40.0)
    assert meter.text(110.0) == "20/100 done, 2 failed, 2/s, 40 s left"


def test_the_rate_follows_what_happened_lately() -> None:
    meter = Meter(started=0.0, total=10000)
    for n in range(1000):
        meter.ended(n / 100, ok=True)  # a quick beginning
    for n in range(60):
        meter.ended(10.0 + n, ok=True)  # and then one a second
    assert meter.rate(70.0) == pytest.approx(1.0, rel=0.1)


def test_without_a_total_no_end_is_promised() -> None:
    meter = Meter(started=0.0)
    meter.ended(1.0, ok=True)
    assert meter.remaining(2.0) is None
    assert meter.text(2.0) == "1 done, 0.5/s, 2 s so far"


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (61, "1:01 min"), (7380, "2:03 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_come_now_and_then_and_at_the_end() -> None:
    meter = Meter(started=0.0, total=2)
    lines = Lines(meter)
    assert lines.show(0.5) == b""
    assert lines.show(1.5).startswith(b"warm: 0/2 done")
    assert lines.show(2.0) == b""
    assert lines.show(2.1, last=True).endswith(b"\n")


def test_the_bar_is_one_line_that_is_taken_away_before_output() -> None:
    meter = Meter(started=0.0, total=2)
    bar = Bar(meter)
    assert bar.hide() == b""
    drawn = bar.show(1.0)
    assert b"0/2 done" in drawn
    assert b"\n" not in drawn
    assert bar.show(1.01) == b"", "not more than ten times a second"
    assert bar.hide() == b"\r\x1b[2K"
    assert bar.show(1.02) != b"", "drawn again after output"
    assert bar.show(2.0, last=True).endswith(b"\n")
