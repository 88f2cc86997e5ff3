"""Standard input whose end stands in it: for streams that cannot end while those of the other direction go on.

Bytes come in pieces behind their lengths, and a POSIX shell at the far end takes them apart.
"""

from __future__ import annotations

_MOST = 32 * 1024  # with its length in one piece of whatever carries it

# Reads pieces until one of length 0 and passes them on. What nobody reads any more is read here all the same, as `dd`
# takes a piece before it passes it on. It tells its pid first, so that it can be ended by what it feeds;
# signals are meant for that, which must not see the end of its input before they reach it.
_FEED = 'trap "" HUP INT QUIT TERM;echo $$;while IFS= read -r n&&test $n -gt 0;do dd bs=$n count=1 iflag=fullblock;done'
_CAN = '_warm_x=$(echo ab|dd bs=3 count=1 iflag=fullblock 2>/dev/null);test "$_warm_x" = ab||'
_CANNOT = "{ echo there is no dd that can read whole blocks>&2;exit 127;};"

# What is sent to one that has ended makes some servers lose the last of its output; so what is still on its way is read
# for a moment, until the client has sent the end. Then it is ended, by a signal of which shells tell nothing.
_LEAVE = (
    "_warm_n=0;while test $_warm_n -lt 10&&kill -0 $_warm_feed;do sleep 0.1||sleep 1;_warm_n=$((_warm_n+1));done"
    " 2>/dev/null;kill -PIPE $_warm_feed 2>/dev/null"
)


def counted_text(text: str) -> str:
    """The text for a ``sh`` whose standard input is counted: it runs this text, for which it is not."""
    rest = f"IFS= read -r _warm_feed;trap '{_LEAVE}' EXIT;{text}"
    return f"{_CAN}{_CANNOT}exec 3<&0;sh -c '{_FEED}' <&3 2>/dev/null 3<&-|{{ exec 3<&-;{rest}\n}}"


def counted(data: bytes) -> list[bytes]:
    """The pieces that carry these bytes."""
    pieces = (data[at : at + _MOST] for at in range(0, len(data), _MOST))
    return [b"%d\n%s" % (len(piece), piece) for piece in pieces]


END = b"0\n"
"""What ends it."""
