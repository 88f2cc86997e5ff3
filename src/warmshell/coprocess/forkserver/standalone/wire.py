"""What a client and a server say to each other, without a socket. ``docs/warm-call.md`` has the protocol.

A request is a header, the fields, and descriptors with its first byte: the working directory, then those of 0, 1 and 2.
An answer is a line: a letter, and what it is about. The server speaks first: a client sends nothing, and above all no
descriptors, to a server that does not answer.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CALL, STATS, STOP = b"WSF1", b"WSS1", b"WSX1"
HEADER = struct.Struct("<4sI")
LARGEST = 16 * 1024 * 1024
DESCRIPTORS = 4

QUEUED, READY, STARTED, STATUS, KILLED, STOPPED, REFUSED = b"Q", b"R", b"P", b"S", b"K", b"T", b"E"
GO = b"G"
"""What the client sends once it has the pid: not before does the tool begin."""

STALE, COLD, BAD = b"stale", b"cold", b"bad"


class BadRequest(Exception):
    """Bytes that are no request."""


class Request:
    """One call: what a new process inherits from its parent, besides the descriptors."""

    __slots__ = ("args", "argv0", "blocked", "env", "ignored", "key", "nice", "umask")

    def __init__(
        self,
        key: bytes,
        argv0: bytes,
        umask: int,
        nice: int,
        blocked: int,
        ignored: int,
        args: Sequence[bytes],
        env: Sequence[bytes],
    ) -> None:
        self.key = key
        self.argv0 = argv0
        self.umask = umask
        self.nice = nice
        self.blocked = blocked
        self.ignored = ignored
        self.args = args
        self.env = env

    def encode(self) -> bytes:
        """The whole request."""
        numbers = b"%o %d %x %x %d" % (self.umask, self.nice, self.blocked, self.ignored, len(self.args))
        body = b"\0".join([self.key, self.argv0, numbers, *self.args, *self.env])
        return HEADER.pack(CALL, len(body)) + body


def length(header: bytes) -> tuple[bytes, int]:
    """What is asked for, and how many bytes follow.

    Raises:
        BadRequest: no header of ours, or more than anybody may send.
    """
    kind, size = HEADER.unpack(header)
    if kind not in (CALL, STATS, STOP):
        raise BadRequest("not a request")
    if size > LARGEST:
        raise BadRequest(f"a request of {size} bytes is too large")
    return kind, size


def decoded(body: bytes) -> Request:
    """The request that such fields are.

    Raises:
        BadRequest: fields are missing, or no numbers where numbers have to be.
    """
    fields = body.split(b"\0")
    try:
        key, argv0, numbers = fields[:3]
        umask, nice, blocked, ignored, count = numbers.split(b" ")
        wanted = int(count)
        args, env = fields[3 : 3 + wanted], fields[3 + wanted :]
        if wanted != len(args) or not all(b"=" in entry[1:] for entry in env):
            raise BadRequest("fields are missing")
        mask = int(umask, 8)
        if not 0 <= mask <= 0o777:
            raise BadRequest("no umask")
        return Request(key, argv0, mask, int(nice), int(blocked, 16), int(ignored, 16), args, env)
    except ValueError:
        raise BadRequest("fields are missing, or no numbers") from None
