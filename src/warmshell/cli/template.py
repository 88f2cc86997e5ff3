"""Replacement strings: a command template, and what it becomes for the arguments of one job.

Text is ``str`` with ``surrogateescape`` throughout, so any bytes pass. Values are quoted for the place where they stand
(plain text, within double or single quotes), so that the shell never sees them as syntax: ``"{}"`` and ``'{}'`` give
the exact value too.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmshell.cli.shellscan import Context, Token, scan
from warmshell.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_HARMLESS = re.compile(r"[A-Za-z0-9_@%+:,./-]+", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def quote(value: str) -> str:
    """The value as one word of sh, in single quotes unless every character is harmless."""
    return value if _HARMLESS.fullmatch(value) else _single_quoted(value)


def _single_quoted(value: str) -> str:
    quoted = "'" + value.replace("'", "'\"'\"'") + "'"
    # Without the empty pieces at the ends: so the text is, to the byte, what GNU parallel puts into its joblog.
    return quoted.removeprefix("''").removesuffix("''") or "''" if "'" in value else quoted


def without_extension(value: str) -> str:
    """``{.}``: everything before the last dot of the last component."""
    dot = value.rfind(".")
    return value[:dot] if dot > value.rfind("/") else value


def basename(value: str) -> str:
    """``{/}``: everything after the last slash."""
    return value[value.rfind("/") + 1 :]


def dirname(value: str) -> str:
    """``{//}``: the directory as ``dirname`` gives it, ``.`` where there is none."""
    directory = os.path.dirname(value.rstrip("/") or value[:1])
    return (directory.rstrip("/") or "/") if directory else "."


_TRANSFORMS: dict[str, Callable[[str], str]] = {
    "": lambda value: value,
    ".": without_extension,
    "/": basename,
    "//": dirname,
    "/.": lambda value: without_extension(basename(value)),
}


@dataclass(frozen=True, slots=True)
class Job:
    """What one job is expanded from: its arguments, its number from 1 and its slot from 1."""

    args: Sequence[str]
    seq: int = 1
    slot: int | str = 1


@dataclass(frozen=True, slots=True)
class _Slot:
    """One replacement string: which arguments, changed how, quoted for which place."""

    position: int | None  # None or 0: all the arguments
    kind: str  # a key of _TRANSFORMS, or "#" or "%"
    context: Context
    bare: bool

    @property
    def repeats(self) -> bool:
        return not self.position and self.kind not in ("#", "%")

    def values(self, job: Job) -> list[str]:
        if self.kind == "#":
            return [str(job.seq)]
        if self.kind == "%":
            return [str(job.slot)]
        change = _TRANSFORMS[self.kind]
        if not self.position:
            return [change(arg) for arg in job.args]
        index = self.position - 1 if self.position > 0 else self.position
        return [change(job.args[index])] if -len(job.args) <= index < len(job.args) else []

    def place(self, values: Iterable[str]) -> str:
        return " ".join([self._quoted(value) for value in values])

    def _quoted(self, value: str) -> str:
        return _QUOTERS[self.context](value, self.bare or self.kind in ("#", "%"))


def _in_plain(value: str, bare: bool) -> str:
    return value if bare and _HARMLESS.fullmatch(value) else _single_quoted(value)


def _in_single(value: str, _: bool) -> str:
    return value.replace("'", "'\"'\"'")


def _in_double(value: str, _: bool) -> str:
    return value if _HARMLESS.fullmatch(value) else '"' + _single_quoted(value) + '"'


def _in_arithmetic(value: str, _: bool) -> str:
    if not _INTEGER.fullmatch(value):
        raise CommandError(f"only whole numbers may stand within $(( )), not {value[:40]!r}")
    return value


def _in_comment(value: str, _: bool) -> str:
    return value.replace("\n", " ")


def _raw(value: str, _: bool) -> str:
    return value


_QUOTERS: dict[Context, Callable[[str, bool], str]] = {
    "plain": _in_plain,
    "single": _in_single,
    "double": _in_double,
    "arithmetic": _in_arithmetic,
    "comment": _in_comment,
    "raw": _raw,
}

Part = str | _Slot


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template.

    Attributes:
        text: the template as sh text, with ``{}`` appended where it had no replacement string.
        uses_slot: whether ``{%}`` occurs, so that the text differs from run to run.
    """

    text: str
    uses_slot: bool
    _parts: tuple[Part, ...]
    _groups: tuple[Part | tuple[Part, ...], ...]

    @classmethod
    def parse(cls, words: Sequence[str]) -> Template:
        """The template of the words of a command line, joined by blanks as GNU parallel joins them.

        Without words the input itself is the command: each value is sh text.

        Raises:
            CommandError: sh text in which a value cannot be placed safely.
        """
        if not words:
            whole = _Slot(None, "", "raw", bare=True)
            return cls("{}", False, (whole,), (whole,))
        text = " ".join(words)
        tokens = scan(text)
        if not any(token.slot for token in tokens):
            text = text.rstrip(" \t") + " {}"
            tokens = scan(text)
        parts = tuple(_part(token) for token in tokens)
        uses_slot = any(isinstance(part, _Slot) and part.kind == "%" for part in parts)
        return cls(text, uses_slot, _merge(parts), _grouped(tokens, parts))

    def expand(self, job: Job) -> str:
        """The sh text of a job: ``{}`` is all its arguments, separated by blanks."""
        return "".join([part if isinstance(part, str) else part.place(part.values(job)) for part in self._parts])

    def expand_repeating(self, job: Job) -> str:
        """The sh text of a job, every word with an unnumbered replacement string repeated for each argument."""
        return "".join(
            [
                _repeated(group, job)
                if isinstance(group, tuple)
                else group
                if isinstance(group, str)
                else group.place(group.values(job))
                for group in self._groups
            ]
        )


def _part(token: Token) -> Part:
    if token.slot is None:
        return token.text
    position, change, special = token.slot.groups()
    return _Slot(int(position) if position else None, special or change or "", token.context, token.bare)


def _merge(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts with neighbouring text joined, so that expanding touches few of them."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def _grouped(tokens: Sequence[Token], parts: Sequence[Part]) -> tuple[Part | tuple[Part, ...], ...]:
    """The parts, with those that repeat together gathered into one tuple."""
    groups: list[Part | tuple[Part, ...]] = []
    at = 0
    for index, part in enumerate(parts):
        if index < at or not (isinstance(part, _Slot) and part.repeats):
            continue
        start, end = _extent(tokens, index)
        groups.extend(_merge(parts[at:start]))
        groups.append(_merge(parts[start:end]))
        at = end
    groups.extend(_merge(parts[at:]))
    return tuple(groups)


def _extent(tokens: Sequence[Token], index: int) -> tuple[int, int]:
    """What repeats with a replacement string: its whole word, or the piece between blanks of a quoted text."""
    word, frame = tokens[index].word, tokens[index].frame
    start, end = _spread(tokens, index, lambda token: token.word == word)
    if any(token.boundary for token in tokens[start:end]):
        start, end = _spread(tokens, index, lambda token: token.frame == frame and not token.boundary)
    return start, end


def _spread(tokens: Sequence[Token], index: int, belongs: Callable[[Token], bool]) -> tuple[int, int]:
    start, end = index, index + 1
    while start > 0 and belongs(tokens[start - 1]):
        start -= 1
    while end < len(tokens) and belongs(tokens[end]):
        end += 1
    return start, end


def _repeated(group: tuple[Part, ...], job: Job) -> str:
    copies = []
    for arg in job.args:
        one = Job([arg], job.seq, job.slot)
        copies.append(
            "".join(
                part if isinstance(part, str) else part.place(part.values(one if part.repeats else job))
                for part in group
            )
        )
    return " ".join(copies)
