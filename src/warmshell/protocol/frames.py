"""The frames between a client and the session server: many subshells over one byte stream.

A frame is ``u32 length · u8 type · u32 subshell · payload``, numbers in network order, ``length`` that of the payload.
Control is JSON; data and words are raw bytes. See ``docs/protocol.md``.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = struct.Struct(">IBI")
"""Length of the payload, type, subshell."""
NUMBER = struct.Struct(">I")
"""The number of the command that a frame is about: the first four bytes of most payloads."""
GRANT = struct.Struct(">II")
"""Command number, bytes granted."""

_NUMBERED = struct.Struct(">IBII")
_ENDED = struct.Struct(">IBIIB")

MAX_PAYLOAD = 4 * 1024 * 1024
"""Bytes of payload; a longer frame is an error of the peer."""

CONTROL = 1
"""Both ways: a JSON object. Requests carry ``id`` and ``op``; answers the same ``id`` and ``ok`` or ``error``."""
RUN = 2
"""To the server: a command for a subshell, see :mod:`warmshell.protocol.remote`."""
INPUT = 3
"""To the server: command number, bytes of its standard input."""
END_OF_INPUT = 4
"""To the server: command number: its standard input has ended."""
KILL = 5
"""To the server: command number, grace in milliseconds (u32): end the command, and the shell it runs in."""
CREDIT = 6
"""To the server: command number, bytes of output it may send beyond those granted before. To the client: the same for
standard input."""
STARTED = 7
"""To the client: command number: its redirections are open and it starts."""
STDOUT = 8
"""To the client: command number, bytes of its standard output."""
STDERR = 9
"""To the client: command number, bytes of its standard error."""
RESULT = 10
"""To the client: command number, a JSON object: how the command ended. All its output came before."""
ACK = 11
"""To the server: command number: the client has the result, which need not be kept any longer."""

ACKNOWLEDGE = 12
"""Both ways, in a detachable session: how many frames have been received (u64), which need not be kept any longer."""
ATTACH = 13
"""Both ways, in a detachable session: a JSON object about the connection itself. Neither this nor
:data:`ACKNOWLEDGE` is counted."""
ATTACHED = 14
"""Both ways: a :data:`CONTROL` with bytes: the length of its JSON object (u32), the object, and its ``data``."""

OPEN = 15
"""To the server: a process of its own, whose number the client has chosen: the length of a JSON object (u32), the
object (``only``, ``pty``), a command as for :data:`RUN`. Frames about it have 0 for the number of a command, and

* ``STDOUT`` and ``STDERR`` without a byte mean the end of the stream,
* ``RESULT`` comes when it has ended, whoever still holds its streams,
* ``CREDIT`` to the server names a stream (0: standard output, 1: standard error) in place of a command,
* ``END_OF_INPUT`` to the client means that nobody reads its standard input any more,
* ``ACK`` lets go of it."""
FIRST_PROCESS = 1 << 31
"""The first number of a process of its own; subshells have lower ones."""

WORDS = 16
"""To the server: command number, and the words of a command that is nothing else, with a NUL byte between them. Most
are: this is what a :data:`RUN` would say in three times the time."""
ENDED = 17
"""To the client: command number, status (u8), the last bytes of its standard output: those, and a :data:`RESULT` that
says nothing but the status, in one."""

MISUNDERSTOOD = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, StopIteration, struct.error,
)  # fmt: skip
"""What is raised by whoever is given something else than the peer may say."""

COUNT = struct.Struct(">Q")
"""A number of frames."""

INITIAL_CREDIT = 128 * 1024
"""Bytes of output of each command, and of standard input, that may be sent before any credit was granted."""


def pack(kind: int, subshell: int, payload: bytes) -> bytes:
    """One frame.

    Raises:
        ValueError: the payload is too long.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload of {len(payload):,} bytes; {MAX_PAYLOAD:,} at most")
    return HEADER.pack(len(payload), kind, subshell) + payload


def pack_numbered(kind: int, subshell: int, seq: int, data: bytes = b"") -> bytes:
    """One frame about command ``seq``."""
    return _NUMBERED.pack(len(data) + 4, kind, subshell, seq) + data


def pack_words(subshell: int, seq: int, words: Sequence[bytes]) -> bytes:
    """One frame that runs words; none of them holds a NUL byte.

    Raises:
        ValueError: they are too long.
    """
    return pack(WORDS, subshell, NUMBER.pack(seq) + b"\0".join(words))


def pack_ended(subshell: int, seq: int, status: int, stdout: bytes) -> bytes:
    """One frame that says how command ``seq`` has ended, with the last of its output."""
    return _ENDED.pack(len(stdout) + 5, ENDED, subshell, seq, status) + stdout


def split_ended(payload: bytes) -> tuple[bytes, bytes]:
    """What :data:`STDOUT` and :data:`RESULT` would say of an :data:`ENDED`: their payloads.

    Raises:
        ValueError: it is cut.
    """
    number, status = payload[:4], payload[4:5]
    if not status:
        raise ValueError("an end without a status")
    return number + payload[5:], number + b'{"status": %d}' % status[0]


def pack_open(number: int, options: bytes, command: bytes) -> bytes:
    """One frame that starts a process of its own.

    Args:
        number: its number.
        options: a JSON object.
        command: as for :data:`RUN`.

    Raises:
        ValueError: they are too long.
    """
    return pack(OPEN, number, b"".join((NUMBER.pack(len(options)), options, command)))


def pack_attached(message: bytes, data: bytes) -> bytes:
    """One frame of control: a JSON object, and bytes that belong to it.

    Raises:
        ValueError: they are too long.
    """
    return pack(ATTACHED, 0, b"".join((NUMBER.pack(len(message)), message, data)))


def split_attached(payload: bytes) -> tuple[bytes, bytes]:
    """The JSON object and the bytes of an :data:`ATTACHED`.

    Raises:
        ValueError: it is cut.
    """
    end = NUMBER.size + (NUMBER.unpack_from(payload)[0] if len(payload) >= NUMBER.size else len(payload))
    if end > len(payload):
        raise ValueError("an object that is cut")
    return payload[NUMBER.size : end], payload[end:]


class FrameDecoder:
    """Cuts a byte stream into frames; feed it bytes in any pieces.

    Attributes:
        pending: bytes of a frame that is not whole yet.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of a frame that is not whole yet are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """The frames that these bytes complete: type, subshell, payload.

        Raises:
            ValueError: a frame longer than allowed: the peer speaks something else.
        """
        size = len(data)
        if not self._buffer and size >= HEADER.size:  # one frame and nothing else, as nearly always
            length, kind, subshell = HEADER.unpack_from(data)
            if HEADER.size + length == size and length <= MAX_PAYLOAD:
                return [(kind, subshell, data[HEADER.size :])]
        frames: list[tuple[int, int, bytes]] = []
        at = self._complete(data, frames) if self._buffer else 0
        while size - at >= HEADER.size:
            length, kind, subshell = _header(data, at)
            end = at + HEADER.size + length
            if end > size:
                break
            frames.append((kind, subshell, data[at + HEADER.size : end]))
            at = end
        if at < size:
            self._buffer += memoryview(data)[at:]
        return frames

    def _complete(self, data: bytes, frames: list[tuple[int, int, bytes]]) -> int:
        """Complete the frame that is held; returns how many of the bytes are its."""
        buffer = self._buffer
        taken = max(0, HEADER.size - len(buffer))
        buffer += data[:taken]
        if len(buffer) < HEADER.size:
            return len(data)
        length, kind, subshell = _header(buffer, 0)
        missing = HEADER.size + length - len(buffer)
        buffer += memoryview(data)[taken : taken + missing]
        if len(data) < taken + missing:
            return len(data)
        frames.append((kind, subshell, bytes(memoryview(buffer)[HEADER.size :])))
        self._buffer = bytearray()
        return taken + missing


def _header(data: bytes | bytearray, at: int) -> tuple[int, int, int]:
    length, kind, subshell = HEADER.unpack_from(data, at)
    if length > MAX_PAYLOAD:
        raise ValueError(f"a frame of {length:,} bytes; {MAX_PAYLOAD:,} at most")
    return length, kind, subshell
