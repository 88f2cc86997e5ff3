"""What is watched, as the module in C compares it: records of eight-byte numbers, each with a name behind it."""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Signature = tuple[int, ...]

_RECORD = struct.Struct("=7Q")
_BITS = (1 << 64) - 1
_FOLDER, _LISTING, _MISSING, _NEVER = map(ord, "FLNX")
_KINDS = {6: ord("R"), 3: ord("D"), 2: ord("O")}  # by how much there is to compare


def packed(each: Mapping[str, Signature | None], listed: Mapping[str, Signature | None]) -> bytes:
    """Files by their folders: names in a folder that is open are found in half of the time.

    Args:
        each: files, and what they were; ``None`` for those that were not there.
        listed: directories, likewise, as a listing of them counts.
    """
    folders: dict[str, list[bytes]] = {"/": []}
    for path, was in each.items():
        folder, name = os.path.split(path)
        if was is None:
            folder, name = "/", path[1:]  # its folder may be none
        kind = _MISSING if was is None else _KINDS.get(len(was), _NEVER)
        folders.setdefault(folder, []).append(_record(kind, was or (), name))
    for path, was in listed.items():
        if was is None:
            folders["/"].append(_record(_MISSING, (), path[1:]))
        else:
            folders.setdefault(path, []).append(_record(_LISTING if len(was) > 1 else _NEVER, was, ""))
    return b"".join(_record(_FOLDER, (), folder) + b"".join(records) for folder, records in folders.items() if records)


def _record(kind: int, numbers: Signature, name: str) -> bytes:
    padded = [number & _BITS for number in numbers] + [0] * (6 - len(numbers))
    return _RECORD.pack(kind, *padded) + os.fsencode(name) + b"\0"
