"""The interpreter of a script: by its ``#!`` line, in the forms that installers write."""

from __future__ import annotations

import os

_MOST = 4096


class NotPython(Exception):
    """Something else than a Python script."""


def interpreter_of(script: bytes) -> list[bytes]:
    """The words that run the script: the interpreter as it would name itself, and its options.

    Raises:
        NotPython: another interpreter, or none.
        OSError: it cannot be read.
    """
    fd = os.open(script, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.read(fd, _MOST)
    finally:
        os.close(fd)
    if not head.startswith(b"#!") or not os.access(script, os.X_OK):
        raise NotPython
    lines = head.split(b"\n")
    words = lines[0][2:].strip().split(None, 1)
    if words == [b"/bin/sh"] and len(lines) > 1:
        words = _from_sh(lines[1])
    elif words and os.path.basename(words[0]) == b"env":
        words = _from_env(words[1:])
    if not words or not os.path.basename(words[0]).startswith((b"python", b"pypy")):
        raise NotPython
    if not os.path.isabs(words[0]) or not os.access(words[0], os.X_OK):
        raise NotPython
    return words


def _from_sh(line: bytes) -> list[bytes]:
    """What pip writes if the name of the interpreter is too long for the kernel, or has a space in it."""
    if not line.startswith(b"'''exec' ") or not line.endswith(b' "$0" "$@"'):
        return []
    name = line[len(b"'''exec' ") : -len(b' "$0" "$@"')].strip()
    return [name.strip(b'"')]


def _from_env(words: list[bytes]) -> list[bytes]:
    """``env python3``, by the path of the caller."""
    if len(words) != 1 or b" " in words[0].strip() or words[0].startswith(b"-"):
        return []
    for folder in os.environb.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
        path = os.path.join(folder or b".", words[0].strip())
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return [os.path.abspath(path)]
    return []
