"""Input sources: what stands behind ``:::`` and ``::::``, ``-a`` and standard input, and how sources combine."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Self

from warmshell.errors import CommandError, InputError

STDIN = "-"
SEPARATORS = (":::", ":::+", "::::", "::::+")
Row = tuple[str, ...]

_READ = 65536
_COUNTED = 64 * 1024 * 1024  # of a file that is read once more, only for the progress display
_LONGEST = 16 * 1024 * 1024  # of one value: no program can be given more, and memory stays bounded


@dataclass(frozen=True, slots=True)
class Source:
    """One input source: values, or a file that holds them.

    Attributes:
        values: the values themselves, when given on the command line.
        path: the file to read otherwise; ``-`` is standard input.
        linked: whether it advances together with the source before it (``:::+``) instead of being crossed with it.
    """

    values: tuple[str, ...] | None = None
    path: str | None = None
    linked: bool = False


def split_arguments(words: Sequence[str]) -> tuple[list[str], list[Source]]:
    """The template words before the first separator, and the sources after it."""
    starts = [index for index, word in enumerate(words) if word in SEPARATORS]
    template = list(words[: starts[0]] if starts else words)
    sources: list[Source] = []
    for start, end in pairwise([*starts, len(words)]):
        separator, given = words[start], words[start + 1 : end]
        linked = separator.endswith("+")
        if separator.startswith("::::"):
            if not given:
                raise CommandError(f"{separator} needs the name of a file")
            sources += [Source(path=path, linked=linked and not n) for n, path in enumerate(given)]
        else:
            sources.append(Source(values=tuple(given), linked=linked))
    if sources and sources[0].linked:
        raise CommandError("the first input source cannot be linked (:::+): there is none before it")
    return template, sources


class Splitter:
    """Cuts a stream of bytes into values at a separator, however the bytes come (sans-IO)."""

    __slots__ = ("_name", "_pieces", "_separator", "_size")

    def __init__(self, separator: bytes = b"\n", name: str = "the input") -> None:
        self._separator = separator
        self._name = name
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[str]:
        """The values that are complete now.

        Raises:
            InputError: a NUL byte within a value, or a value that no program could be given.
        """
        if self._separator != b"\0" and b"\0" in data:
            raise InputError(f"{self._name} holds a NUL byte; use -0 when values end in NUL")
        head, *rest = data.split(self._separator)
        self._pieces.append(head)
        self._size += len(head)
        if self._size > _LONGEST:
            raise InputError(f"{self._name} holds a value of more than {_LONGEST >> 20} MiB")
        if not rest:
            return []
        values = [b"".join(self._pieces), *rest[:-1]]
        self._pieces, self._size = [rest[-1]], len(rest[-1])
        return [_text(value) for value in values]

    def end(self) -> list[str]:
        """The last value, when the separator after it is missing."""
        last = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return [_text(last)] if last else []


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


class Inputs:
    """The rows that the sources give together: crossed, the last one fastest, linked ones in step.

    The first source is read as rows are asked for, so that an endless one is never read ahead; the others are read
    whole, because they are used again for each of its values.

    Args:
        sources: at least one.
        separator: what values end in, within files.

    Raises:
        InputError: a file that cannot be read.
    """

    def __init__(self, sources: Sequence[Source], *, separator: bytes = b"\n") -> None:
        self._sources = list(sources)
        self._separator = separator
        if sum(source.path == STDIN for source in sources) > 1:
            raise InputError("standard input can be one input source only")
        self._files: list[int | None] = []
        try:
            for source in sources:
                self._files.append(_opened(source.path) if source.path is not None else None)
        except InputError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for fd in self._files:
            if fd is not None and fd != 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def total(self) -> int | None:
        """How many rows there will be; ``None`` when that shows only as they come. To be asked before reading."""
        sizes: list[int] = []
        for source, fd in zip(self._sources, self._files, strict=True):
            size = len(source.values) if source.values is not None else _count(fd, self._separator)
            if size is None:
                return None
            if source.linked:
                sizes[-1] = min(sizes[-1], size)
            else:
                sizes.append(size)
        return math.prod(sizes)

    async def rows(self) -> AsyncIterator[Row]:
        """The rows, each read only when asked for."""
        groups = self._groups()
        others = [[row async for row in self._linked(group)] for group in groups[1:]]
        if not all(others):
            return
        async for first in self._linked(groups[0]):
            for rest in product(*others):
                yield tuple(value for row in (first, *rest) for value in row)

    def _groups(self) -> list[list[int]]:
        groups: list[list[int]] = []
        for index, source in enumerate(self._sources):
            if source.linked:
                groups[-1].append(index)
            else:
                groups.append([index])
        return groups

    async def _linked(self, group: list[int]) -> AsyncIterator[Row]:
        """One row for every step that all sources of a group can take."""
        readers = [self._values(index) for index in group]
        while True:
            row: list[str] = []
            for reader in readers:
                value = await anext(reader, None)
                if value is None:
                    return
                row.append(value)
            yield tuple(row)

    async def _values(self, index: int) -> AsyncIterator[str]:
        source, fd = self._sources[index], self._files[index]
        if source.values is not None or fd is None:
            for value in source.values or ():
                yield value
            return
        name = "standard input" if source.path == STDIN else str(source.path)
        splitter = Splitter(self._separator, name)
        while data := await read_some(fd, name):
            for value in splitter.feed(data):
                yield value
        for value in splitter.end():
            yield value


def _opened(path: str) -> int:
    name = "standard input" if path == STDIN else path
    try:
        fd = 0 if path == STDIN else os.open(os.fsencode(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from None
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        if fd != 0:
            os.close(fd)
        raise InputError(f"cannot read {name}: Is a directory")
    return fd


def _count(fd: int | None, separator: bytes) -> int | None:
    """The values in what is left of a regular file of moderate size."""
    if fd is None or not stat.S_ISREG(os.fstat(fd).st_mode) or os.fstat(fd).st_size > _COUNTED:
        return None
    count, at, last = 0, os.lseek(fd, 0, os.SEEK_CUR), separator
    while data := os.pread(fd, _READ, at):
        count, at, last = count + data.count(separator), at + len(data), data[-1:]
    return count + (last != separator)


async def read_some(fd: int, name: str) -> bytes:
    """Some bytes, waiting without a thread: what can block (a pipe, a terminal) is first waited for."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    while True:
        try:
            loop.add_reader(fd, ready.set)
        except PermissionError:  # a regular file is always ready
            pass
        else:
            try:
                await ready.wait()
            finally:
                loop.remove_reader(fd)
        try:
            return os.read(fd, _READ)
        except BlockingIOError:
            ready.clear()
        except OSError as error:
            raise InputError(f"cannot read {name}: {error.strerror}") from None


def readable(command: str, most: int = 100) -> str:
    """A command in one line of bounded length."""
    line = " ".join(command.split("\n"))
    return line if len(line) <= most else line[:most] + "…"
