"""The log of what was sent: whatever is cut, every frame arrives once and in order."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.protocol import frames
from warmshell.protocol.resume import ReceivedCount, SentLog

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.binary(max_size=300)),
        st.tuples(st.just("deliver"), st.integers(0, 1000)),
        st.tuples(st.just("acknowledge"), st.just(0)),
        st.tuples(st.just("cut"), st.booleans()),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([0, 100, 10_000]))
def test_every_frame_once_and_in_order(steps, memory):
    with tempfile.TemporaryDirectory() as directory:
        log = SentLog(memory=memory, directory=directory)
        received, decoder = ReceivedCount(), frames.FrameDecoder()
        sent, arrived, wire = [], [], bytearray()

        def take(data):
            for _, _, payload in decoder.feed(data):
                received.add(len(payload))
                arrived.append(payload)

        for what, value in steps:
            if what == "send":
                frame = frames.pack(frames.STDOUT, 1, value)
                sent.append(value)
                log.append(frame)
                wire += frame
            elif what == "deliver":
                take(bytes(wire[:value]))
                del wire[:value]
            elif what == "acknowledge":
                log.acknowledge(received.count)
                received.acknowledgement()
            else:  # the connection is cut: what was on its way is gone, also half a frame
                decoder = frames.FrameDecoder()
                if value:
                    log.acknowledge(received.count)
                wire = bytearray(b"".join(log.since(received.count)))
            assert arrived == sent[: len(arrived)]
            assert log.end == len(sent)
        take(bytes(wire))
        assert arrived == sent
        log.acknowledge(received.count)
        assert log.size == 0
        log.close()
        assert os.listdir(directory) == []


def test_what_is_beyond_memory_is_in_files(tmp_path):
    log = SentLog(memory=1000, directory=str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    pieces = [os.urandom(100_000) for _ in range(200)]
    for piece in pieces:
        log.append(piece)
    assert len(os.listdir("/proc/self/fd")) > before
    assert list(tmp_path.iterdir()) == []
    assert list(log.since(0)) == pieces
    assert log.some(150, 1) == [pieces[150]]
    log.acknowledge(199)
    assert list(log.since(199)) == [pieces[199]]
    log.acknowledge(200)
    assert (len(os.listdir("/proc/self/fd")), log.size) == (before, 0)


def test_what_was_acknowledged_cannot_be_had_again():
    log = SentLog()
    for _ in range(5):
        log.append(b"x")
    log.acknowledge(3)
    log.acknowledge(2)
    with pytest.raises(ValueError):
        list(log.since(2))
    with pytest.raises(ValueError):
        list(log.since(6))
    with pytest.raises(ValueError):
        log.acknowledge(6)


def test_a_full_disk_leaves_memory(tmp_path):
    log = SentLog(memory=10, directory=str(tmp_path / "nowhere"))
    log.append(b"x" * 100)
    assert list(log.since(0)) == [b"x" * 100]


def test_acknowledgements_are_due_by_bytes():
    count = ReceivedCount(7)
    assert not count.owed
    assert not count.add(10)
    assert count.owed
    assert count.add(10**6)
    assert count.acknowledgement()[9:] == (9).to_bytes(8, "big")
    assert not count.owed
