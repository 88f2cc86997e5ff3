"""``--results DIR``: a directory for every job, laid out as GNU parallel does it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from warmshell.cli.output import write_all
from warmshell.errors import OutputError

if TYPE_CHECKING:
    from warmshell.command import Output

_NAME_MAX = 255
_PATH_MAX = 3500  # below the kernel's 4096, leaving room for the directory itself
_ESCAPES = str.maketrans({"\\": "\\\\", "/": "\\_", "\t": "\\t", "\0": "\\0"})
_SPECIAL = {"": "\\e", ".": "\\.", "..": "\\.."}


def component(value: str) -> str:
    r"""A value as the name of a directory.

    A slash is ``\_``, a tab ``\t`` and a backslash doubled, as the original has them. ``.``, ``..`` and the empty
    value, with which it writes outside the job's directory, are ``\.``, ``\..`` and ``\e``; a name too long for a
    file system is cut and ends in a hash.
    """
    name = _SPECIAL.get(value) or value.translate(_ESCAPES)
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= _NAME_MAX:
        return name
    return (raw[:220] + b"\\~" + _hash(raw)).decode("utf-8", "surrogateescape")


def _hash(raw: bytes) -> bytes:
    return hashlib.sha256(raw).hexdigest()[:32].encode()


def directory(rows: Iterable[Sequence[str]]) -> str:
    """The path of a job below the results: number of the input source, value, and so on."""
    path = "/".join(f"{number}/{component(value)}" for row in rows for number, value in enumerate(row, 1))
    raw = path.encode("utf-8", "surrogateescape")
    if len(raw) <= _PATH_MAX:
        return path
    whole = raw[:_PATH_MAX].rpartition(b"/")[0]
    return (whole + b"/\\~" + _hash(raw)).decode("utf-8", "surrogateescape")


class Results:
    """Writes the three files of every job.

    Raises:
        OutputError: the directory cannot be made or written to.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        probe = os.path.join(root, f".warm-{os.getpid()}")
        try:
            os.makedirs(root, exist_ok=True)
            os.mkdir(probe)
            os.rmdir(probe)
        except OSError as error:
            raise OutputError(f"cannot write the results to {root}: {error.strerror}") from None

    def write(self, rows: Iterable[Sequence[str]], seq: int, stdout: Output, stderr: Output) -> None:
        """Write the files of one job, in bounded memory.

        Raises:
            OutputError: they cannot be written.
        """
        path = os.path.join(self.root, directory(rows))
        try:
            os.makedirs(path, exist_ok=True)
            _write(f"{path}/stdout", stdout.chunks())
            _write(f"{path}/stderr", stderr.chunks())
            _write(f"{path}/seq", [str(seq).encode()])
        except OSError as error:
            raise OutputError(f"cannot write the results of job {seq} to {path}: {error.strerror}") from None


def _write(path: str, parts: Iterable[bytes]) -> None:
    fd = os.open(os.fsencode(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        for part in parts:
            write_all(fd, part)
    finally:
        os.close(fd)
