"""The job log: GNU parallel's format, broken tails, what is owed after a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell import InputError, OutputError
from warmshell.cli.joblog import HEADER, Entry, Joblog, parse, parse_line, unfinished

texts = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
entries = st.builds(
    Entry,
    seq=st.integers(1, 10**9),
    host=st.sampled_from([":", "node-1"]),
    started=st.integers(10**12, 2 * 10**12).map(lambda n: n / 1000),
    runtime=st.integers(0, 10**8).map(lambda n: n / 1000),
    receive=st.integers(0, 10**12),
    exitval=st.integers(-1, 255),
    signal=st.integers(0, 64),
    command=texts,
)


@given(entries)
def test_an_entry_comes_back_whatever_the_command(entry: Entry) -> None:
    line = entry.line()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse_line(line[:-1]) == entry


@given(st.lists(entries, max_size=5), st.data())
def test_a_log_cut_anywhere_gives_its_whole_lines(some: list[Entry], data: st.DataObject) -> None:
    lines = [HEADER, *(entry.line() for entry in some)]
    raw = b"".join(lines)
    cut = data.draw(st.integers(len(HEADER), len(raw)))
    found, whole = parse(raw[:cut])
    ends = [sum(map(len, lines[:n])) for n in range(1, len(lines) + 1)]
    kept = sum(end <= cut for end in ends) - 1
    assert whole == ends[kept]
    assert found == {entry.seq: entry for entry in some[:kept]}


def test_the_format_is_that_of_gnu_parallel() -> None:
    entry = Entry(3, ":", 1795180130.7764, 0.0004, 2, 2, 0, "echo 2; exit 2")
    assert entry.line() == b"3\t:\t1795180130.776\t     0.000\t0\t2\t2\t0\techo 2; exit 2\n"


@pytest.mark.parametrize(
    "raw", [b"hello\n", HEADER + b"1\t2\n", HEADER + b"x\t:\t1\t1\t0\t0\t0\t0\tc\n", b"no newline"]
)
def test_another_file_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="not a joblog"):
        parse(raw)


def test_what_is_owed() -> None:
    log = {
        seq: Entry(seq, ":", 0, 0, 0, status, signal, "c")
        for seq, status, signal in [(1, 0, 0), (2, 1, 0), (4, 0, 9), (5, -1, 15)]
    }
    assert [seq for seq in range(1, 7) if unfinished(log, failed=False)(seq)] == [3, 6]
    assert [seq for seq in range(1, 7) if unfinished(log, failed=True)(seq)] == [2, 3, 4, 5, 6]


def test_a_resumed_log_loses_its_broken_tail_and_goes_on(tmp_path) -> None:
    path = tmp_path / "log"
    first, second = (Entry(n, ":", 1.0, 1.0, 0, 0, 0, "c") for n in (1, 2))
    path.write_bytes(HEADER + first.line() + second.line()[:-3])
    log = Joblog(str(path), resume=True)
    assert set(log.entries) == {1}
    assert path.read_bytes().endswith(second.line()[:-3]), "nothing is written before the run is known to be the same"
    log.begin()
    log.write(second)
    log.close()
    assert path.read_bytes() == HEADER + first.line() + second.line()


def test_a_new_run_starts_a_new_log(tmp_path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    log = Joblog(str(path))
    log.begin()
    log.close()
    assert path.read_bytes() == HEADER


def test_a_log_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(OutputError, match="cannot write the joblog"):
        Joblog(str(tmp_path / "no" / "log"))
