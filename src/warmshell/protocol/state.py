"""The state of a shell, printed and taken over: what makes a subshell begin as a copy of its parent.

bash can print all of its state (directory, variables with their attributes, functions, aliases, options, traps, umask,
positional parameters). Other shells print the same without functions, and of variables only what is exported or
readonly. What no shell prints: open descriptors, resource limits, the directory stack, running jobs. The EXIT trap
stays with the parent, as it does in a fork.

What was printed is read by a grammar of its own, line by line, and only what certainly is an assignment of literal
words, and the like, becomes shell text again: a value cannot turn into a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .dialect import Dialect
from .quoting import quote, quote_all

_PARTS = 9  # and after them the positional parameters
_BASH = (
    b"builtin pwd -L",
    b"builtin pwd -P",
    b"builtin declare -p",
    b"builtin declare -f;builtin export -pf;builtin readonly -pf",
    b"builtin alias -p",
    b"builtin umask",
    b"builtin shopt -p;builtin set +o",
    b"builtin trap -p",
    b":",
)
_POSIX = (
    b"\\command pwd -L",
    b"\\command pwd -P",
    b"\\command export -p",
    b"\\command set",
    b"\\command alias",
    b"\\command umask",
    b"\\command set +o",
    b"\\command trap",
    b"\\command readonly -p",
)

# Words as shells print them: quoted in one of three ways, or plain. The ways differ in their first bytes, so that there
# is one way only to read a text, and the time it takes is linear.
_SINGLE = rb"'[^']*'|\$'(?:[^'\\]|\\.)*'|\\."
_LINE = re.compile(rb"(?s:(?:" + _SINGLE + rb'|"(?:[^"\\]|\\.)*"|\$(?!\')|[^\'"\\\n$])*\n)')
_WORD = rb"(?:" + _SINGLE + rb'|"(?:[^"\\$`]|\\.)*"|[^\s\'"\\$`;&|<>()])'
_NAME = rb"[A-Za-z_][A-Za-z0-9_]*"
_LIST = rb"\((?:[ \n]*" + _WORD + rb"+)*[ \n]*\)"
_ASSIGNMENT = re.compile(rb"(?s:(" + _NAME + rb")(?:\[\d+\])?=(?:" + _WORD + rb"*|" + _LIST + rb")\n)")
_EXPORT = re.compile(rb"(?s:(?:export|readonly|declare|typeset)(?: -\w+)* (" + _NAME + rb")(?:=" + _WORD + rb"*)?\n)")
_DECLARATION = re.compile(
    rb"(?s:declare -([\w-]+) (" + _NAME + rb")((?:=(?:" + _WORD + rb"*|" + _LIST + rb"))?)\n)"
)  # fmt: skip
_ALIAS = re.compile(rb"(?s:(?:alias )?([^\s=;&|<>()$`'\"\\]+)=(" + _WORD + rb"*)\n)")
_TRAP = re.compile(rb"(?s:trap -- (" + _WORD + rb"*) (\w+)\n)")

# Variables that belong to one shell process, or whose assignment does something else than assigning.
_OWN = re.compile(
    rb"(?:WARMSHELL_\w*|_|_warm_\w*|PPID|LINENO|OPTIND|SHLVL|BASH|BASH_(?!ENV\Z)\w*|BASHPID|BASHOPTS|SHELLOPTS|EUID|UID"
    rb"|GROUPS|DIRSTACK|FUNCNAME|PIPESTATUS|RANDOM|SRANDOM|SECONDS|EPOCH\w*|HISTCMD|COMP_\w*|PWD|KSH\w*"
    rb"|USER_ID|PGRP|GID|EGID|USERNAME|TTY|TTYIDLE|TRY_BLOCK_\w*|ZSH_\w*|signals)\Z"
)

# A new shell has the environment that its parent had once: what the parent has unset or no longer exports must go.
_BLANK = (
    b"for _warm_s in $(env|sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p');do case $_warm_s in "
    b"_|_warm_*|WARMSHELL_*|PWD|SHLVL|BASH_[!E]*|KSH*|ZSH*);;*)unset $_warm_s;;esac;done 2>/dev/null\n"
)


def dump(dialect: Dialect) -> bytes:
    """Shell text that prints the state of the shell that evaluates it, its parts ended by NUL bytes."""
    # mksh has no printf of its own.
    nul = b"\\command print -n '\\0'" if dialect.name == "ksh" else b"\\command printf '\\000'"
    word = b"\\command print -rn -- " if dialect.name == "ksh" else b"\\command printf %s "
    parts = b"".join([part + b";" + nul + b";" for part in (_BASH if dialect.copies else _POSIX)])
    return parts + b"for _warm_s do " + word + b'"$_warm_s";' + nul + b";done;"


def restore(dialect: Dialect, state: bytes) -> bytes:
    """Shell text that gives a new shell the state that another one printed.

    Raises:
        ValueError: this is no state.
    """
    parts = state.split(b"\0")
    if len(parts) <= _PARTS:
        raise ValueError("not the state of a shell")
    arguments = quote_all(parts[_PARTS:-1])
    if dialect.name == "zsh":
        parts = [_ZSH_QUOTED.sub(_octal, part) for part in parts]
    lines = _restore_bash(parts, arguments) if dialect.copies else _restore_posix(parts, arguments)
    return _BLANK + b"".join([line.rstrip(b"\n") + b"\n" for line in lines])


def _restore_bash(parts: list[bytes], arguments: bytes) -> Iterator[bytes]:
    """Functions come late, as they may bear any name; options and traps last, as they act on what follows."""
    logical, physical, variables, functions, aliases, umask, options, traps = parts[:8]
    yield b"unset -f $(compgen -A function)"
    yield from _enter(logical, physical)
    yield b"umask " + umask
    for found in _read(_DECLARATION, variables):
        if not _OWN.match(found[2]):
            yield b"declare -%s %s%s" % (found[1], found[2], found[3])
    yield aliases
    if b"shopt -s extglob\n" in options:  # without it, functions that use it are no syntax
        yield b"shopt -s extglob"
    yield functions
    yield b"builtin set -- " + arguments
    if b"set -o posix\n" in options:  # which sets others as well
        yield b"builtin set -o posix"
    for line in options.splitlines():
        if not line.endswith((b"restricted_shell", b"login_shell", b"interactive", b"posix")):
            yield b"builtin " + line
    yield from _traps(b"builtin ", traps)


def _restore_posix(parts: list[bytes], arguments: bytes) -> Iterator[bytes]:
    """Aliases come last, as they act on the lines that follow."""
    logical, physical, exported, variables, aliases, umask, options, traps, readonly = parts[:_PARTS]
    yield from _enter(logical, physical)
    yield b"umask " + umask
    yield from (found[0] for found in _read(_ASSIGNMENT, variables) if not _OWN.match(found[1]))
    yield from (b"export " + found[1] for found in _read(_EXPORT, exported) if not _OWN.match(found[1]))
    yield from (b"readonly " + found[1] for found in _read(_EXPORT, readonly) if not _OWN.match(found[1]))
    yield b"set -- " + arguments
    yield from (line for line in options.splitlines() if not line.endswith((b"interactive", b"stdin", b"monitor")))
    yield from _traps(b"", traps)
    yield from (b"\\alias %s=%s" % (found[1], found[2]) for found in _read(_ALIAS, aliases))


# zsh prints a byte 0xa7 as "\M-'" and a byte 0x1c as "\C-\", which it cannot read itself. (0xdc before n or t it prints
# as it does 0x8a and 0x89, and is taken for those.)
_ZSH_ESCAPE = rb"\\(M-\\C-|M-|C-)(\\[nt]|.)"
_ZSH_QUOTED = re.compile(rb"(?s:'[^']*'|\\.|\$'(?:[^'\\]|\\[^MC]|" + _ZSH_ESCAPE + rb")*')")
_ZSH_BYTE = re.compile(rb"(?s:\\([^MC])|" + _ZSH_ESCAPE + rb")")


def _octal(quoted: re.Match[bytes]) -> bytes:
    if not quoted[0].startswith(b"$"):
        return quoted[0]
    return _ZSH_BYTE.sub(lambda found: found[0] if found[1] else b"\\%03o" % _zsh_byte(found[2], found[3]), quoted[0])


def _zsh_byte(prefix: bytes, char: bytes) -> int:
    byte = {b"\\n": 10, b"\\t": 9}.get(char, char[0])
    if b"C" in prefix:
        byte = 0x7F if byte == ord("?") else byte & 0x1F
    return byte | 0x80 if b"M" in prefix else byte


def _enter(logical: bytes, physical: bytes) -> list[bytes]:
    names = quote(logical[:-1]), quote(physical[:-1])
    return [b"cd -L -- %s 2>/dev/null||cd -P -- %s" % names, b"unset OLDPWD"]


def _traps(prefix: bytes, text: bytes) -> Iterator[bytes]:
    for found in _read(_TRAP, text):
        if found[2] not in (b"EXIT", b"0"):
            yield prefix + b"trap -- %s %s" % (found[1], found[2])


def _read(form: re.Pattern[bytes], text: bytes) -> Iterator[re.Match[bytes]]:
    """The logical lines of this form, in which newlines may stand between quotes; all others are passed by."""
    at = 0
    while at < len(text):
        line = _LINE.match(text, at)
        if line is None:  # an open quote: nothing that a shell prints for reading
            at = text.find(b"\n", at) + 1 or len(text)
            continue
        at = line.end()
        found = form.fullmatch(line[0])
        if found is not None:
            yield found
