"""A command on its way to the session server, as the payload of a ``RUN`` frame.

``u32 length · JSON · fields``: the JSON object names what follows, each field is ``u32 length · bytes``, so that words
and names keep any byte.
"""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SIZE = struct.Struct(">I")
_scan = json.JSONDecoder().raw_decode


def parse(data: bytes) -> object:
    """One JSON value that fills these bytes, in less time than ``json.loads`` takes for a short one.

    Raises:
        ValueError: it is none.
    """
    text = data.decode()
    value, end = _scan(text)
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value


class RemoteCommand:
    """A command as the session server gets it.

    Attributes:
        seq: its number, made by the client: a number that the subshell knows already is not run again.
        argv: its words; empty for a script.
        script: a script, or ``None``.
        keeps_state: whether it runs in the shell itself, whose state it changes.
        cwd: the directory to run in, or ``None``.
        env: variables for this command, or ``None``.
        stdin: ``"none"``, ``"bytes"`` (they follow as ``data``) or ``"stream"`` (``INPUT`` frames follow).
        data: the bytes of standard input.
        stdout: a file for its standard output, or ``None``.
        stderr: a file for its standard error, or ``None``.
        timeout: seconds until the server ends it by itself, should the client be gone; ``None``: never.
    """

    __slots__ = ("argv", "cwd", "data", "env", "keeps_state", "script", "seq", "stderr", "stdin", "stdout", "timeout")

    def __init__(
        self,
        seq: int,
        argv: Sequence[bytes] = (),
        script: bytes | None = None,
        *,
        keeps_state: bool = False,
        cwd: bytes | None = None,
        env: Mapping[bytes, bytes] | None = None,
        stdin: str = "none",
        data: bytes = b"",
        stdout: bytes | None = None,
        stderr: bytes | None = None,
        timeout: float | None = None,
    ) -> None:
        self.seq = seq
        self.argv = tuple(argv)
        self.script = script
        self.keeps_state = keeps_state
        self.cwd = cwd
        self.env = None if env is None else dict(env)
        self.stdin = stdin
        self.data = data
        self.stdout = stdout
        self.stderr = stderr
        self.timeout = timeout

    def encode(self) -> bytes:
        """The payload."""
        # Written by hand: it is on the way of every command, and a JSON encoder takes four times as long.
        head = b'{"seq": %d' % self.seq
        fields: list[bytes] = []
        single = (b"script", self.script), (b"cwd", self.cwd), (b"stdout", self.stdout), (b"stderr", self.stderr)
        for name, value in single:
            if value is not None:
                head += b', "%s": 1' % name
                fields.append(value)
        if self.env is not None:
            head += b', "env": %d' % len(self.env)
            for pair in self.env.items():
                fields.extend(pair)
        if self.argv:
            head += b', "argv": %d' % len(self.argv)
            fields.extend(self.argv)
        if self.stdin != "none":
            head += b', "stdin": "%s"' % self.stdin.encode()
            fields.append(self.data)
        if self.keeps_state:
            head += b', "state": true'
        if self.timeout is not None:
            head += b', "timeout": %s' % json.dumps(self.timeout).encode()
        return _packed(head + b"}", fields)

    @classmethod
    def decode(cls, payload: bytes) -> RemoteCommand:
        """The command of a payload.

        Raises:
            ValueError: the payload is not one.
        """
        try:
            return cls._decode(payload)
        except (struct.error, KeyError, TypeError, IndexError, StopIteration) as error:
            raise ValueError(f"not a command: {error!r}") from None

    @classmethod
    def of_words(cls, payload: bytes) -> RemoteCommand:
        """The command of a ``WORDS`` frame's payload.

        Raises:
            ValueError: it is cut.
        """
        if len(payload) <= _SIZE.size:
            raise ValueError("a command without words")
        return cls(_SIZE.unpack_from(payload)[0], payload[_SIZE.size :].split(b"\0"))

    @classmethod
    def _decode(cls, payload: bytes) -> RemoteCommand:
        (size,) = _SIZE.unpack_from(payload, 0)
        head = parse(payload[4 : 4 + size])
        if not isinstance(head, dict) or not isinstance(head.get("seq"), int):
            raise ValueError("a command without a number")  # noqa: TRY004 - the bytes are bad, not a type
        fields = iter(_fields(payload, 4 + size))
        single = {name: next(fields) for name in ("script", "cwd", "stdout", "stderr") if head.get(name)}
        env = {next(fields): next(fields) for _ in range(head["env"])} if "env" in head else None
        argv = [next(fields) for _ in range(head.get("argv", 0))]
        stdin = head.get("stdin", "none")
        data = next(fields) if stdin != "none" else b""
        if stdin not in ("none", "bytes", "stream") or (not argv and "script" not in single):
            raise ValueError("a command without words, or with an unknown standard input")
        return cls(
            head["seq"], argv, env=env, stdin=stdin, data=data, keeps_state=bool(head.get("state")),
            timeout=head.get("timeout"), **single,
        )  # fmt: skip


def _packed(head: bytes, fields: Sequence[bytes]) -> bytes:
    pieces = [_SIZE.pack(len(head)), head]
    for field in fields:
        pieces += (_SIZE.pack(len(field)), field)
    return b"".join(pieces)


def _fields(payload: bytes, at: int) -> list[bytes]:
    found = []
    while at < len(payload):
        (size,) = _SIZE.unpack_from(payload, at)
        at += 4
        if at + size > len(payload):
            raise ValueError("a field that is cut short")
        found.append(payload[at : at + size])
        at += size
    return found
