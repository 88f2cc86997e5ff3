"""Which server may serve a call: everything that a tool could have seen of its caller while it was imported.

The C client (``warmcall.c``) makes the same keys from the same bytes. A key names a socket; two callers share a server
only if their keys are equal.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DENIED = frozenset((
    b"_", b"PWD", b"OLDPWD", b"SHLVL",
    b"WINDOWID", b"TERM_SESSION_ID", b"TMUX", b"TMUX_PANE", b"STY", b"WINDOW",
    b"SSH_TTY", b"SSH_CLIENT", b"SSH_CONNECTION", b"XDG_SESSION_ID",
    b"MAKEFLAGS", b"MFLAGS", b"MAKELEVEL", b"MAKE_TERMOUT", b"MAKE_TERMERR",
))  # fmt: skip
"""Bookkeeping of terminals, shells and make: not in a key, unless the tool read it while it was imported."""

ALWAYS = (
    b"PYTHON", b"LC_", b"LD_", b"LANG", b"TZ", b"PATH", b"HOME", b"MALLOC_", b"GLIBC_", b"__PYVENV", b"VIRTUAL_ENV",
)  # fmt: skip
"""Beginnings of names that interpreters and C libraries read by themselves: in every key, also a narrowed one."""

_STATUS = (b"Uid:", b"Gid:", b"Groups:", b"Cap", b"NoNewPrivs:", b"Seccomp:", b"Cpus_allowed:")
_SPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_PRIMES = (2**61 - 1, 2**64 - 59)


class Shape:
    """What the key of a tool is made of: learned from its import, kept in a file beside the sockets.

    Attributes:
        cwd: the working directory counts, as the import looked at it.
        whole: every variable counts.
        plus: names of denied variables that count.
        only: no others than these variables (and those that always do) count; ``None`` if all do.
        terminal: a call was seen to open its controlling terminal, which a fork has not: with terminals it runs cold.
        cold: why the tool cannot be served, or nothing.
    """

    def __init__(self) -> None:
        self.cwd = False
        self.whole = False
        self.plus: set[bytes] = set()
        self.only: set[bytes] | None = None
        self.terminal = False
        self.cold = b""

    def encode(self) -> bytes:
        """Lines of text."""
        lines = [b"cwd"] * self.cwd + [b"whole"] * self.whole + [b"plus " + name for name in sorted(self.plus)]
        if self.only is not None:
            lines += [b"only " + name for name in [b"-", *sorted(self.only)]]
        if self.terminal:
            lines.append(b"terminal")
        if self.cold:
            lines.append(b"cold " + b" ".join(self.cold.split()))
        return b"".join(line + b"\n" for line in lines)

    def counts(self, name: bytes) -> bool:
        """Whether a variable is part of the key."""
        if self.whole:
            return True
        if self.only is not None:
            return name in self.only or name.startswith(ALWAYS)
        return name not in DENIED or name in self.plus


def decoded(text: bytes) -> Shape:
    """The shape that such lines tell; unknown words mean nothing."""
    shape = Shape()
    for line in text.split(b"\n"):
        word, _, rest = line.partition(b" ")
        if word == b"cwd":
            shape.cwd = True
        elif word == b"whole":
            shape.whole = True
        elif word == b"terminal":
            shape.terminal = True
        elif word == b"plus":
            shape.plus.add(rest)
        elif word == b"only":
            shape.only = (shape.only or set()) | {rest}
        elif word == b"cold":
            shape.cold = rest
    return shape


def digest(data: bytes) -> str:
    """A name for bytes: two remainders of the number that they are. No cryptography: nobody is to be kept out by it."""
    number = int.from_bytes(b"\1" + data, "big")
    return f"{number % _PRIMES[0]:016x}{number % _PRIMES[1]:016x}"


def read(path: str) -> bytes:
    """A whole file, however small its pieces come."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = chunk = os.read(fd, 65536)
        while chunk:
            chunk = os.read(fd, 65536)
            data += chunk
        return data
    finally:
        os.close(fd)


def initial_environment() -> list[bytes]:
    """The entries ``NAME=value`` that this process was started with; Python may have changed its own since.

    Of several of one name the first counts, as for Python.
    """
    entries: dict[bytes, bytes] = {}
    for entry in read("/proc/self/environ").split(b"\0"):
        name, equals, _ = entry.partition(b"=")
        if name and equals:
            entries.setdefault(name, entry)
    return list(entries.values())


class Context:
    """What the kernel knows of this process and hands on to its children.

    Attributes:
        text: identity, capabilities, limits, groups of resources, name spaces, root: all that is part of a key.
        blocked: the mask of blocked signals.
        ignored: the mask of ignored ones, without those that Python itself ignores.
    """

    def __init__(self) -> None:
        parts = []
        self.blocked = self.ignored = 0
        for line in read("/proc/self/status").split(b"\n"):
            if line.startswith(_STATUS):
                parts.append(line)
            elif line.startswith(b"SigBlk:"):
                self.blocked = int(line.split()[1], 16)
            elif line.startswith(b"SigIgn:"):  # Python ignores SIGPIPE and SIGXFSZ whatever it was given
                self.ignored = int(line.split()[1], 16) & ~(1 << 12 | 1 << 24)
        parts += [read("/proc/self/limits"), read("/proc/self/cgroup")]
        parts += [os.readlink(b"/proc/self/ns/" + name.encode()) for name in _SPACES]
        root = os.stat("/")
        parts.append(b"%d:%d" % (root.st_dev, root.st_ino))
        self.text = b"\n".join(parts)


def terminals(fds: Iterable[int] = (0, 1, 2)) -> bytes:
    """Which of these are terminals, closed, or something else: a letter for each."""
    letters = []
    for fd in fds:
        try:
            os.fstat(fd)
            letters.append(b"t" if os.isatty(fd) else b"-")
        except OSError:
            letters.append(b"x")
    return b"".join(letters)


def key(shape: Shape, words: Iterable[bytes], context: bytes, cwd: bytes, env: list[bytes]) -> str:
    """The name of the server.

    Args:
        shape: what counts for this tool.
        words: the tool, its interpreter, the options and the terminals of the call.
        context: see :class:`Context`.
        cwd: the working directory.
        env: entries ``NAME=value``.
    """
    counted = sorted(entry for entry in env if shape.counts(entry.partition(b"=")[0]))
    return digest(b"\0".join([*words, cwd if shape.cwd else b"", b"", context, b"", *counted]))
