"""Bazel's persistent workers: WorkRequest and WorkResponse as delimited protocol buffers, or as lines of JSON.

Only the few fields of ``worker_protocol.proto`` are written and read, so that no protobuf library is needed: a message
is a list of ``key · value``, the key ``field number << 3 | wire type``, numbers as varints of seven bits a byte.
"""

from __future__ import annotations

import json

from .fcli import LineDecoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of a message; a longer one is an error of the peer."""
_MAX_VARINT = 10  # bytes of a number of 64 bits
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class BazelError(ValueError):
    """What the peer sent is no message of a persistent worker."""


class WorkRequest:
    """One piece of work, or the wish to cancel one.

    Args:
        arguments: the words, without the tool's name.
        request_id: 0 for a worker that does one thing at a time.
        cancel: the request of this id is not wanted any more; everything else is ignored then.
        inputs: path and digest of each input.
        verbosity: above 0, the worker may say more.
        sandbox_dir: the directory to work in, relative to the worker's own.
    """

    __slots__ = ("arguments", "cancel", "inputs", "request_id", "sandbox_dir", "verbosity")

    def __init__(
        self, arguments: Sequence[str] = (), request_id: int = 0, *, cancel: bool = False,
        inputs: Sequence[tuple[str, bytes]] = (), verbosity: int = 0, sandbox_dir: str = "",
    ) -> None:  # fmt: skip
        self.arguments = tuple(arguments)
        self.request_id = request_id
        self.cancel = cancel
        self.inputs = tuple(inputs)
        self.verbosity = verbosity
        self.sandbox_dir = sandbox_dir

    def fields(self) -> tuple[Any, ...]:
        """Everything, for comparing."""
        return tuple(getattr(self, name) for name in self.__slots__)


class WorkResponse:
    """What came of it.

    Args:
        exit_code: the status.
        output: what is shown to the user.
        request_id: of the request.
        was_cancelled: it was cancelled: status and output mean nothing.
    """

    __slots__ = ("exit_code", "output", "request_id", "was_cancelled")

    def __init__(
        self, exit_code: int = 0, output: str = "", request_id: int = 0, *, was_cancelled: bool = False
    ) -> None:
        self.exit_code = exit_code
        self.output = output
        self.request_id = request_id
        self.was_cancelled = was_cancelled

    def fields(self) -> tuple[Any, ...]:
        """Everything, for comparing."""
        return tuple(getattr(self, name) for name in self.__slots__)


def varint(number: int) -> bytes:
    """A number as protocol buffers write it; negative ones as 64 bits."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """The number at an offset and the offset after it; ``None`` if it is not whole.

    Raises:
        BazelError: it has more than 64 bits.
    """
    number = 0
    for index in range(_MAX_VARINT):
        if at + index >= len(data):
            return None
        byte = data[at + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if number >> 64:
                break
            return number, at + index + 1
    raise BazelError("a number of more than 64 bits")


def _signed(number: int) -> int:
    """An int32 as it was meant: negative ones come as 64 bits."""
    number &= (1 << 32) - 1
    return number - (1 << 32) if number >> 31 else number


def _field(number: int, value: int | bytes) -> bytes:
    """One field; what has its default value is left out."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value) if value else b""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value if value else b""


def _string(number: int, value: bytes) -> bytes:
    """One element of a repeated field: an empty one counts."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _whole(read_varint(data, at))
        kind = key & 7
        if kind == _VARINT:
            value, at = _whole(read_varint(data, at))
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _whole(read_varint(data, at))
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise BazelError(f"a field of wire type {kind}")
        if at + size > len(data):
            raise BazelError("a field that ends behind its message")
        yield key >> 3, data[at : at + size]
        at += size


def _whole(read: tuple[int, int] | None) -> tuple[int, int]:
    if read is None:
        raise BazelError("a number that is not whole")
    return read


def _word(value: int | bytes) -> str:
    if isinstance(value, int):
        raise BazelError("a number where text belongs")
    return value.decode("utf-8", "surrogateescape")


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise BazelError("text where a number belongs")
    return _signed(value)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def request_to_proto(request: WorkRequest) -> bytes:
    """The message without its length."""
    parts = [_string(1, _utf8(word)) for word in request.arguments]
    parts += [_string(2, _field(1, _utf8(path)) + _field(2, digest)) for path, digest in request.inputs]
    parts += [_field(3, request.request_id), _field(4, int(request.cancel)), _field(5, request.verbosity)]
    return b"".join([*parts, _field(6, _utf8(request.sandbox_dir))])


def request_from_proto(data: bytes) -> WorkRequest:
    """The request of a message; fields that are not known mean nothing.

    Raises:
        BazelError: it is none.
    """
    request = WorkRequest()
    arguments: list[str] = []
    inputs: list[tuple[str, bytes]] = []
    for number, value in _fields(data):
        if number == 1:
            arguments.append(_word(value))
        elif number == 2:
            inputs.append(_input(value))
        elif number == 3:
            request.request_id = _number(value)
        elif number == 4:
            request.cancel = bool(_number(value))
        elif number == 5:
            request.verbosity = _number(value)
        elif number == 6:
            request.sandbox_dir = _word(value)
    request.arguments, request.inputs = tuple(arguments), tuple(inputs)
    return request


def _input(value: int | bytes) -> tuple[str, bytes]:
    if isinstance(value, int):
        raise BazelError("a number where an input belongs")
    path, digest = "", b""
    for number, part in _fields(value):
        if number == 1:
            path = _word(part)
        elif number == 2 and isinstance(part, bytes):
            digest = part
    return path, digest


def response_to_proto(response: WorkResponse) -> bytes:
    """The message without its length."""
    return b"".join(
        [
            _field(1, response.exit_code),
            _field(2, response.output.encode("utf-8", "replace")),
            _field(3, response.request_id),
            _field(4, int(response.was_cancelled)),
        ]
    )


def response_from_proto(data: bytes) -> WorkResponse:
    """The response of a message; fields that are not known mean nothing.

    Raises:
        BazelError: it is none.
    """
    response = WorkResponse()
    for number, value in _fields(data):
        if number == 1:
            response.exit_code = _number(value)
        elif number == 2:
            response.output = _word(value)
        elif number == 3:
            response.request_id = _number(value)
        elif number == 4:
            response.was_cancelled = bool(_number(value))
    return response


def request_to_json(request: WorkRequest) -> bytes:
    """The line, with its newline; names as protocol buffers give them in JSON."""
    import base64

    given: dict[str, Any] = {"arguments": list(request.arguments)}
    if request.inputs:
        given["inputs"] = [{"path": path, "digest": base64.b64encode(d).decode()} for path, d in request.inputs]
    more = (
        ("requestId", request.request_id), ("cancel", request.cancel), ("verbosity", request.verbosity),
        ("sandboxDir", request.sandbox_dir),
    )  # fmt: skip
    return json.dumps({**given, **{name: value for name, value in more if value}}).encode() + b"\n"


def request_from_json(line: bytes) -> WorkRequest:
    """The request of a line.

    Raises:
        BazelError: it is none.
    """
    given = _object(line)
    arguments, inputs = given.get("arguments", []), given.get("inputs", [])
    if not (isinstance(arguments, list) and all(isinstance(word, str) for word in arguments)):
        raise BazelError("arguments is a list of words")
    if not (isinstance(inputs, list) and all(isinstance(one, dict) for one in inputs)):
        raise BazelError("inputs is a list of objects")
    return WorkRequest(
        arguments, _integer(given, "requestId"), cancel=bool(given.get("cancel", False)),
        inputs=[(str(one.get("path", "")), _digest(one)) for one in inputs], verbosity=_integer(given, "verbosity"),
        sandbox_dir=str(given.get("sandboxDir", "")),
    )  # fmt: skip


def _digest(given: dict[str, Any]) -> bytes:
    import base64

    try:
        return base64.b64decode(given.get("digest", ""))
    except (ValueError, TypeError):
        raise BazelError("a digest is base64") from None


def response_to_json(response: WorkResponse) -> bytes:
    """The line, with its newline."""
    output = _utf8(response.output).decode("utf-8", "replace")
    given: dict[str, Any] = {"exitCode": response.exit_code, "output": output, "requestId": response.request_id}
    if response.was_cancelled:
        given["wasCancelled"] = True
    return json.dumps(given).encode() + b"\n"


def response_from_json(line: bytes) -> WorkResponse:
    """The response of a line.

    Raises:
        BazelError: it is none.
    """
    given = _object(line)
    output = given.get("output", "")
    if not isinstance(output, str):
        raise BazelError("output is text")
    return WorkResponse(
        _integer(given, "exitCode"), output, _integer(given, "requestId"),
        was_cancelled=bool(given.get("wasCancelled", False)),
    )  # fmt: skip


def _object(line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BazelError(f"not a line of JSON: {line[:80]!r}") from None
    if not isinstance(given, dict):
        raise BazelError(f"not a JSON object: {line[:80]!r}")
    return given


def _integer(given: dict[str, Any], name: str) -> int:
    value = given.get(name, 0)
    if type(value) is not int:
        raise BazelError(f"{name} is a number")
    return value


class DelimitedDecoder:
    """Cuts a byte stream into messages that follow their length; feed it bytes in any pieces."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of a message that is not whole yet are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete.

        Raises:
            BazelError: a message longer than allowed.
        """
        self._buffer += data
        messages, at = [], 0
        while (head := read_varint(self._buffer, at)) is not None:
            size, start = head
            if size > MAX_MESSAGE:
                raise BazelError(f"a message of {size:,} bytes; {MAX_MESSAGE:,} at most")
            if start + size > len(self._buffer):
                break
            messages.append(bytes(self._buffer[start : start + size]))
            at = start + size
        del self._buffer[:at]
        return messages


def delimited(message: bytes) -> bytes:
    """A message behind its length."""
    return varint(len(message)) + message


class Codec:
    """One of the two forms, for both directions.

    Args:
        form: ``proto`` or ``json``.
    """

    def __init__(self, form: str) -> None:
        self._json = form == "json"
        self._decoder: LineDecoder | DelimitedDecoder = LineDecoder(MAX_MESSAGE) if self._json else DelimitedDecoder()

    def request(self, request: WorkRequest) -> bytes:
        """The bytes of a request."""
        return request_to_json(request) if self._json else delimited(request_to_proto(request))

    def response(self, response: WorkResponse) -> bytes:
        """The bytes of a response."""
        return response_to_json(response) if self._json else delimited(response_to_proto(response))

    def requests(self, data: bytes) -> list[WorkRequest]:
        """The requests that these bytes complete.

        Raises:
            ValueError: they are none.
        """
        decode = request_from_json if self._json else request_from_proto
        return [decode(message) for message in self._messages(data)]

    def responses(self, data: bytes) -> list[WorkResponse]:
        """The responses that these bytes complete.

        Raises:
            ValueError: they are none.
        """
        decode = response_from_json if self._json else response_from_proto
        return [decode(message) for message in self._messages(data)]

    def _messages(self, data: bytes) -> list[bytes]:
        return [message for message in self._decoder.feed(data) if message or not self._json]
