"""Messages over a WebSocket, in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.protocol import websocket
from warmshell.protocol.websocket import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    Decoder,
    WebSocketError,
    accepted,
    frame,
    new_key,
)

SIZES = st.sampled_from([0, 1, 3, 4, 125, 126, 127, 128, 65535, 65536, 70000])
LATER = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
MESSAGES = st.lists(
    st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=300), min_size=1, max_size=4),
              st.lists(LATER, max_size=2)),
    max_size=8,
)  # fmt: skip


def sent(opcode: int, data: bytes, *, last: bool = True) -> bytes:
    """A frame as a server sends it, in the shortest form."""
    size = len(data)
    if size < 126:
        length = bytes([size])
    elif size < 65536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes([128 * last + opcode]) + length + data


def decoded(data: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    decoder, found, at = Decoder(), [], 0
    for size in [*cuts, len(data)]:
        found += decoder.feed(data[at : at + size])
        at += size
    return found


@given(MESSAGES, st.lists(st.integers(0, 40), max_size=60))
def test_messages_in_frames_in_pieces(
    messages: list[tuple[int, list[bytes], list[tuple[int, bytes]]]], cuts: list[int]
) -> None:
    """Control messages may come between the frames of another."""
    data, wanted = b"", []
    for opcode, parts, between in messages:
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            data += sent(opcode if number == 0 else CONTINUED, part, last=last)
            if number == 0:
                wanted += between if not last else []
                data += b"".join(sent(*each) for each in between) if not last else b""
        wanted.append((opcode, b"".join(parts)))
    assert decoded(data, cuts) == wanted


@given(SIZES, st.sampled_from([TEXT, BINARY, CLOSE, PING, PONG]))
def test_what_a_client_sends_is_masked_and_whole(size: int, opcode: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    data = frame(opcode, payload)
    plain = sent(opcode, b"\0" * size)
    head = len(plain) - size
    assert data[0] == plain[0]
    assert data[1] == plain[1] | 128
    assert data[2:head] == plain[2:head]
    mask, masked = data[head : head + 4], data[head + 4 :]
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked)) == payload


def test_no_two_masks_are_foreseen() -> None:
    assert len({frame(BINARY, b"same") for _ in range(20)}) == 20


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 1 << 20])
def test_every_form_of_a_length(size: int) -> None:
    data = b"x" * size
    assert decoded(sent(BINARY, data) * 2, [1, 1, 5]) == [(BINARY, data)] * 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x82\x81abcdx", "not masked"),
        (sent(BINARY | 0x40, b""), "begins with 0xc2"),
        (sent(3, b""), "begins with 0x83"),
        (sent(PING, b"a", last=False), "control frame in pieces"),
        (b"\x89\x7e\0\x7e" + b"a" * 126, "control frame with more than 125"),
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), "a frame of 1,099,511,627,776 bytes"),
        (sent(CONTINUED, b""), "without a beginning"),
        (sent(BINARY, b"", last=False) + sent(TEXT, b""), "begins in another"),
        (sent(TEXT, b"", last=False) + sent(BINARY, b""), "begins in another"),
    ],
)
def test_what_no_server_may_send(data: bytes, words: str) -> None:
    with pytest.raises(WebSocketError, match=words):
        decoded(data, [1] * len(data))
    with pytest.raises(WebSocketError, match=words):
        decoded(data, [])


def test_a_message_of_endless_frames_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "LONGEST", 1000)
    decoder = Decoder()
    decoder.feed(sent(BINARY, b"a" * 600, last=False))
    with pytest.raises(WebSocketError, match="a message of more than 1,000"):
        decoder.feed(sent(CONTINUED, b"a" * 600))


def test_endless_empty_frames_take_no_memory() -> None:
    decoder = Decoder()
    decoder.feed(sent(BINARY, b"", last=False) + sent(CONTINUED, b"", last=False) * 10_000)
    assert not decoder._parts
    assert decoder.feed(sent(CONTINUED, b"end")) == [(BINARY, b"end")]


@given(st.binary(max_size=300), st.lists(st.integers(1, 20), max_size=30))
def test_any_bytes_are_messages_or_refused_however_they_come(data: bytes, cuts: list[int]) -> None:
    def outcome(cuts: list[int]) -> list[tuple[int, bytes]] | None:
        try:
            return decoded(data, cuts)
        except WebSocketError:
            return None

    assert outcome(cuts) == outcome([])


def test_the_handshake_of_the_standard() -> None:
    """The example of RFC 6455, section 1.3."""
    assert accepted("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert len({new_key() for _ in range(5)}) == 5
