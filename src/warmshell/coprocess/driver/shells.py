"""Shells as coprocesses: which words a warm shell can serve as a new one would, and what its start-up depends on."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIBRARY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "warmshell.sh")
_START_UP = (b"BASH_ENV", b"ENV")
_BOOKKEEPING = (
    b"PWD",
    b"OLDPWD",
    b"SHLVL",
    b"_",
    b"MAKEFLAGS",
    b"MFLAGS",
    b"MAKELEVEL",
    b"MAKE_TERMOUT",
    b"MAKE_TERMERR",
)


def shell_words(shell: bytes) -> list[bytes]:
    """The words that start a warm shell: ``bash``, ``bash -l``, ``dash`` …"""
    program, *options = shell.split()
    return [program, *options, b"-c", b'. "%s"; warm_serve _warm_shell "$@"' % os.fsencode(LIBRARY), program]


def environment_key(tool: Sequence[bytes], env: Mapping[bytes, bytes]) -> bytes:
    """What of an environment a warm process of this tool must have been started with.

    Start-up files may make anything of any variable, so that everything counts where there are some.
    """
    if b"_warm_shell" not in b" ".join(tool):
        return b""
    login = any(word in (b"-l", b"--login") for word in tool)
    files = [env[name] for name in _START_UP if env.get(name)]
    if not (login or files):
        return b""
    parts = [b"%s=%s" % item for item in sorted(env.items()) if item[0] not in _BOOKKEEPING]
    return b"\0".join([*parts, *[_version(name) for name in files]])


def _version(path: bytes) -> bytes:
    try:
        found = os.stat(path)
    except OSError:
        return b"-"
    return b"%d %d" % (found.st_ino, found.st_mtime_ns)


def servable(words: Sequence[bytes]) -> bool:
    """Whether a fork of a warm shell does the same with these words as a new shell would.

    ``$$`` is the warm shell's own there, ``$0`` cannot be set everywhere, and a shell that reads its script from a
    file or from standard input is another matter.
    """
    if len(words) < 2 or words[0] not in (b"-c", b"-ec", b"-ce", b"-euc", b"-uc", b"-xc", b"-exc"):
        return False
    return len(words) == 2 and b"$$" not in words[1] and b"${$}" not in words[1] and b"$0" not in words[1]
