"""What can be said of a path without asking its location: joining, taking apart, comparing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import total_ordering
from pathlib import PurePosixPath
from typing import Any, NoReturn, Self

from warmshell.fileops.errors import BadNameError

Part = str | bytes | PurePosixPath


def text_of(part: object) -> str:
    """A part of a path as text; bytes that are not UTF-8 become surrogate escapes.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(part, str):
        return part
    if isinstance(part, bytes):
        return part.decode("utf-8", "surrogateescape")
    if isinstance(part, PurePosixPath):
        return str(part)
    raise TypeError(f"a part of a path is str, bytes or PurePosixPath, not {type(part).__name__}: {part!r}")


@total_ordering
class LocatedPath:
    """A POSIX path and the location that it is at; equal to another of the very same location object only.

    Args:
        location: where it is.
        *parts: joined with slashes; an absolute one starts anew.
    """

    __slots__ = ("_location", "_path")

    def __init__(self, location: Any, *parts: Part) -> None:
        self._location = location
        self._path = PurePosixPath(*[text_of(part) for part in parts])

    def _at(self, path: PurePosixPath) -> Self:
        return type(self)(self._location, path)

    # -- as something else ------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return str(self._path)

    def __bytes__(self) -> bytes:
        """Its bytes, as the location knows them.

        Raises:
            BadNameError: there is a character that has no bytes.
        """
        try:
            return str(self._path).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise BadNameError(f"no file can have this name: {str(self._path)[:80]!a}") from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self._path)!r} at {self._location.name!r}>"

    def __fspath__(self) -> NoReturn:
        raise TypeError(f"{self!r} is no path of this machine: copy it, or read it with read_bytes() or open()")

    def as_posix(self) -> str:
        """The path as text."""
        return str(self._path)

    # -- comparing --------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LocatedPath):
            return NotImplemented
        return self.is_at(other) and self._path == other.pure

    def __hash__(self) -> int:
        return hash((id(self._location), self._path))

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, LocatedPath) or not self.is_at(other):
            return NotImplemented
        return self._path < other.pure

    def is_at(self, other: LocatedPath) -> bool:
        """Whether both are at the same location."""
        return self.location is other.location

    # -- parts ------------------------------------------------------------------------------------------------------

    @property
    def location(self) -> Any:
        """Where it is."""
        return self._location

    @property
    def pure(self) -> PurePosixPath:
        """The path without its location."""
        return self._path

    @property
    def parts(self) -> tuple[str, ...]:
        """Its parts."""
        return self._path.parts

    @property
    def name(self) -> str:
        """The last part."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """What follows the last dot of the last part, with the dot."""
        return self._path.suffix

    @property
    def suffixes(self) -> Sequence[str]:
        """All suffixes of the last part."""
        return self._path.suffixes

    @property
    def anchor(self) -> str:
        """``/`` for an absolute path."""
        return self._path.anchor

    @property
    def parent(self) -> Self:
        """The path without its last part."""
        return self._at(self._path.parent)

    @property
    def parents(self) -> tuple[Self, ...]:
        """The parent, its parent, and so on."""
        return tuple(self._at(each) for each in self._path.parents)

    def is_absolute(self) -> bool:
        """Whether it begins with a slash; other paths start in the location's directory."""
        return self._path.is_absolute()

    # -- other paths ------------------------------------------------------------------------------------------------

    def __truediv__(self, part: Part) -> Self:
        try:
            return self.joinpath(part)
        except TypeError:
            return NotImplemented

    def joinpath(self, *parts: Part) -> Self:
        """The path with more parts; an absolute one starts anew."""
        return self._at(self._path.joinpath(*[text_of(part) for part in parts]))

    def with_name(self, name: str) -> Self:
        """The path with another last part."""
        return self._at(self._path.with_name(name))

    def with_stem(self, stem: str) -> Self:
        """The path with another last part but for the suffix."""
        return self._at(self._path.with_stem(stem))

    def with_suffix(self, suffix: str) -> Self:
        """The path with another suffix."""
        return self._at(self._path.with_suffix(suffix))

    def relative_to(self, other: LocatedPath | Part) -> PurePosixPath:
        """What leads from the other to this one.

        Raises:
            ValueError: it is not below the other, or at another location.
        """
        if isinstance(other, LocatedPath):
            if not self.is_at(other):
                raise ValueError(f"{self!r} and {other!r} are at two locations")
            other = other.pure
        return self._path.relative_to(text_of(other))

    def is_relative_to(self, other: LocatedPath | Part) -> bool:
        """Whether it is the other or below it."""
        try:
            self.relative_to(other)
        except ValueError:
            return False
        return True

    def match(self, pattern: str) -> bool:
        """Whether the last parts match a pattern, as in ``pathlib``."""
        return self._path.match(pattern)
