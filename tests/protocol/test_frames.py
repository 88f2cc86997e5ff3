"""Frames come out of a byte stream as they went in, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.protocol.frames import (
    ENDED,
    HEADER,
    MAX_PAYLOAD,
    FrameDecoder,
    pack,
    pack_ended,
    pack_numbered,
    split_ended,
)

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=12)


@given(FRAMES, st.lists(st.integers(1, 60), max_size=80))
def test_frames_come_out_however_the_stream_is_cut(frames, cuts):
    stream = b"".join(pack(*frame) for frame in frames)
    decoder, found, at = FrameDecoder(), [], 0
    for size in [*cuts, len(stream)]:
        found += decoder.feed(stream[at : at + size])
        at += size
    assert found == frames
    assert decoder.pending == 0


@given(FRAMES, st.integers(1, 30))
def test_what_is_missing_at_the_end_is_held(frames, missing):
    stream = b"".join(pack(*frame) for frame in [*frames, (1, 2, b"the last of them, and long")])
    decoder = FrameDecoder()
    assert decoder.feed(stream[:-missing]) == frames
    assert decoder.pending == HEADER.size + 26 - missing
    assert decoder.feed(stream[-missing:]) == [(1, 2, b"the last of them, and long")]


@pytest.mark.parametrize("cut", [0, 1, 8, 9])
def test_a_frame_that_is_too_long_is_told_by_its_header(cut):
    header = HEADER.pack(MAX_PAYLOAD + 1, 1, 1)
    decoder = FrameDecoder()
    with pytest.raises(ValueError, match="at most"):
        [decoder.feed(piece) for piece in (header[:cut], header[cut:])]


def test_the_longest_frame_passes():
    payload = bytes(MAX_PAYLOAD)
    decoder, found = FrameDecoder(), []
    stream = pack(9, 1, payload) * 2
    for at in range(0, len(stream), 100_003):
        found += decoder.feed(stream[at : at + 100_003])
    assert found == [(9, 1, payload)] * 2


def test_a_numbered_frame_begins_with_the_number():
    assert FrameDecoder().feed(pack_numbered(8, 3, 5, b"data")) == [(8, 3, b"\0\0\0\5data")]


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=30))
def test_an_end_says_what_output_and_result_would(seq, status, rest):
    ((kind, subshell, payload),) = FrameDecoder().feed(pack_ended(3, seq, status, rest))
    stdout, result = split_ended(payload)
    assert (kind, subshell) == (ENDED, 3)
    assert stdout == seq.to_bytes(4, "big") + rest
    assert result == seq.to_bytes(4, "big") + b'{"status": %d}' % status


def test_an_end_that_is_cut_is_none():
    with pytest.raises(ValueError):
        split_ended(b"\0\0\0\1")
