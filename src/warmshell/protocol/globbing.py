"""Patterns of file names with the meaning that ``pathlib`` gives them, and the walk that finds what matches.

Sans-IO: the walk says which directories it wants to know, whoever drives it lists them (:func:`found_here` does so on
this machine, a client may ask a far shell). ``*`` and ``?`` match hidden names too, ``**`` is any depth of directories,
no links among them. Names are matched as UTF-8 text, undecodable bytes one by one. Names come in the order of their
parts, each once, however many ways it matches.
"""

from __future__ import annotations

import fnmatch
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

DIRECTORY, LINK_TO_DIRECTORY, LINK, DANGLING, OTHER = "d", "D", "l", "x", "f"
"""What an entry is, as far as a walk needs to know."""

_MAGIC = re.compile(r"[*?[]")
_DEEP = None


class Pattern:
    """A pattern, part by part.

    Args:
        pattern: names and wildcards between slashes, relative.
        deep_files: whether a final ``**`` matches files as well, as from Python 3.13 on.
        dangling: whether a final part without a wildcard matches a link that leads nowhere, as from 3.13 on.

    Raises:
        ValueError: it is empty, absolute, or has ``**`` within a name.
    """

    def __init__(self, pattern: bytes, deep_files: bool = False, dangling: bool = False) -> None:
        text = pattern.decode("utf-8", "surrogateescape")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if not parts or text.startswith("/"):
            raise ValueError(f"a pattern is relative and not empty, not {text!r}")
        if any("**" in part and part != "**" for part in parts):
            raise ValueError("'**' can only be an entire part of a pattern")
        self.parts = parts
        self.only_directories = text.endswith("/") or (parts[-1] == "**" and not deep_files)
        self.deep_files = deep_files
        self._known: dict[frozenset[int], frozenset[int]] = {}
        self._of_files: dict[frozenset[int], Callable[[str], object] | None] = {}
        self.dangling = dangling
        self._matchers = [
            _DEEP if part == "**" else re.compile(fnmatch.translate(part)).match if _MAGIC.search(part) else part
            for part in parts
        ]

    def start(self) -> frozenset[int]:
        """Where a match of the root's children begins."""
        return self._closed({0})

    def _closed(self, states: Iterable[int]) -> frozenset[int]:
        """With what ``**`` gives when it stands for nothing."""
        given = frozenset(states)
        known = self._known.get(given)  # they are few, the names many
        if known is not None:
            return known
        closed = set(given)
        for state in sorted(closed):
            while state < len(self.parts) and self._matchers[state] is _DEEP:
                state += 1  # noqa: PLW2901 - the next one follows from it
                closed.add(state)
        known = self._known[given] = frozenset(closed)
        return known

    def names(self, states: frozenset[int]) -> list[bytes] | None:
        """The only names that could match here, or None if the directory has to be listed."""
        found = []
        for state in states:
            if state < len(self.parts):
                matcher = self._matchers[state]
                if not isinstance(matcher, str):
                    return None
                found.append(matcher.encode("utf-8", "surrogateescape"))
        return sorted(set(found))

    def asks_for_parent(self, states: frozenset[int]) -> bool:
        """Whether ``..`` is among what could match here."""
        return any(state < len(self.parts) and self._matchers[state] == ".." for state in states)

    def step(self, states: frozenset[int], name: bytes, kind: str) -> frozenset[int]:
        """What is left to match below an entry; ``len(parts)`` among it: the entry itself matches."""
        text, after = name.decode("utf-8", "surrogateescape"), set()
        for state in states:
            if state == len(self.parts):
                continue
            matcher = self._matchers[state]
            if matcher is _DEEP:
                if kind == DIRECTORY and name != b"..":
                    after.add(state)
                elif kind != DIRECTORY and self.deep_files and state == len(self.parts) - 1:
                    after.add(len(self.parts))
            elif isinstance(matcher, str):
                if matcher == text:
                    after.add(state + 1)
            elif matcher is not None and matcher(text):
                after.add(state + 1)
        return self._closed(after)

    def of_files(self, states: frozenset[int]) -> Callable[[str], object] | None:
        """What says of a name whether a file of that name matches here; ``None`` if none does."""
        if states not in self._of_files:
            last = len(self.parts) - 1
            finals = [self._matchers[state] for state in states if state == last] if not self.only_directories else []
            self._of_files[states] = _one_of(finals) if finals else None
        return self._of_files[states]

    def accepts(self, states: frozenset[int], name: bytes, kind: str) -> bool:
        """Whether an entry with this outcome of :meth:`step` is one that the pattern is for."""
        if len(self.parts) not in states or (self.only_directories and kind not in (DIRECTORY, LINK_TO_DIRECTORY)):
            return False
        by_name = self._matchers[-1] == name.decode("utf-8", "surrogateescape")
        return kind != DANGLING or self.dangling or not by_name

    def goes_on(self, states: frozenset[int], kind: str) -> bool:
        """Whether something below could match."""
        if kind not in (DIRECTORY, LINK_TO_DIRECTORY):
            return False
        return any(state < len(self.parts) for state in states)


def _one_of(matchers: list[Any]) -> Callable[[str], object]:
    """Whether one of them matches: names to be equal to, functions, or ``None``, which matches all."""
    if len(matchers) == 1 and callable(matchers[0]):
        return matchers[0]  # type: ignore[no-any-return]
    if _DEEP in matchers:
        return lambda _: True
    names = {matcher for matcher in matchers if isinstance(matcher, str)}
    functions = [matcher for matcher in matchers if callable(matcher)]
    return lambda text: text in names or any(function(text) for function in functions)


class Want:
    """A directory that a walk needs to know.

    Attributes:
        path: the directory, relative to the root; empty: the root.
        names: the only names that matter, or None: all.
    """

    __slots__ = ("entries", "match", "names", "parts", "path", "states")

    def __init__(self, parts: tuple[bytes, ...], states: frozenset[int], match: bool) -> None:
        self.parts = parts
        self.states = states
        self.match = match
        self.path = b"/".join(parts)
        self.names: list[bytes] | None = None
        self.entries: list[tuple[bytes, str]] | None = None


class Walk:
    """A walk through a tree in the order of the names, as deep as the pattern asks.

    Args:
        pattern: what to find.
        after: a path that was found before: what comes up to it is left out.
    """

    def __init__(self, pattern: Pattern, after: bytes | None = None) -> None:
        self._pattern = pattern
        self._after = () if after in (None, b".") else tuple(after.split(b"/"))
        start = pattern.start()
        matches_root = len(pattern.parts) in start and after is None
        root = Want((), start, matches_root)
        root.names = pattern.names(start)
        self._stack: list[Want | bytes] = [root]

    def found(self) -> Iterator[bytes]:
        """Paths that match, until a directory has to be known, or all is done; ``b"."`` is the root itself."""
        while self._stack:
            top = self._stack[-1]
            if isinstance(top, bytes):  # most are files, which match and no more
                self._stack.pop()
                yield top
                continue
            if top.match:
                top.match = False
                yield top.path or b"."
            if self._pattern.goes_on(top.states, DIRECTORY) and top.entries is None:
                return
            self._stack.pop()
            if top.entries is not None:
                self._expand(top)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to be found."""
        return not self._stack

    def wanted(self, most: int = 1) -> list[Want]:
        """The next directories to be listed; their ``entries`` are to be set."""
        found = []
        for want in reversed(self._stack):
            if isinstance(want, bytes):
                continue
            if want.entries is None and self._pattern.goes_on(want.states, DIRECTORY):
                found.append(want)
                if len(found) == most:
                    break
        return found

    def _push_file(self, parent: Want, name: bytes) -> None:
        if not self._after or (*parent.parts, name) > self._after:
            self._stack.append(parent.path + b"/" + name if parent.path else name)

    def _expand(self, parent: Want) -> None:
        pattern, entries = self._pattern, parent.entries or []
        if parent.names is None and pattern.asks_for_parent(parent.states):
            entries.append((b"..", DIRECTORY))  # no listing has it
        entries.sort(reverse=True)
        file_matches = pattern.of_files(parent.states)
        for name, kind in entries:
            if kind == OTHER:
                if file_matches is not None and file_matches(name.decode("utf-8", "surrogateescape")):
                    self._push_file(parent, name)
                continue
            states = pattern.step(parent.states, name, kind)
            if not states:
                continue
            parts = (*parent.parts, name)
            if parts < self._after[: len(parts)]:
                continue  # it was found before, with all that is below it
            child = Want(parts, states, pattern.accepts(states, name, kind) and parts > self._after)
            if pattern.goes_on(states, kind):
                child.names = pattern.names(states)
            else:
                child.states = frozenset()
                if not child.match:
                    continue
            self._stack.append(child)


# -- on this machine -----------------------------------------------------------------------------------------------


def found_here(pattern: Pattern, root: bytes, after: bytes | None = None) -> Iterator[bytes]:
    """What matches below a directory of this machine."""
    walk = Walk(pattern, after)
    while True:
        yield from walk.found()
        if walk.done:
            return
        for want in walk.wanted():
            directory = os.path.join(root, want.path)
            want.entries = list(_named(directory, want.names) if want.names is not None else _listed(directory))


def _named(directory: bytes, names: list[bytes]) -> Iterator[tuple[bytes, str]]:
    for name in names:
        path = os.path.join(directory, name)
        if os.path.lexists(path):
            yield name, _kind(os.path.islink(path), path)


def _listed(directory: bytes) -> Iterator[tuple[bytes, str]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield entry.name, _kind(True, entry.path)
                else:
                    yield entry.name, DIRECTORY if entry.is_dir(follow_symlinks=False) else OTHER
    except OSError:  # it may not be read, or is gone: nothing is found there
        return


def _kind(is_link: bool, path: bytes) -> str:
    if os.path.isdir(path):
        return LINK_TO_DIRECTORY if is_link else DIRECTORY
    if not is_link:
        return OTHER
    return LINK if os.path.exists(path) else DANGLING
