"""Programs in containers over a WebSocket of Kubernetes: ``remotecommand``, versions 4 and 5.

Every binary message begins with a byte that names its channel. Nothing here does I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
OFFERED = (V5, V4)
"""The versions that a client offers, the best first. Only the fifth can end one stream and leave the others open."""

_LONGEST_STATUS = 64 * 1024
_HIGHEST_STATUS = 255


class ProtocolError(ValueError):
    """What came is no message of the protocol."""


class Outcome(NamedTuple):
    """How a program ended.

    Attributes:
        status: its exit status; ``None``: it did not end by itself, or was never started.
        message: what is known of it then.
    """

    status: int | None
    message: str = ""


def message(channel: int, data: bytes) -> bytes:
    """The message that carries these bytes on a channel."""
    return bytes((channel,)) + data


def end_of(channel: int) -> bytes:
    """The message of version 5 that ends a channel."""
    return bytes((CLOSE, channel))


def resize(rows: int, columns: int) -> bytes:
    """The message that tells the size of the terminal."""
    return message(RESIZE, json.dumps({"Width": columns, "Height": rows}).encode())


class Receiver:
    """What a client makes of the messages of one program.

    Args:
        protocol: the version that the server has chosen.

    Attributes:
        half_close: whether standard input can end while the program goes on.
        outcome: how the program ended, once that is known.

    Raises:
        ProtocolError: the server has chosen none that was offered.
    """

    def __init__(self, protocol: str | None) -> None:
        if protocol not in OFFERED:
            raise ProtocolError(f"the server speaks none of {', '.join(OFFERED)}, but {protocol or 'nothing'}")
        self.half_close = protocol == V5
        self.outcome: Outcome | None = None
        self._said = b""

    def feed(self, received: bytes) -> tuple[int, bytes]:
        """The stream and the bytes of one message; the bytes are empty where it is about something else.

        Raises:
            ProtocolError: it has no channel, one that a server does not send on, or what it says makes no sense.
        """
        if not received:
            raise ProtocolError("a message without a channel")
        channel, data = received[0], received[1:]
        if channel in (STDOUT, STDERR):
            return channel, data
        if channel == STATUS:
            self._take_status(data)
        elif channel != CLOSE:
            raise ProtocolError(f"a message on channel {channel}")
        return channel, b""

    def _take_status(self, data: bytes) -> None:
        """A status may come in pieces: it is there once it is complete."""
        self._said += data
        if len(self._said) > _LONGEST_STATUS:
            raise ProtocolError("a status without an end")
        if self.outcome is None and self._said:
            try:
                found = json.loads(self._said)
            except (ValueError, RecursionError):
                return
            self.outcome = outcome(found)

    def end(self) -> Outcome:
        """The outcome, now that nothing more will come: one that was never told is no success."""
        if self.outcome is None:
            said = self._said.decode("utf-8", "replace").strip()
            self.outcome = Outcome(None, said or "the connection ended without the program's status")
        return self.outcome


def outcome(status: object) -> Outcome:
    """What a ``v1.Status`` means."""
    if not isinstance(status, Mapping):
        return Outcome(None, f"not a status: {str(status)[:200]}")
    if status.get("status") == "Success":
        return Outcome(0)
    said = str(status.get("message") or status.get("reason") or "it failed without a word")
    if status.get("reason") == "NonZeroExitCode":
        code = _exit_code(status.get("details"))
        if code is not None:
            return Outcome(code, said)
    return Outcome(None, said)


def _exit_code(details: object) -> int | None:
    causes = details.get("causes") if isinstance(details, Mapping) else None
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, Mapping) and cause.get("reason") == "ExitCode":
            text = str(cause.get("message"))
            if text.isascii() and text.isdigit() and int(text) <= _HIGHEST_STATUS:
                return int(text)
    return None
