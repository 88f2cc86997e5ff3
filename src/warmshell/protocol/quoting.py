"""Words as a POSIX shell must read them, and what the kernel accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

MAX_WORD = 128 * 1024 - 1
"""Bytes of one word that Linux passes to a program: ``MAX_ARG_STRLEN`` less the closing NUL (execve(2))."""

_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*\Z")


def quote(word: bytes) -> bytes:
    """One word in single quotes, so that no byte of it means anything to a shell (POSIX XCU 2.2.2)."""
    if b"'" in word:
        word = word.replace(b"'", b"'\\''")
    return b"'" + word + b"'"


def quote_all(words: Sequence[bytes]) -> bytes:
    """The words quoted and separated by blanks."""
    text = b"\0".join(words)
    if text and text.count(b"\0") == len(words) - 1:  # all at once: every command comes this way
        return quote(text).replace(b"\0", b"' '")
    return b" ".join([quote(word) for word in words])


def is_name(name: bytes) -> bool:
    """Whether a shell can hold a variable of this name (POSIX XBD 3.235)."""
    return _NAME.match(name) is not None


def too_long(words: Iterable[bytes], env: Mapping[bytes, bytes] | None, arg_max: int) -> str | None:
    """Why the kernel would refuse these words with ``E2BIG``, or ``None``.

    Args:
        words: the words of the command.
        env: the variables added to the environment.
        arg_max: bytes that words and environment may take together, pointers included, less what the location's own
            environment takes already.
    """
    total = 0
    for word in words:
        size = len(word)
        if size > MAX_WORD:
            return f"a word of {size:,} bytes; the kernel passes {MAX_WORD:,} at most"
        total += size + 9  # the NUL and a pointer
    for name, value in (env or {}).items():
        size = len(name) + len(value) + 1
        if size > MAX_WORD:
            return f"an environment variable of {size:,} bytes; the kernel passes {MAX_WORD:,} at most"
        total += size + 9
    if total > arg_max:
        return f"words and environment of {total:,} bytes; {arg_max:,} fit here"
    return None


def one_line(text: bytes) -> bytes:
    """Shell text with the same meaning on one line, for readers that take a line: ``read -r`` and ``eval``.

    Newlines may stand inside single quotes only; the reader sets ``_warm_nl`` to a newline before it evaluates the
    text.
    """
    return text.replace(b"\n", b"'\"$_warm_nl\"'")
