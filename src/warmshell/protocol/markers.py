"""The marker framing: both output streams of a shell cut into commands by random markers.

For any stream and any ``sh``. Each stream carries, for every command, a line with the marker of that command when it
starts and one when it ends; only what stands between them is output. Markers are 128 random bits a command, and they
never stand in the request in one piece, so that a shell which echoes its input (``set -v``) cannot forge one.
"""

from __future__ import annotations

from .request import Frame

INIT = b"exec 7>&1 8>&2;"
"""Makes the stream's own ends descriptors 7 and 8, which survive any redirection of 1 and 2."""

_LONGEST_LINE = 64  # a report is far shorter: anything longer is no report


def marker_frame(marker: bytes, stdin: bytes, stdout: bytes | None, stderr: bytes | None) -> Frame:
    """The frame of one command.

    Args:
        marker: 32 hexadecimal digits.
        stdin: the redirection of standard input.
        stdout: another target for standard output, as a redirection.
        stderr: another target for standard error, as a redirection.
    """
    half = _halved(marker)
    return Frame(
        stdin, stdout or b">&7", stderr or b"2>&8", b"7>&- 8>&-",
        b"if \\command echo %s " % half, b" >&7;then \\command echo %s e >&8;fi 2>/dev/null" % half,
    )  # fmt: skip


def _halved(marker: bytes) -> bytes:
    """The marker as shell text in which it does not stand in one piece."""
    return b"%s''%s" % (marker[:16], marker[16:])


def quiet_frame(marker: bytes) -> Frame:
    """The frame of a builtin that reads nothing and says nothing on standard error, where no marker is needed then."""
    half = _halved(marker)
    return Frame(b"", b">&7", b"", b"", b"\\command echo %s " % half, b" >&7")


def printf_pipe(data: bytes) -> bytes:
    """Shell text that writes these bytes into a pipe, whatever they are: ``printf '…' |``."""
    if len(data) <= _PRINTF_BYTES:
        return _printf(data) + b"|"
    pieces = [_printf(data[start : start + _PRINTF_BYTES]) for start in range(0, len(data), _PRINTF_BYTES)]
    return b"{ " + b";".join(pieces) + b";}|"


def _printf(data: bytes) -> bytes:
    return b"\\command printf '" + b"".join([_PRINTF[byte] for byte in data]) + b"'"


def _printf_byte(byte: int) -> bytes:
    # Not "-": the first word would be taken for an option.
    plain = 32 <= byte < 127 and byte not in b"%\\'-"
    return bytes([byte]) if plain else b"\\%03o" % byte


# In mksh, printf is a program, so that its word is bounded by the kernel: four bytes for each of these.
_PRINTF_BYTES = 30_000
_PRINTF = [_printf_byte(byte) for byte in range(256)]


class StreamCutter:
    """Cuts one stream into the output of a command and the marker lines around it.

    Feed it bytes in any pieces; it searches each byte once and holds back less than one marker line.
    """

    __slots__ = ("_held", "_inside", "_marker", "lines")

    def __init__(self) -> None:
        self._held = b""
        self._marker = b"\0"  # no request has been made yet
        self._inside = False
        self.lines: list[bytes] = []
        """Marker lines seen for the present command, without the marker."""

    def expect(self, marker: bytes) -> None:
        """Begin the next command: everything before its first marker line is discarded."""
        self._marker = marker
        self._inside = False
        self.lines = []

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the command's output that these bytes complete.

        Raises:
            ValueError: a marker without a report behind it: the framing is not certain any more.
        """
        pieces: list[bytes] = []
        buffer = self._held + data if self._held else data
        while True:
            piece, line, buffer = self._next(buffer)
            if piece and self._inside:
                pieces.append(piece)
            if line is None:
                self._held = buffer
                return pieces
            self.lines.append(line)
            self._inside = len(self.lines) == 1

    def _next(self, buffer: bytes) -> tuple[bytes, bytes | None, bytes]:
        """Output before the next marker line, that line if it is whole, and what remains."""
        at = buffer.find(self._marker)
        if at < 0:
            keep = self._partial(buffer)
            return buffer[: len(buffer) - keep], None, buffer[len(buffer) - keep :]
        end = buffer.find(b"\n", at)
        if end < 0:
            if len(buffer) - at > _LONGEST_LINE + len(self._marker):
                raise ValueError("a marker without a report")
            return buffer[:at], None, buffer[at:]
        return buffer[:at], buffer[at + len(self._marker) : end].strip(), buffer[end + 1 :]

    def _partial(self, buffer: bytes) -> int:
        """How many last bytes may be the beginning of a marker."""
        longest = min(len(self._marker) - 1, len(buffer))
        tail = buffer[len(buffer) - longest :]
        at = tail.find(self._marker[:1])
        while at >= 0:
            if self._marker.startswith(tail[at:]):
                return len(tail) - at
            at = tail.find(self._marker[:1], at + 1)
        return 0
