"""Streams cut into commands, in whatever pieces their bytes come; and reports, whatever a shell makes of them."""

from __future__ import annotations

import contextlib
import secrets
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from warmshell.protocol.markers import StreamCutter, marker_frame, printf_pipe
from warmshell.protocol.request import parse_report

from .real_shells import evaluate, every_shell, slowly

MARKER = b"0123456789abcdef13579bdf02468acf"  # no end of it is a beginning of it
OTHER = MARKER[:-1] + b"e"

# Output made of everything that looks like a marker without being one.
_tricky = st.sampled_from(
    [MARKER[:size] for size in (1, 2, 15, 16, 31)]
    + [MARKER[1:], OTHER, OTHER + b" 1 0\n", b"\n", b"\0", b" 1 0\n", b"0"]
)
outputs = st.lists(st.one_of(_tricky, st.binary(max_size=9)), max_size=12).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, some of them empty."""
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


@given(
    before=outputs, output=outputs, after=outputs,
    places=st.lists(st.integers(0, 10_000), max_size=12), status=st.integers(0, 255),
)  # fmt: skip
@example(before=MARKER[:31], output=MARKER[:31], after=MARKER[:16], places=list(range(200)), status=0)
def test_only_what_stands_between_the_markers_is_output(before, output, after, places, status):  # fmt: skip
    assume(MARKER not in before + MARKER[:31] and MARKER not in output and MARKER not in after)
    start, end = MARKER + b" 1 s\n", MARKER + b" 1 %d\n" % status
    # A marker may come to be where output meets it: the first place where one can be read counts.
    assume((before + start).index(MARKER) == len(before) and (output + end).index(MARKER) == len(output))
    cutter = StreamCutter()
    cutter.expect(MARKER)
    got = [piece for data in cut(before + start + output + end + after, places) for piece in cutter.feed(data)]
    assert b"".join(got) == output
    assert b"" not in got
    assert cutter.lines == [b"1 s", b"1 %d" % status]


@given(data=outputs, places=st.lists(st.integers(0, 10_000), max_size=12))
def test_output_is_given_on_but_for_what_may_begin_a_marker(data, places):
    assume((data + MARKER).index(MARKER) == len(data))
    cutter = StreamCutter()
    cutter.expect(MARKER)
    cutter.feed(MARKER + b" 1 s\n")
    got = b""
    fed = b""
    for piece in cut(data, places):
        got += b"".join(cutter.feed(piece))
        fed += piece
        held = fed[len(got) :]
        assert fed.startswith(got)
        assert MARKER.startswith(held)
        assert held != MARKER


@given(
    commands=st.lists(st.tuples(st.binary(min_size=16, max_size=16), outputs, outputs), min_size=1, max_size=5),
    places=st.lists(st.integers(0, 10_000), max_size=20),
)
def test_one_command_after_another_and_what_comes_late(commands, places):
    cutter = StreamCutter()
    earlier = b""
    for number, (half, output, late) in enumerate(commands):
        marker = half.hex().encode()
        start, end = b"%s %d s\n" % (marker, number), b"%s %d 0\n" % (marker, number)
        assume(marker not in late and (output + end).index(marker) == len(output))
        assume((earlier + start).index(marker) == len(earlier))
        earlier = late
        cutter.expect(marker)
        got = [piece for data in cut(start + output + end + late, places) for piece in cutter.feed(data)]
        assert b"".join(got) == output
        assert cutter.lines == [b"%d s" % number, b"%d 0" % number]


class Searched(bytes):
    """Bytes that count how many of them are searched or copied, and whose slices and sums do so too."""

    work = 0

    def find(self, sub, start=0, end=None):
        found = super().find(sub, start, len(self) if end is None else end)
        Searched.work += (len(self) if found < 0 else found) - start
        return found

    def __getitem__(self, key):
        piece = super().__getitem__(key)
        if isinstance(key, slice):
            Searched.work += len(piece)
            return Searched(piece)
        return piece

    def __add__(self, other):
        Searched.work += len(self) + len(other)
        return Searched(bytes(self) + other)

    def __radd__(self, other):
        Searched.work += len(self) + len(other)
        return Searched(other + bytes(self))


def work(output: bytes, size: int) -> int:
    """How many bytes are searched or copied for one command's output that comes in pieces of this size."""
    cutter = StreamCutter()
    cutter.expect(MARKER)
    data = MARKER + b" 1 s\n" + output + MARKER + b" 1 0\n"
    Searched.work = 0
    got = [cutter.feed(Searched(data[start : start + size])) for start in range(0, len(data), size)]
    assert b"".join(b"".join(pieces) for pieces in got) == output
    assert len(cutter.lines) == 2
    return Searched.work


@pytest.mark.parametrize("size", [1, 7, 33, 4096])
@pytest.mark.parametrize("pattern", [b"x", MARKER[:31], b"0" * 40, MARKER[:16] + b"\n", b"\n"])
def test_the_work_is_linear_in_the_output(pattern, size):
    output = pattern * (500 * size // len(pattern) + 1)
    first, second = work(output[: 20 * size], size), work(output[: 320 * size], size)
    assert second <= 17 * first  # for sixteen times the output
    # And the factor: each byte a few times, and for each piece its last bytes against the marker's beginnings.
    assert second <= 5 * 320 * size + 330 * len(MARKER) ** 2 + 10_000


def test_a_hundred_megabytes_without_a_newline():
    cutter = StreamCutter()
    cutter.expect(MARKER)
    cutter.feed(MARKER + b" 1 s\n")
    piece = b"z" * 1024 * 1024
    total = 0
    for _ in range(100):
        (got,) = cutter.feed(piece)
        total += len(got)
    assert total == 100 * len(piece)
    assert cutter.feed(MARKER + b" 1 0\n") == []


def test_a_marker_without_a_report_is_an_error_and_not_held_for_ever():
    cutter = StreamCutter()
    cutter.expect(MARKER)
    cutter.feed(MARKER + b" 1 s\n")
    cutter.feed(MARKER)
    for _ in range(60):
        cutter.feed(b"x")
    with pytest.raises(ValueError, match="without a report"):
        cutter.feed(b"x" * 60)


@given(pieces=st.lists(outputs | st.sampled_from([MARKER, MARKER + b" 1 s\n"]), max_size=12))
def test_whatever_comes_only_a_value_error(pieces):
    cutter = StreamCutter()
    cutter.expect(MARKER)
    with contextlib.suppress(ValueError):
        for piece in pieces:
            assert all(cutter.feed(piece))


def test_a_marker_never_stands_in_a_request_in_one_piece():
    marker = secrets.token_hex(16).encode()
    frame = marker_frame(marker, b"</dev/null", None, None)
    assert marker not in b" ".join([frame.stdin, frame.stdout, frame.stderr, frame.private, frame.say, frame.said])


# -- reports ----------------------------------------------------------------------------------------------------------


@given(seq=st.integers(0, 10**12), status=st.integers(0, 511))
def test_reports_are_read_as_they_are_written(seq, status):
    def read(line: bytes) -> tuple[int, str, int, bool]:
        report = parse_report(line)
        return report.seq, report.event, report.status, report.retire

    assert read(b"%d s" % seq) == (seq, "started", 0, False)
    assert read(b"%d %d" % (seq, status)) == (seq, "ended", status, False)
    assert read(b"%d c %d" % (seq, status)) == (seq, "no-directory", status, False)
    assert read(b"%d %d x" % (seq, status)) == (seq, "ended", status, True)


_words = st.sampled_from(
    [b"s", b"c", b"x", b"0", b"1", b"12", b"-1", b"+1", b"1_0", b"1.0", b"", b"\xd9\xa1", b"9" * 5000, b"0x1", b"e"]
)


@given(line=st.binary(max_size=12) | st.lists(_words, max_size=5).map(b" ".join))
@example(line=b"1_0 0")
@example(line=b"-1 s")
@example(line=b"+1 0 x")
@example(line=b"1 c -1")
def test_anything_else_is_a_value_error(line):
    try:
        report = parse_report(line)
    except ValueError:
        return
    written = {
        "started": b"%d s" % report.seq,
        "no-directory": b"%d c %d" % (report.seq, report.status),
        "ended": b"%d %d" % (report.seq, report.status) + b" x" * report.retire,
    }[report.event]
    # Read only if a shell could have written it: digits and blanks, no signs, no underscores.
    assert [word.lstrip(b"0") or b"0" for word in line.split()] == written.split()


# -- bytes for standard input -----------------------------------------------------------------------------------------


@every_shell
@slowly
@given(
    data=st.binary(max_size=200) | st.sampled_from([b"%", b"%s%d\\", b"\\101", b"-n", b"--", b"'", b"\n\n", b"\0" * 9])
)
def test_printf_writes_any_bytes(shell, data):
    done = evaluate(shell, printf_pipe(data) + b"cat\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")


@every_shell
def test_printf_writes_every_byte_before_every_kind_of_byte(shell):
    data = bytes(range(256)) + b"".join(
        bytes([byte]) + follow for byte in range(256) for follow in (b"0", b"7", b"a", b"%")
    )
    assert evaluate(shell, printf_pipe(data) + b"cat\n").stdout == data


@every_shell
def test_printf_writes_much(shell):
    data = bytes(range(256)) * 256
    assert evaluate(shell, printf_pipe(data) + b"cat\n").stdout == data
