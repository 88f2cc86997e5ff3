"""What differs between POSIX shells: which builtins equal the programs, and how to guard a program's name.

Words are programs, as ``execvp`` has it. A builtin stands in for the program only where both are known to do the same
for *these* arguments: bash evaluates ``test -v 'a[$(x)]'``, dash's ``echo`` expands backslashes, GNU ``true`` has
``--help``. Everything else goes to the program.
"""

from __future__ import annotations

from collections.abc import Sequence

from .quoting import quote_all

_UNARY = frozenset([b"-e", b"-f", b"-d", b"-r", b"-w", b"-x", b"-s", b"-L", b"-h", b"-n", b"-z"])
_SAME = frozenset([b"=", b"!="])
_SYNTAX = frozenset(
    [b"-", b"!", b"(", b")", b"=", b"<", b">"]
)  # first bytes of operands on which implementations differ

# Every name that one of the known shells takes for a builtin, a keyword or an applet of its own.
_SHADOWED = frozenset(
    b"! . : [ [[ { } alias autoload bg bind break builtin caller case cd chdir command compgen complete compopt"
    b" continue coproc declare dirs disown do done echo elif else emulate enable esac eval exec exit export"
    b" false fc fg fi float for function functions getopts global hash help hist history if in integer jobs"
    b" kill let limit local log logout mapfile nameref newgrp noglob popd print printf pushd pwd r read"
    b" readarray readonly rehash rename repeat return sched select set setopt shift shopt source stat suspend"
    b" test then time times trap true type typeset ulimit umask unalias unfunction unlimit unset unsetopt until"
    b" wait whence where which while zcompile zmodload zstyle".split()
)


class Dialect:
    """How one kind of shell is started and addressed.

    Attributes:
        name: ``dash``, ``bash``, ``ash``, ``ksh``, ``zsh`` or ``posix`` for any other.
        argv: the words that start it reading commands from standard input.
        guard: what keeps a function inherited through the environment from standing in for a program.
        forget: makes the shell forget where it found programs, so that nothing it remembers is stale.
        copies: whether all of its state can be printed and taken over by a subshell.
    """

    __slots__ = ("argv", "copies", "forget", "guard", "name")

    def __init__(self, name: str, argv: tuple[bytes, ...], guard: bytes = b"", copies: bool = False) -> None:
        self.name = name
        self.argv = argv
        self.guard = guard
        self.forget = b"hash -r;"
        self.copies = copies

    def program(self, words: Sequence[bytes]) -> bytes:
        """Shell text that runs the program which the first word names, whatever else bears its name."""
        if words[0] in _SHADOWED or words[0].startswith(b"-"):
            return b"env -- " + quote_all(words)
        return self.guard + quote_all(words)

    def builtin(self, words: Sequence[bytes]) -> bytes:
        """Shell text that runs the builtin which the first word names."""
        return self.guard + quote_all(words)

    def __repr__(self) -> str:
        return f"<Dialect {self.name}>"


def is_shadowed(name: bytes) -> bool:
    """Whether some shell takes this name for something other than a program."""
    return name in _SHADOWED


def builtin_equals_program(words: Sequence[bytes]) -> bool:
    """Whether the shell's builtin does for these words exactly what the program of that name does."""
    check = _CHECKS.get(words[0])
    return check is not None and check(words)


def _plain(words: Sequence[bytes]) -> bool:
    return len(words) == 1 or not words[1].startswith(b"-")


def _echo(words: Sequence[bytes]) -> bool:
    return _plain(words) and b"\\" not in b"".join(words)


def _test(words: Sequence[bytes]) -> bool:
    if len(words) == 3:
        return words[1] in _UNARY and words[2][:1] not in _SYNTAX
    return len(words) == 4 and words[2] in _SAME and words[1][:1] not in _SYNTAX and words[3][:1] not in _SYNTAX


def _bracket(words: Sequence[bytes]) -> bool:
    return words[-1] == b"]" and _test(words[:-1])


def _alone(words: Sequence[bytes]) -> bool:
    return len(words) == 1


_CHECKS = {b"true": _plain, b"false": _plain, b"echo": _echo, b"test": _test, b"[": _bracket, b"pwd": _alone}

_KNOWN = {
    "dash": Dialect("dash", (b"dash",)),
    "bash": Dialect("bash", (b"bash", b"--noprofile", b"--norc"), guard=b"command ", copies=True),
    "ash": Dialect("ash", (b"busybox", b"sh")),
    "zsh": Dialect("zsh", (b"zsh", b"--emulate", b"sh", b"-f"), guard=b"command "),
    "ksh": Dialect("ksh", (b"ksh",), guard=b"command "),
    "posix": Dialect("posix", (b"sh",), guard=b"command "),
}


def dialect(name: str) -> Dialect:
    """The dialect of this name; unknown shells are addressed in plain POSIX.

    The name may be a path (``/usr/bin/dash``), ``busybox`` or ``busybox sh``, which are ``ash``.
    """
    base = name.rsplit("/", 1)[-1]
    if base.startswith("busybox"):
        return _addressed("ash", (name.split(maxsplit=1)[0].encode(), b"sh"))
    known = _KNOWN.get({"mksh": "ksh", "ksh93": "ksh", "lksh": "ksh"}.get(base, base))
    if known is None:
        return _addressed("posix", (name.encode(),))
    return _addressed(known.name, (name.encode(), *known.argv[1:])) if base != "ash" else known


def led_to(name: str, program: str) -> Dialect:
    """The dialect of a shell that may be any of them by its name, as ``sh`` may, by the program that this leads to.

    Args:
        name: how the shell is called.
        program: the file that it is, past all links, or that file's name.
    """
    kind = dialect(name)
    if kind.name != "posix":
        return kind
    real = dialect(program)
    return _addressed(real.name, (*kind.argv, *(real.argv[1:] if real.name != "ash" else ())))


def of_kind(kind: str, argv: tuple[bytes, ...]) -> Dialect:
    """A dialect by its name, for a shell that these words start."""
    return _addressed(kind if kind in _KNOWN else "posix", argv)


def _addressed(kind: str, argv: tuple[bytes, ...]) -> Dialect:
    base = _KNOWN[kind]
    return Dialect(base.name, argv, base.guard, base.copies)
