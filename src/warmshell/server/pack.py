"""The client's side of the delivery: what is sent to the far end, and the words that start it there."""

from __future__ import annotations

import ast
import functools
import json
import zlib
from pathlib import Path

from warmshell.server import bootstrap, finding

_ROOT = Path(__file__).parent.parent
_GUARDIAN = ("__init__", "tree", "processes")
_NOT_SENT = ("pack", "bootstrap", "packer")

# One line without a single quote, a "!" or a newline, so that any login shell can hand it on to sh.
_TEXT = (
    "for c in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python;"
    ' do p=$("$c" -I -S -B -c "{check}" </dev/null 2>/dev/null) && [ -x "$p" ] &&'
    ' exec "$p" -I -S -B -c "import sys,zlib;exec(zlib.decompress(bytes.fromhex(sys.argv[1])))"'
    " {program} {token}{word};"
    " done; echo; echo warmshell-hello {token} sh; exec sh"
)


@functools.cache
def archive() -> bytes:
    """The server: a zlib-compressed JSON object, from module names to whether it is no package, and its source."""
    sources: dict[str, tuple[int, str]] = {"warmshell": (0, "")}
    servers = [path.stem for path in (_ROOT / "server").glob("*.py") if path.stem not in _NOT_SENT]
    for package, names in (("protocol", _spoken()), ("server", servers), ("guardian", _GUARDIAN)):
        for path in sorted((_ROOT / package).glob("*.py")):
            if path.stem not in names:
                continue
            name = f"warmshell.{package}" + ("" if path.stem == "__init__" else f".{path.stem}")
            sources[name] = (int(path.stem != "__init__"), _without_docstrings(path.read_text(encoding="utf-8")))
    return zlib.compress(json.dumps(sources).encode(), 9)


def _spoken() -> set[str]:
    """The modules of ``protocol`` that the server needs; others are the client's, or another program's."""
    found, new = set[str](), {"__init__"}
    for path in (_ROOT / "server").glob("*.py"):
        if path.stem not in _NOT_SENT:
            new |= _imported(path)
    while new:
        name = new.pop()
        found.add(name)
        new |= _imported(_ROOT / "protocol" / f"{name}.py") - found
    return found


def _imported(path: Path) -> set[str]:
    """The modules of ``protocol`` that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "warmshell.protocol":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("warmshell.protocol."):
            names.add((node.module or "").rpartition(".")[2])
    return names


def _without_docstrings(source: str) -> str:
    """The source with nothing that a machine does not need to read again and again."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for statement in body:
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
                lines[first] = " " * statement.col_offset + '""'
                lines[first + 1 : last + 1] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines) + "\n"


@functools.cache
def _packed(program: str) -> str:
    return zlib.compress(program.encode(), 9).hex()


@functools.cache
def packer_text() -> str:
    """The program that stands in for ``tar``."""
    return _without_docstrings((_ROOT / "server" / "packer.py").read_text(encoding="utf-8"))


def delivery(options: dict[str, object] | None = None) -> bytes:
    """What the far end reads after its hello: the archive, and options that it must know from the start."""
    code = archive()
    if options is None:
        return len(code).to_bytes(4, "big") + code
    more = json.dumps(options).encode()
    size = len(code) | bootstrap.OPTIONS_FOLLOW
    return size.to_bytes(4, "big") + code + len(more).to_bytes(4, "big") + more


def start_text(token: str) -> str:
    """The program for ``sh`` that finds a Python and has it say hello, or says hello itself.

    Args:
        token: what the hello must carry: letters and digits.
    """
    return _text(bootstrap.PROGRAM, token)


def _text(program: str, token: str, word: str = "") -> str:
    if not (token + word).isalnum():
        raise ValueError("a token is letters and digits")
    return _TEXT.format(check=bootstrap.CHECK, program=_packed(program), token=token, word=word and " " + word)


def start_words(token: str) -> list[bytes]:
    """The words that start the server at a location."""
    return [b"sh", b"-c", start_text(token).encode()]


def start_line(token: str) -> bytes:
    """The same as one line, which any login shell reads the same way."""
    return b"exec sh -c '" + start_text(token).encode() + b"'"


def attach_line(token: str, session: str) -> bytes:
    """A line that hands its streams over to a detachable session.

    Args:
        token: what the hello must carry, whose next word is ``attach`` or ``gone``.
        session: its id.
    """
    return b"exec sh -c '" + _text(finding.ATTACH, token, session).encode() + b"'"


def list_line(token: str) -> bytes:
    """A line that lists the detachable sessions of the account: a line of JSON each after the hello."""
    return b"exec sh -c '" + _text(finding.LIST, token).encode() + b"'"
