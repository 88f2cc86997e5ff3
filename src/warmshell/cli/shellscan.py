"""Finds where in a piece of sh text a replacement string stands: the pure scanner behind the templates.

A value may only be spliced into sh text when it is certain how the shell reads that place. The scanner walks the text
once, keeps the stack of open quotes, ``$( )``, ``${ }`` and ``$(( ))``, and says of every replacement string whether
it stands in plain text, in double or single quotes, in arithmetic or in a comment. Where shells disagree about what
they read, it refuses with one sentence instead of guessing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from warmshell.errors import CommandError

Context = Literal["plain", "double", "single", "arithmetic", "comment", "raw"]
"""How the shell reads a place; ``raw`` is for a job whose input is itself sh text."""

REPLACEMENT = re.compile(r"\{(?:(-?[0-9]+)?(//|/\.|/|\.)?|([#%]))\}", re.ASCII)
"""``{}``, ``{.}``, ``{/}``, ``{//}``, ``{/.}``, the same with a position, ``{#}`` and ``{%}``."""

_BLANKS = " \t"
_OPERATORS = ";|&\n()<>"
_STARTS = ";|&\n()"  # after these, the next word is in command position
_RESERVED = frozenset(
    [
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "do",
        "done",
        "case",
        "esac",
        "while",
        "until",
        "for",
        "in",
        "{",
        "}",
        "!",
        "function",
        "select",
        "time",
        "coproc",
        "[[",
    ]
)
_SAFE_NEIGHBOUR = re.compile(r"[A-Za-z0-9_@%+=:,./{}-]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """A run of template text, or one replacement string.

    Attributes:
        text: the text itself; for a replacement string, as it was written.
        frame: which quote or substitution it stands in (every opened one has its own number).
        word: the number of the shell word, at the top level, that it belongs to.
        boundary: whether it separates words where it stands (blanks anywhere, operators outside quotes).
        slot: the match of a replacement string, or ``None`` for text.
        context: how the shell reads the place of the replacement string.
        bare: whether a value of harmless characters may stand here without quotes.
    """

    text: str
    frame: int
    word: int
    boundary: bool = False
    slot: re.Match[str] | None = None
    context: Context = "plain"
    bare: bool = False


@dataclass(slots=True)
class _Frame:
    kind: Literal["plain", "double", "sub", "arithmetic", "parameter"]
    number: int
    depth: int = 0  # open parentheses within


def scan(text: str) -> list[Token]:
    """The tokens of a template.

    Raises:
        CommandError: unbalanced quotes, or a construct in which no value can be placed safely.
    """
    scanner = _Scanner(text)
    scanner.run()
    return scanner.tokens


@dataclass(slots=True)
class _Scanner:
    text: str
    at: int = 0
    tokens: list[Token] = field(default_factory=list)
    frames: list[_Frame] = field(default_factory=lambda: [_Frame("plain", 0)])
    opened: int = 0
    word: int = 0
    word_start: int = 0
    command: bool = True  # whether the word being read is in command position

    def run(self) -> None:
        while self.at < len(self.text):
            kind = self.frames[-1].kind
            if kind in ("plain", "sub"):
                self._plain()
            elif kind == "double":
                self._double()
            elif kind == "arithmetic":
                self._arithmetic()
            else:
                self._parameter()
        if len(self.frames) > 1:
            raise CommandError("the command template has an open quote, '$(' or '${'")

    # -- emitting -----------------------------------------------------------------------------------------------

    def _emit(self, length: int, *, boundary: bool = False) -> None:
        piece = self.text[self.at : self.at + length]
        self.tokens.append(Token(piece, self.frames[-1].number, self.word, boundary))
        self.at += length

    def _slot(self, context: Context, frame: int | None = None) -> bool:
        """Emit the replacement string that stands here, if one does."""
        match = REPLACEMENT.match(self.text, self.at)
        if match is None:
            return False
        number = self.frames[-1].number if frame is None else frame
        bare = context == "plain" and not self.command and self._harmless_around(match.end())
        self.tokens.append(Token(match.group(), number, self.word, slot=match, context=context, bare=bare))
        self.at = match.end()
        return True

    def _harmless_around(self, end: int) -> bool:
        before, after = self.text[self.at - 1 : self.at], self.text[end : end + 1]
        return (before in _BLANKS or bool(_SAFE_NEIGHBOUR.match(before))) and (
            after in _BLANKS or after in ";|&\n)" or bool(_SAFE_NEIGHBOUR.match(after))
        )

    def _open(self, kind: Literal["double", "sub", "arithmetic", "parameter"], length: int) -> None:
        self._emit(length)
        self.opened += 1
        self.frames.append(_Frame(kind, self.opened))
        if kind == "sub":
            self.command, self.word_start = True, self.at

    def _close(self, length: int) -> None:
        self.frames.pop()
        self._emit(length)
        self.command = False

    # -- the contexts -------------------------------------------------------------------------------------------

    def _plain(self) -> None:
        char = self.text[self.at]
        if self._slot("plain"):
            return
        if char in _BLANKS or char in _OPERATORS:
            self._separator(char)
        elif char == "#" and self.at == self.word_start:
            self._comment()
        elif char == "'":
            self._single()
        elif char == '"':
            self._open("double", 1)
        elif char == "\\":
            self._backslash()
        elif not self._expansion():
            self._emit(1)

    def _separator(self, char: str) -> None:
        self._end_word()
        frame = self.frames[-1]
        if self.text.startswith("<<", self.at) and not self.text.startswith("<<<", self.at):
            raise CommandError("a command template cannot hold a here-document ('<<'); use printf, or a script file")
        if self.text.startswith("((", self.at):
            raise CommandError("'((' means different things in different shells; write '( (' in a command template")
        if char == ")" and frame.kind == "sub" and frame.depth == 0:
            self._close(1)
            return
        if frame.kind == "sub":
            frame.depth += {"(": 1, ")": -1}.get(char, 0)
        if char in _STARTS:
            self.command = True
        length = 3 if self.text.startswith("<<<", self.at) else 1
        self._next_word(top := len(self.frames) == 1)
        self._emit(length, boundary=True)
        self._next_word(top)
        self.word_start = self.at

    def _next_word(self, top: bool) -> None:
        self.word += top

    def _end_word(self) -> None:
        text = self.text[self.word_start : self.at]
        if text:
            if text == "case" and any(frame.kind == "sub" for frame in self.frames):
                raise CommandError("a command template cannot hold 'case' within '$( )'; put it into a script file")
            self.command = text in _RESERVED

    def _comment(self) -> None:
        while self.at < len(self.text) and self.text[self.at] != "\n":
            if not self._slot("comment"):
                self._emit(1, boundary=self.text[self.at] in _BLANKS)

    def _single(self) -> None:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise CommandError("the command template has an open quote (')")
        self._emit(1)
        self.opened += 1
        number = self.opened
        while self.at < end:
            if not self._slot("single", number):
                piece = self.text[self.at]
                self.tokens.append(Token(piece, number, self.word, piece in _BLANKS))
                self.at += 1
        self._emit(1)

    def _backslash(self) -> None:
        # Before a value, a backslash quotes nothing (the value is quoted whole) and would undo the value's own quote.
        if REPLACEMENT.match(self.text, self.at + 1):
            self.at += 1
            self._slot("plain")
            return
        at_start = self.at == self.word_start
        continued = self.text.startswith("\n", self.at + 1)  # a line that goes on: the shell removes both characters
        self._emit(2)
        if at_start and continued:
            self.word_start = self.at

    def _double(self) -> None:
        char = self.text[self.at]
        if char == '"':
            self._close(1)
        elif char == "\\":
            if REPLACEMENT.match(self.text, self.at + 1):
                # In double quotes this backslash is a character of its own: it must not meet the value's quotes.
                self.tokens.append(Token("\\\\", self.frames[-1].number, self.word))
                self.at += 1
            else:
                self._emit(2)
        elif not self._expansion() and not self._slot("double"):
            self._emit(1, boundary=char in _BLANKS)

    def _arithmetic(self) -> None:
        char, frame = self.text[self.at], self.frames[-1]
        if char == ")" and frame.depth == 0:
            if not self.text.startswith("))", self.at):
                raise CommandError("'$((' that is not arithmetic; write '$( (' in a command template")
            self._close(2)
        elif not self._expansion() and not self._slot("arithmetic"):
            frame.depth += {"(": 1, ")": -1}.get(char, 0)
            self._emit(1)

    def _parameter(self) -> None:
        char = self.text[self.at]
        if REPLACEMENT.match(self.text, self.at):
            raise CommandError("a replacement string within '${ }' cannot be quoted; assign it to a variable first")
        if char == "}":
            self._close(1)
        elif char == '"':
            self._open("double", 1)
        elif char == "'":
            if any(frame.kind == "double" for frame in self.frames):
                raise CommandError('a single quote within "${ }" means different things in different shells')
            self._single()
        elif char == "\\":
            self._emit(2)
        elif not self._expansion():
            self._emit(1)

    def _expansion(self) -> bool:
        """Step into, or over, an expansion that starts here."""
        text, at = self.text, self.at
        if text[at] == "`":
            self._backticks()
        elif text[at] != "$":
            return False
        elif text.startswith("$((", at):
            self._open("arithmetic", 3)
        elif text.startswith("$(", at):
            self._open("sub", 2)
        elif text.startswith("${", at):
            self._open("parameter", 2)
        elif text.startswith("$'", at) and self.frames[-1].kind in ("plain", "sub"):
            raise CommandError("$'…' means different things in different shells; use printf in a command template")
        else:
            self._emit(2 if text.startswith("$$", at) else 1)
        return True

    def _backticks(self) -> None:
        match = re.compile(r"`((?:[^`\\]|\\.)*)`", re.DOTALL).match(self.text, self.at)
        if match is None:
            raise CommandError("the command template has an open quote (`)")
        if REPLACEMENT.search(match.group(1)):
            raise CommandError("a replacement string within backticks cannot be quoted; write $( ) instead")
        self._emit(len(match.group()))
