"""The client's end of a WebSocket (RFC 6455), from the handshake on: whole messages out of any pieces, and frames.

No extensions, and nothing here does I/O.
"""

from __future__ import annotations

import base64
import hashlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    Message = tuple[int, bytes]
    """The opcode, and all the bytes."""

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
"""Opcodes (RFC 6455, section 5.2)."""

LONGEST = 4 * 1024 * 1024
"""Bytes of a message; a longer one is an error of the server."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LAST, _KIND, _MASKED, _SIZE, _CONTROL = 0x80, 0x0F, 0x80, 0x7F, 8
_SHORT, _TWO, _EIGHT = 125, 126, 127


class WebSocketError(ValueError):
    """What came is no frame, or none that a server may send."""


def new_key() -> str:
    """A key for the handshake's ``Sec-WebSocket-Key``."""
    return base64.b64encode(os.urandom(16)).decode()


def accepted(key: str) -> str:
    """What ``Sec-WebSocket-Accept`` has to be for a key (section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID).digest()  # noqa: S324 - the standard's own, and no secret
    return base64.b64encode(digest).decode()


def frame(opcode: int, data: bytes) -> bytes:
    """A whole message, as a client sends it: in one frame, masked by bytes that nobody can foresee (section 5.3)."""
    size = len(data)
    mask = os.urandom(4)
    if size <= _SHORT:
        head = bytes((_LAST | opcode, _MASKED | size))
    elif size < 1 << 16:
        head = bytes((_LAST | opcode, _MASKED | _TWO)) + size.to_bytes(2, "big")
    else:
        head = bytes((_LAST | opcode, _MASKED | _EIGHT)) + size.to_bytes(8, "big")
    masks = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(data, "little") ^ int.from_bytes(masks, "little")).to_bytes(size, "little")
    return head + mask + masked


class Decoder:
    """Makes messages of what a server sends; feed it bytes in any pieces.

    Pings and the like are messages too, and come between the frames of a longer one.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = 2  # bytes, without which there is nothing to be made of those that are held
        self._opcode = CONTINUED  # of the message whose frames have begun to come
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete.

        Raises:
            WebSocketError: they are no frames. Nothing is to be made of anything that comes after them.
        """
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return []
            data = bytes(self._held)
            self._held.clear()
        self._wanted = 2
        messages: list[Message] = []
        at, size = 0, len(data)
        while size - at >= 2:
            start, end = self._bounds(data, at)
            if end > size:
                self._wanted = end - at
                break
            self._take(data[at], data[start:end], messages)
            at = end
        if at < size:
            self._held += memoryview(data)[at:]
        return messages

    def _bounds(self, data: bytes, at: int) -> tuple[int, int]:
        """Where a frame's payload begins and ends; both may be further than there are bytes."""
        length = data[at + 1]
        if length & _MASKED:
            raise WebSocketError("a server's frame is not masked")
        if length <= _SHORT:
            return at + 2, at + 2 + length
        if data[at] & _KIND >= _CONTROL:
            raise WebSocketError(f"a control frame with more than {_SHORT} bytes")
        start = at + (4 if length == _TWO else 10)
        if start > len(data):
            return start, start
        length = int.from_bytes(data[at + 2 : start], "big")
        if length > LONGEST:
            raise WebSocketError(f"a frame of {length:,} bytes; {LONGEST:,} at most")
        return start, start + length

    def _take(self, first: int, payload: bytes, messages: list[Message]) -> None:
        if first == _LAST | BINARY and self._opcode == CONTINUED:  # nearly always
            messages.append((BINARY, payload))
            return
        opcode = first & _KIND
        if first & ~(_LAST | _KIND) or opcode not in (CONTINUED, TEXT, BINARY, CLOSE, PING, PONG):
            raise WebSocketError(f"a frame that begins with {first:#04x}")
        if opcode >= _CONTROL:
            if not first & _LAST:
                raise WebSocketError("a control frame in pieces")
            messages.append((opcode, payload))
        else:
            self._join(opcode, first & _LAST != 0, payload, messages)

    def _join(self, opcode: int, last: bool, payload: bytes, messages: list[Message]) -> None:
        if (opcode == CONTINUED) == (self._opcode == CONTINUED):
            raise WebSocketError("a message that begins in another, or goes on without a beginning")
        self._opcode = opcode or self._opcode
        if payload:
            self._parts.append(payload)
        self._size += len(payload)
        if self._size > LONGEST:
            raise WebSocketError(f"a message of more than {LONGEST:,} bytes")
        if last:
            messages.append((self._opcode, b"".join(self._parts)))
            self._opcode, self._size = CONTINUED, 0
            self._parts.clear()
