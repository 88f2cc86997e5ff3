"""Errors about files: each is the standard one for its number, and of Warmshell's family too."""

from __future__ import annotations

import os
from errno import (
    EACCES,
    EEXIST,
    EISDIR,
    ENOENT,
    ENOTDIR,
    EPERM,
)

from warmshell.errors import WarmshellError


class FileError(WarmshellError, OSError):
    """An operation on a file that failed; it says which file, where and why.

    Attributes:
        errno: the system's number for what is wrong.
        strerror: the same in words.
        filename: the path, text with ``surrogateescape``.
        filename2: the other path of operations that take two.
    """


class FileMissing(FileError, FileNotFoundError):
    """There is no such file."""


class FileThere(FileError, FileExistsError):
    """There is such a file already."""


class FileForbidden(FileError, PermissionError):
    """The account may not do this."""


class NoDirectoryError(FileError, NotADirectoryError):
    """Something in the path is not a directory."""


class DirectoryError(FileError, IsADirectoryError):
    """It is a directory."""


class BadNameError(WarmshellError, ValueError):
    """A name that no file can have: an empty one, or one with a NUL byte."""


_KINDS: dict[int, type[FileError]] = {
    ENOENT: FileMissing, EEXIST: FileThere, EACCES: FileForbidden, EPERM: FileForbidden, ENOTDIR: NoDirectoryError,
    EISDIR: DirectoryError,
}  # fmt: skip


def file_error(
    number: int | None, path: bytes, location: str, *, target: bytes | None = None, words: str | None = None
) -> FileError:
    """The error for one of the system's numbers.

    Args:
        number: the number, or ``None``.
        path: what the operation was about.
        location: where.
        target: the other path, if there are two.
        words: what is wrong, where the number says too little.
    """
    reason = words or (os.strerror(number) if number else "the operation failed")
    name = os.fsdecode(path)
    text = f"{reason}: {name!r}"
    if target is not None:
        text += f" -> {os.fsdecode(target)!r}"
    error = _KINDS.get(number or 0, FileError)(text, location=location, errno=number)
    error.strerror, error.filename = reason, name
    if target is not None:
        error.filename2 = os.fsdecode(target)
    return error


def checked(name: bytes) -> bytes:
    """The name, if a file can have it.

    Raises:
        BadNameError: it is empty, or holds a NUL byte.
    """
    if not name or b"\0" in name:
        raise BadNameError(f"no file can have this name: {name[:80]!r}")
    return name
