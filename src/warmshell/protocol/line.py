"""A command as one line on standard input, for programs that start a shell but carry no environment.

``sudo`` and its like clear the environment, and what stands on a command line can be read by every user. So a constant
reader is started, its first line of input says what to do, and the rest of its input is the command's own: ``read``
takes no byte more than its line (POSIX XCU read).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .dialect import dialect
from .quoting import one_line, quote
from .request import TAG, assignments, through_env

# Names that no environment brings along: an exported variable would reach the command with the reader's value.
# In another locale, bash's read drops a \x01 behind the beginning of a character.
READER = b"LC_ALL=C IFS= read -r _warm_line&&_warm_nl='\n'&&eval \"$_warm_line\""


def reader_words() -> list[bytes]:
    """The words that start the reader."""
    return [b"sh", b"-c", READER]


def line(argv: Sequence[bytes], script: bytes | None, env: Mapping[bytes, bytes] | None, tag: bytes) -> bytes:
    """The line for a command, with its newline."""
    names, odd = assignments(env or {})
    text = b"export " + TAG + b"=" + tag + b" " + names + b";"
    if script is not None:
        words = (b"env -- " + odd if odd else b"") + b"sh -c " + quote(script)
    elif odd:
        words = through_env(odd, argv)
    else:
        words = dialect("posix").program(argv).replace(b"command ", b"", 1)
    return one_line(text + b"exec " + words) + b"\n"
