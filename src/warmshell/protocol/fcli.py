r"""FCLI, the coprocess protocol: one JSON object a line, in a form that a POSIX shell can take apart. See docs/fcli.md.

*Plain form* is JSON without blanks in which every quote, backslash and control character within a string is written
``\u00XX``, so that a quote always ends or begins a string. Bytes that are not UTF-8 are ``\udcXX``, as Python's
``surrogateescape`` has them.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

VERSION = 1
"""What ``FCLI_VERSION`` holds, and ``version`` answers."""
VERSION_VARIABLE = "FCLI_VERSION"
REQUEST_VARIABLE = "FCLI_REQUEST_FIFO"
RESPONSE_VARIABLE = "FCLI_RESPONSE_FIFO"
CLIENT_VARIABLE = "FCLI_CLIENT_PID"
"""Whose child the coprocess is: a program further down that inherits the variables is not meant."""
STREAMS_VARIABLE = "FCLI_STREAMS"
"""The client names streams: the coprocess lets go of those it was started with before its first response."""
LOG_VARIABLE = "FCLI_LOG"
"""Where such a coprocess writes messages between requests."""
VARIABLES = (
    VERSION_VARIABLE, REQUEST_VARIABLE, RESPONSE_VARIABLE, CLIENT_VARIABLE, STREAMS_VARIABLE, LOG_VARIABLE,
)  # fmt: skip

MAX_LINE = 4 * 1024 * 1024
"""Bytes of a line, its newline included."""
STATUS_UNKNOWN = 2
"""The status of a request that the coprocess does not know."""

KINDS = ("argv", "flush", "echo", "version", "cd", "env")
FEATURES = ("flush", "echo", "version", "cd", "env", "cwd", "umask", "streams")
"""What a coprocess may announce with its first response, and by ``version``."""
_PLACES = ("cwd", "umask", "stdin", "stdout", "stderr")
_ESCAPED = re.compile('[\x00-\x1f"\\\\\x7f\ud800-\udfff]')


class FcliError(ValueError):
    """What the peer sent is not FCLI."""


def plain(data: bytes) -> bytes:
    """A string in plain form, with its quotes."""
    text = data.decode("utf-8", "surrogateescape")
    return b'"%s"' % _ESCAPED.sub(_escape, text).encode("utf-8")


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


class Request:
    """One request.

    Args:
        kind: one of :data:`KINDS`.
        argv: the words of ``argv``, the tool's name among them.
        env: variables for this request (``argv``) or for all further ones (``env``); ``None`` removes one.
        text: what ``echo`` returns, or the directory of ``cd``.
        places: of ``cwd``, ``umask``, ``stdin``, ``stdout`` and ``stderr`` those that an ``argv`` request names.
    """

    __slots__ = ("argv", "env", "kind", "places", "text")

    def __init__(
        self,
        kind: str,
        argv: Sequence[bytes] = (),
        env: Mapping[bytes, bytes | None] | None = None,
        text: bytes = b"",
        places: Mapping[str, bytes] | None = None,
    ) -> None:
        self.kind = kind
        self.argv = tuple(argv)
        self.env = dict(env or {})
        self.text = text
        self.places = dict(places or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Request {encode_request(self)!r}>"


class Response:
    """One response.

    Args:
        status: 0 to 255.
        features: what the coprocess can do, if it says so; ``None`` if it does not.
        echo: what ``echo`` returned.
        error: words for people.
        version: the version that the coprocess speaks, if it says so.
    """

    __slots__ = ("echo", "error", "features", "status", "version")

    def __init__(
        self,
        status: int,
        features: Sequence[str] | None = None,
        echo: bytes | None = None,
        error: bytes | None = None,
        version: int | None = None,
    ) -> None:
        self.status = status
        self.features = None if features is None else frozenset(features)
        self.echo = echo
        self.error = error
        self.version = version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Response) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Response {encode_response(self)!r}>"


def encode_request(request: Request) -> bytes:
    """The line of a request, its newline included.

    Raises:
        FcliError: it is too long.
    """
    if request.kind == "argv":
        parts = [b'"argv":[%s]' % b",".join([plain(word) for word in request.argv])]
        if request.env:
            parts.append(_env(request.env))
        parts += [
            b'"%s":%s' % (name.encode(), plain(request.places[name])) for name in _PLACES if name in request.places
        ]
    elif request.kind == "env":
        parts = [_env(request.env)]
    elif request.kind in ("echo", "cd"):
        parts = [b'"%s":%s' % (request.kind.encode(), plain(request.text))]
    else:
        parts = [b'"flush":true' if request.kind == "flush" else b'"version":%d' % VERSION]
    return _line(parts)


def encode_response(response: Response) -> bytes:
    """The line of a response, its newline included. ``status`` stands first, for shells."""
    parts = [b'"status":%d' % response.status]
    if response.version is not None:
        parts.append(b'"version":%d' % response.version)
    if response.features is not None:
        names = [plain(name.encode()) for name in sorted(response.features)]
        parts.append(b'"features":[%s]' % b",".join(names))
    for name, value in (("echo", response.echo), ("error", response.error)):
        if value is not None:
            parts.append(b'"%s":%s' % (name.encode(), plain(value)))
    return _line(parts)


def _env(env: Mapping[bytes, bytes | None]) -> bytes:
    pairs = [plain(name) + b":" + (b"null" if value is None else plain(value)) for name, value in env.items()]
    return b'"env":{%s}' % b",".join(pairs)


def _line(parts: list[bytes]) -> bytes:
    line = b"{%s}\n" % b",".join(parts)
    if len(line) > MAX_LINE:
        raise FcliError(f"a request of {len(line):,} bytes; {MAX_LINE:,} at most")
    return line


def decode_request(line: bytes) -> Request:
    """The request of a line; any JSON will do.

    Raises:
        FcliError: it is none.
    """
    given = _object(line)
    kind = next((kind for kind in KINDS if kind in given), None)
    if kind is None:
        raise FcliError(f"no request that is known: {line[:80]!r}")
    if kind == "argv":
        words = given["argv"]
        if not isinstance(words, list) or not words:
            raise FcliError("argv is a list of at least one word")
        places = {name: _text(given[name], name) for name in _PLACES if given.get(name) is not None}
        return Request("argv", [_text(word, "a word") for word in words], _names(given.get("env")), places=places)
    if kind in ("echo", "cd"):
        return Request(kind, text=_text(given[kind], kind))
    return Request(kind, env=_names(given["env"]) if kind == "env" else None)


def decode_response(line: bytes) -> Response:
    """The response of a line; any JSON will do, and members that are not known mean nothing.

    Raises:
        FcliError: it is none.
    """
    given = _object(line)
    status, features, version = given.get("status"), given.get("features"), given.get("version")
    if type(status) is not int or not 0 <= status <= 255:
        raise FcliError(f"a status is a number from 0 to 255: {line[:80]!r}")
    if features is not None and not (isinstance(features, list) and all(isinstance(one, str) for one in features)):
        raise FcliError("features is a list of names")
    words = {name: _text(given[name], name) for name in ("echo", "error") if given.get(name) is not None}
    return Response(status, features, words.get("echo"), words.get("error"), version if type(version) is int else None)


def _object(line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        raise FcliError(f"not a line of JSON: {line[:80]!r}") from None
    if not isinstance(given, dict):
        raise FcliError(f"not a JSON object: {line[:80]!r}")
    return given


def _text(value: Any, what: str) -> bytes:
    if not isinstance(value, str):
        raise FcliError(f"{what} is text, not {type(value).__name__}")
    try:
        data = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise FcliError(f"{what} holds half of a character") from None
    if b"\0" in data:
        raise FcliError(f"{what} holds a NUL")
    return data


def _names(env: Any) -> dict[bytes, bytes | None]:
    if env is None:
        return {}
    if not isinstance(env, dict):
        raise FcliError("env is an object")
    found = {_text(key, "a name"): None if value is None else _text(value, key) for key, value in env.items()}
    if any(not name or b"=" in name for name in found):
        raise FcliError("not a name for a variable")
    return found


class LineDecoder:
    """Cuts a byte stream into lines; feed it bytes in any pieces.

    Args:
        limit: the most bytes of a line.
    """

    __slots__ = ("_limit", "_pieces", "_size")

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def pending(self) -> int:
        """How many bytes of a line that is not whole yet are held."""
        return self._size

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete, without their newlines.

        Raises:
            FcliError: a line longer than allowed.
        """
        *whole, rest = data.split(b"\n")
        lines = []
        for part in whole:
            self._add(part)
            lines.append(b"".join(self._pieces))
            self._pieces.clear()
            self._size = 0
        self._add(rest)
        return lines

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size >= self._limit:
            raise FcliError(f"a line of more than {self._limit:,} bytes")
        if piece:
            self._pieces.append(piece)
