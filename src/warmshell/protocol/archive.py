"""The bytes of a ``tar`` archive, looked at on their way: which members it has, and whether it stays inside itself.

What extracts an archive must never be handed one that could write outside of the directory it is extracted in, or do
more than the sender was asked for. So nothing is passed on before it has been understood, and what is not exactly as
``tar`` programs write it is refused: leniency is where two readers of the same bytes see two different archives.
Refused are absolute names, ``..``, names below a symbolic link, links that lead out, devices, members that were not
asked for, unknown types, damaged headers. Set-user-id bits are taken away.

Understood are ustar, GNU (long names, sparse files) and pax, as GNU tar, bsdtar, busybox and Python write them.
Bodies are passed on as they are, in the pieces that they came in.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection

BLOCK = 512
ZERO = bytes(BLOCK)

_MOST_META = 1024 * 1024  # bytes of extended headers and long names before a member
_MOST_NUMBER = 2**63
_POSIX, _GNU = b"ustar\x0000", b"ustar  \x00"
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*\Z|[ \0]*\Z")
_PAX_LENGTH = re.compile(rb"([0-9]{1,8}) ([^=\n]+)=")
_META = b"LKx"
_BODYLESS = b"123456"
_SET_ID, _SET_UID = 0o6000, 0o4000


class BadArchive(ValueError):
    """The bytes are no archive, or one that nobody may extract; the text says why."""


class ArchiveScanner:
    """Reads an archive in any pieces, and hands back what may be passed on.

    Args:
        tops: the first parts that names may have; ``None``: any, and ``.`` itself.
        pax: whether what extracts it understands pax headers and sparse files.
        set_id: whether set-user-id and set-group-id bits of files are kept.

    Attributes:
        files: members so far that are no directories.
        size: bytes of contents so far.
        name: the member that was reached.
        ended: whether the end of the archive has been seen.
    """

    def __init__(self, tops: Collection[bytes] | None = None, *, pax: bool = True, set_id: bool = False) -> None:
        self._tops = tops
        self._pax = pax
        self._set_id = set_id
        self._held = bytearray()
        self._waiting = b""
        self._need = BLOCK
        self._body = 0  # bytes of the body that are to come
        self._padding = 0
        self._extended = False  # more blocks of an old sparse header are to come
        self._long: dict[bytes, bytes] = {}
        self._records: dict[bytes, bytes] = {}
        # Names as hashes: a tree may have millions of them.
        self._links: set[int] = set()
        self._directories: set[int] = set()
        self._safe: bytes | None = None  # the directory that was found to be below no link last
        self.files = 0
        self.size = 0
        self.name = b""
        self.ended = False

    def feed(self, data: bytes) -> list[bytes]:
        """What of the bytes so far may be passed on, in order.

        Raises:
            BadArchive: none of the rest may.
        """
        if len(self._held) + len(data) < self._need and not self._body:
            self._held += data
            return []
        # A member's extended headers wait for the member itself.
        at = len(self._waiting)
        start = 0 if at else -1
        data = b"".join((self._waiting, self._held, data)) if at or self._held else data
        self._waiting = b""
        self._held.clear()
        pieces, passed = [], 0
        while at < len(data) and not self.ended:
            size = self._need
            if self._body or self._padding:
                at += self._skip(len(data) - at)
                continue
            if len(data) - at < size:
                break
            changed = self._look(data[at : at + size])
            if self._need > size:
                continue
            if self._long or self._records:
                start = at if start < 0 else start
            elif self.ended or changed is not None:
                pieces += [data[passed:at], changed or b""]
                passed, start = at + size, -1
            else:
                start = -1
            at += size
        if not self.ended:
            safe = at if start < 0 else start
            pieces.append(data if not passed and safe == len(data) else data[passed:safe])
            self._waiting = data[safe:at]
            self._held += data[at:]
        return [piece for piece in pieces if piece]

    def finish(self) -> None:
        """The bytes have ended.

        Raises:
            BadArchive: the archive has not.
        """
        if not self.ended:
            raise BadArchive("the archive is cut short" if self.name or self._held else "there is no archive at all")

    def _skip(self, there: int) -> int:
        body = min(self._body, there)
        self._body -= body
        self.size += body
        padding = min(self._padding, there - body) if not self._body else 0
        self._padding -= padding
        return body + padding

    # -- headers ----------------------------------------------------------------------------------------------------

    def _look(self, block: bytes) -> bytes | None:
        """Understand a header, with its body if that belongs to headers; what to pass on instead, if it is changed."""
        if self._extended:
            self._extended = block[504] != 0
            self._body_follows_sparse()
            return None
        header = block[:BLOCK]
        if header == ZERO:
            if self._long or self._records:
                raise BadArchive("the archive ends behind an extended header")
            self.ended = True
            return None
        kind = _checked(header)
        if kind in _META:
            self._meta(kind, header, block)
            return None
        return self._member(kind, header)

    def _meta(self, kind: bytes, header: bytes, block: bytes) -> None:
        size = _number(header[124:136], "size")
        if size > _MOST_META or kind in self._long or (kind == b"x" and (self._records or self._long)):
            raise BadArchive("an extended header that is too long, or given twice")
        if kind == b"x" and not self._pax:
            raise BadArchive("a pax header, where none was asked for")
        self._need = BLOCK + size + -size % BLOCK
        if len(block) < self._need:
            return
        self._need = BLOCK
        body = block[BLOCK : BLOCK + size]
        if kind == b"x":
            self._records = _records(body)
        elif self._records or not body.endswith(b"\0") or b"\0" in body[:-1] or len(body) < 2:
            raise BadArchive("a malformed long name")
        else:
            self._long[kind] = body[:-1]

    def _member(self, kind: bytes, header: bytes) -> bytes | None:
        name, target = self._names(header)
        size = _number(self._records.get(b"size", header[124:136]), "size", decimal=b"size" in self._records)
        self._long = {}
        self._records = {}
        if kind in _BODYLESS and size:
            raise BadArchive(f"{name!r} cannot have contents")
        parts = self._parts(name)
        self.name = b"/".join(parts)
        self._check(kind, parts, target, slash=name.endswith(b"/"))
        self.files += kind != b"5"
        self._body, self._padding = size, -size % BLOCK
        if kind == b"S":
            self._sparse(header)
        return self._harmless(kind, header)

    def _names(self, header: bytes) -> tuple[bytes, bytes]:
        """The names of a member and of what it links to, from wherever they stand."""
        prefix = _text(header[345:500]) if header[257:265] == _POSIX else b""
        name = _text(header[:100])
        name = prefix + b"/" + name if prefix else name
        records = self._records
        name = records.get(b"GNU.sparse.name", records.get(b"path", self._long.get(b"L", name)))
        target = records.get(b"linkpath", self._long.get(b"K", _text(header[157:257])))
        return name, target

    def _parts(self, name: bytes) -> list[bytes]:
        if name.startswith(b"/"):
            raise BadArchive(f"an absolute name: {name!r}")
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise BadArchive(f"a name that leads out: {name!r}")
        if self._tops is not None and (not parts or parts[0] not in self._tops):
            raise BadArchive(f"a member that was not asked for: {name!r}")
        if not name or b"\0" in name:
            raise BadArchive("a member without a name")
        return parts

    def _check(self, kind: bytes, parts: list[bytes], target: bytes, *, slash: bool) -> None:
        whole = hash(self.name)
        self._check_above(parts)
        if whole in self._links:
            raise BadArchive(f"{self.name!r} comes again, after a symbolic link of that name")
        if kind == b"5":
            self._directories.add(whole)
            return
        if slash or not parts:
            raise BadArchive(f"{self.name!r} is no directory, but is called one")
        if kind in b"34":
            raise BadArchive(f"{self.name!r} is a device")
        if kind == b"2":
            if not target or b"\0" in target:
                raise BadArchive(f"{self.name!r} is a link to nothing")
            self._add_link(whole)
        elif kind == b"1":
            self._check_hard_link(whole, target)
        elif kind not in b"06S":
            raise BadArchive(f"{self.name!r} is of a kind that is not known here: {kind!r}")

    def _check_above(self, parts: list[bytes]) -> None:
        above = b"/".join(parts[:-1])
        if above == self._safe or not self._links:
            return
        for count in range(1, len(parts)):
            if hash(b"/".join(parts[:count])) in self._links:
                raise BadArchive(f"{self.name!r} is below a symbolic link")
        self._safe = above

    def _add_link(self, whole: int) -> None:
        if whole in self._directories:
            raise BadArchive(f"{self.name!r} comes again as a symbolic link")
        self._links.add(whole)
        self._safe = None

    def _check_hard_link(self, whole: int, target: bytes) -> None:
        name = self.name
        parts = self._parts(target)
        if not parts or target.endswith(b"/"):
            raise BadArchive(f"{name!r} is a link to a directory")
        self._check_above(parts)
        if hash(b"/".join(parts)) in self._links:
            self._add_link(whole)

    # -- bodies -----------------------------------------------------------------------------------------------------

    def _sparse(self, header: bytes) -> None:
        if not self._pax:
            raise BadArchive("a sparse file, where none was asked for")
        self._extended = header[482] != 0
        self._after = self._body, self._padding
        self._body_follows_sparse()

    def _body_follows_sparse(self) -> None:
        """The body of a sparse file begins behind the last block of its header."""
        self._body, self._padding = (0, 0) if self._extended else self._after

    def _harmless(self, kind: bytes, header: bytes) -> bytes | None:
        mode = _number(header[100:108], "mode")
        taken = mode & (_SET_UID if kind == b"5" else _SET_ID)
        if self._set_id or not taken:
            return None
        return sealed(header[:100] + b"%07o\0" % (mode & ~taken) + header[108:])


def _checked(header: bytes) -> bytes:
    """The kind of a member whose header is in order."""
    magic = header[257:265]
    if magic not in (_POSIX, _GNU):
        raise BadArchive("what came is no archive, or one that is damaged")
    # The lower half of Adler-32 is the sum of the bytes and 1, modulo 65521: much quicker than to add them.
    told = _number(header[148:156], "checksum") + sum(header[148:156]) - 256
    if zlib.adler32(header) & 0xFFFF != (told + 1) % 65521:
        raise BadArchive("a header with a wrong checksum")
    kind = header[156:157]
    if magic == _GNU and kind != b"S" and any(header[345:500]):
        raise BadArchive("a header of an incremental archive")
    if kind == b"S" and magic != _GNU:
        raise BadArchive("a sparse file in an archive that has none")
    return kind


def sealed(header: bytes) -> bytes:
    """The header with its checksum."""
    return b"%s%06o\0 %s" % (header[:148], sum(header) - sum(header[148:156]) + 256, header[156:])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, what: str, *, decimal: bool = False) -> int:
    if decimal:
        if not field.isdigit() or len(field) > 19:
            raise BadArchive(f"not a {what}: {field!r}")
        number = int(field)
    elif field[0] & 0x80:
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        match = _OCTAL.match(field)
        if match is None:
            raise BadArchive(f"not a {what}: {field!r}")
        number = int(match[1] or b"0", 8)
    if number >= _MOST_NUMBER:
        raise BadArchive(f"not a {what}: {field!r}")
    return number


def _records(body: bytes) -> dict[bytes, bytes]:
    """The records of a pax header."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        match = _PAX_LENGTH.match(body, at)
        end = at + int(match[1]) if match else 0
        if match is None or end <= match.end() - 1 or end > len(body) or body[end - 1 : end] != b"\n":
            raise BadArchive("a malformed pax header")
        key, value = match[2], body[match.end() : end - 1]
        if key in (b"path", b"linkpath", b"GNU.sparse.name", b"size"):
            if key in records or not value or b"\0" in value:
                raise BadArchive(f"a malformed pax header: {key!r}")
            records[key] = value
        at = end
    if b"GNU.sparse.name" in records:
        records[b"path"] = records[b"GNU.sparse.name"]
    return records or {b"": b""}  # that there was a header counts, too


def trailer(name: bytes, mtime: int = 0) -> bytes:
    """The end of an archive: an empty file of this name, which says that all of it came, and the two empty blocks."""
    header = bytearray(BLOCK)
    header[: len(name)] = name
    for start, text in ((100, b"0000600"), (108, b"0000000"), (116, b"0000000"), (124, b"00000000000")):
        header[start : start + len(text)] = text
    header[136:147] = b"%011o" % mtime
    header[156:157] = b"0"
    header[257:265] = _POSIX
    return sealed(bytes(header)) + 2 * ZERO
