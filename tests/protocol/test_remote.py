"""Commands on their way to the session server."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.protocol import frames
from warmshell.protocol.frames import FrameDecoder
from warmshell.protocol.remote import RemoteCommand, parse

NAMES = st.binary(max_size=20)
COMMANDS = st.builds(
    RemoteCommand,
    st.integers(1, 2**32 - 1),
    st.lists(NAMES, min_size=1, max_size=5),
    st.none() | NAMES,
    keeps_state=st.booleans(),
    cwd=st.none() | NAMES,
    env=st.none() | st.dictionaries(NAMES, NAMES, max_size=4),
    stdin=st.sampled_from(["none", "bytes", "stream"]),
    stdout=st.none() | NAMES,
    stderr=st.none() | NAMES,
    timeout=st.none() | st.floats(0, 1e9) | st.integers(0, 10**9),
)


@given(COMMANDS, NAMES)
def test_what_arrives_is_what_was_sent(command, data):
    command.data = data if command.stdin != "none" else b""
    arrived = RemoteCommand.decode(command.encode())
    for name in RemoteCommand.__slots__:
        assert getattr(arrived, name) == getattr(command, name), name


WORDS = st.lists(st.binary(max_size=20).filter(lambda word: b"\0" not in word), min_size=1).filter(
    lambda words: words[0]
)


@given(st.integers(1, 2**32 - 1), WORDS)
def test_words_alone_arrive_as_they_were_sent(seq, words):
    ((kind, subshell, payload),) = FrameDecoder().feed(frames.pack_words(7, seq, words))
    arrived, command = RemoteCommand.of_words(payload), RemoteCommand(seq, words)
    assert (kind, subshell) == (frames.WORDS, 7)
    for name in RemoteCommand.__slots__:
        assert getattr(arrived, name) == getattr(command, name), name


@pytest.mark.parametrize("cut", [b"", b"\0\0\0", b"\0\0\0\1"])
def test_words_that_are_cut_are_none(cut):
    with pytest.raises(ValueError):
        RemoteCommand.of_words(cut)


@given(COMMANDS)
def test_the_head_is_json_and_says_what_follows(command):
    payload = command.encode()
    size = int.from_bytes(payload[:4], "big")
    head = json.loads(payload[4 : 4 + size])
    assert head["seq"] == command.seq
    assert head["argv"] == len(command.argv)
    assert set(head) <= {"seq", "script", "cwd", "stdout", "stderr", "env", "argv", "stdin", "state", "timeout"}


@given(COMMANDS, st.data())
def test_what_is_cut_short_or_spoilt_is_refused_or_another_command(command, data):
    payload = bytearray(command.encode())
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(payload), bytes(payload[:at])):
        with contextlib.suppress(ValueError):
            RemoteCommand.decode(bad)


@pytest.mark.parametrize("bad", [b"", b"1 2", b"{} x", b'{"a"', b"\xff"])
def test_only_one_json_value_is_one(bad):
    with pytest.raises(ValueError):
        parse(bad)
    assert parse(b'{"status": 3}') == {"status": 3}
