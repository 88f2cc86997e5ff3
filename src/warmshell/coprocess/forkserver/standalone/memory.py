"""Where a call's new objects come to lie: together, in pages of their own, and not in holes between those it shares.

Each page that a call writes to is copied for it, so that a hundred objects in a hundred holes cost a hundred copies.
"""

from __future__ import annotations

import sys
from itertools import repeat

_POOL = 1 << 14 if sys.version_info >= (3, 10) else 1 << 12  # bytes of one size that Python's allocator takes at a time
_FIRST = 48  # where the first object of a pool is
_HEAD = 33  # of an object of bytes, with the zero at its end
_SURE = 8  # so many in a row from the beginning of a pool, and it is a new one
_MOST = 1 << 18  # bytes of one size: there are no pools of the expected kind if there is no new one behind that many
_SIZES = range(48, 513, 16)


def holes_filled() -> list[list[bytes]]:
    """Something in every hole; it is to be kept as long as nothing shall go there. Nothing where pools are unusual."""
    kept = []
    for size in _SIZES:
        things = _filled(size)
        if things is None:
            break
        kept.append(things)
    return kept


def _filled(size: int) -> list[bytes] | None:
    things: list[bytes] = []
    row = 0
    for count in repeat(size - _HEAD, _MOST // size):
        things.append(bytes(count))
        place = id(things[-1]) % _POOL
        row = row + 1 if row and place == _FIRST + row * size else int(place == _FIRST)
        if row == _SURE:
            del things[-row:]
            return things
    return None
