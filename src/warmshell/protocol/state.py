"""The state of a shell, printed and taken over: what makes a subshell begin as a copy of its parent.

bash can print all of its state (directory, variables with their attributes, functions, aliases, options, traps, umask,
positional parameters). Other shells print variables, what is exported or readonly, aliases, options, traps and umask,
but no functions. What no shell prints: open descriptors, resource limits, the directory stack, running jobs. The EXIT
trap stays with the parent, as it does in a fork.
"""

from __future__ import annotations

import re

from .dialect import Dialect
from .quoting import quote

_BASH = (
    b"builtin pwd -P",
    b"builtin declare -p",
    b"builtin declare -f",
    b"builtin alias -p",
    b"builtin umask",
    b"builtin shopt -p;builtin set +o",
    b"builtin trap -p",
    b"[ $# = 0 ]||builtin printf ' %q' \"$@\"",
)
_POSIX = (b"\\pwd -P", b"\\export -p", b"\\set", b"\\alias", b"\\umask", b"\\set +o", b"\\trap", b"\\readonly -p")

_VALUE = rb"(?:'[^']*'|\"[^\"]*\"|\\.|[^'\"\\\n])*"
_ASSIGNMENT = re.compile(rb"([A-Za-z_][A-Za-z0-9_]*)=(" + _VALUE + rb")\n")
_EXPORT = re.compile(rb"(?:export|readonly|declare|typeset)(?: -\w+)* ([A-Za-z_][A-Za-z0-9_]*)(=" + _VALUE + rb")?\n")
_DECLARATION = re.compile(
    rb"declare -([\w-]+) ([A-Za-z_][A-Za-z0-9_]*)((?:=(?:\$?'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^'\"\n])*)?)\n"
)
_ALIAS = re.compile(rb"(?:alias )?([^\s=]+)=(" + _VALUE + rb")\n")
_TRAP = re.compile(rb"trap -- (" + _VALUE + rb") (\S+)\n")

# Variables that belong to one shell process, or whose assignment does something else than assigning.
_OWN = re.compile(
    rb"(?:WARMSHELL_\w*|_|_warm_s|PPID|LINENO|OPTIND|SHLVL|BASH|BASH_\w*|BASHPID|BASHOPTS|SHELLOPTS|EUID|UID|GROUPS"
    rb"|DIRSTACK|FUNCNAME|PIPESTATUS|RANDOM|SRANDOM|SECONDS|EPOCH\w*|HISTCMD|COMP_\w*|PWD|OLDPWD"
    rb"|KSH_VERSION|KSH\w*ID|USER_ID|PGRP|GID|EGID|USERNAME|TTY|TTYIDLE|TRY_BLOCK_\w*|ZSH_\w*|signals)\Z"
)


def dump(dialect: Dialect) -> bytes:
    """Shell text that prints the state of the shell that evaluates it, its parts ended by NUL bytes."""
    end = b";\\printf '\\000';"
    return end.join(_BASH if dialect.copies else _POSIX) + end


def restore(dialect: Dialect, state: bytes) -> bytes:
    """Shell text that gives a new shell the state that another one printed."""
    parts = state.split(b"\0")
    if len(parts) < 8:
        raise ValueError("not the state of a shell")
    return _restore_bash(parts) if dialect.copies else _restore_posix(parts)


def _restore_bash(parts: list[bytes]) -> bytes:
    where, variables, functions, aliases, umask, options, traps, arguments = parts[:8]
    declared = [
        b"declare -%s %s%s" % (found[1], found[2], found[3])
        for found in _DECLARATION.finditer(variables)
        if not _OWN.match(found[2])
    ]
    lines = [
        b"cd -P -- " + quote(where.rstrip(b"\n")),
        b"umask " + umask.strip(),
        *declared,
        functions,
        aliases,
        b"set --" + arguments,
        *_traps(traps),
        _without(options, (b"restricted_shell", b"login_shell", b"interactive", b"posix")),
    ]
    return b"\n".join(lines) + b"\n"


def _restore_posix(parts: list[bytes]) -> bytes:
    where, exported, variables, aliases, umask, options, traps, readonly = parts[:8]
    assigned = [found[0] for found in _ASSIGNMENT.finditer(variables) if not _OWN.match(found[1])]
    return b"".join(
        [
            b"cd -P -- " + quote(where.rstrip(b"\n")) + b"\n",
            b"umask " + umask.strip() + b"\n",
            *assigned,
            *(b"export %s\n" % found[1] for found in _EXPORT.finditer(exported) if not _OWN.match(found[1])),
            *(b"alias " + found[1] + b"=" + found[2] + b"\n" for found in _ALIAS.finditer(aliases)),
            *(line + b"\n" for line in _traps(traps)),
            *(b"readonly %s\n" % found[1] for found in _EXPORT.finditer(readonly) if not _OWN.match(found[1])),
            _without(options, (b"interactive", b"stdin", b"monitor")),
        ]
    )


def _traps(text: bytes) -> list[bytes]:
    return [
        b"trap -- %s %s" % (found[1], found[2]) for found in _TRAP.finditer(text) if found[2] not in (b"EXIT", b"0")
    ]


def _without(options: bytes, names: tuple[bytes, ...]) -> bytes:
    return b"".join([line + b"\n" for line in options.splitlines() if not line.endswith(names)])
