"""What ``warm ls`` and ``warm cat`` do, once their words are understood."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from warmshell.cli.output import Writer, write_out
from warmshell.cli.reaching import for_each

if TYPE_CHECKING:
    from warmshell.fileops import Facts
    from warmshell.path import RemotePath

Form = Literal["names", "long", "null", "json"]

_AT_ONCE = 64 * 1024  # bytes of lines that are written together


async def written(words: Sequence[str]) -> int:
    """Write the contents of files; the exit status."""
    writer = Writer()

    async def write(path: RemotePath, _: str) -> None:
        async for data in path.location.files.stream(bytes(path)):
            await writer.do(lambda data=data: write_out(1, data))  # type: ignore[misc]

    return await for_each(words, write)


async def listed(words: Sequence[str], form: Form, *, everything: bool, directory: bool) -> int:
    """Write what is in directories; the exit status."""
    writer = Writer()

    async def write(path: RemotePath, word: str) -> None:
        waiting = bytearray()
        if len(words) > 1 and form in ("names", "long") and not directory:
            waiting += f"{shown(word.encode('utf-8', 'surrogateescape'))}:\n".encode()
        async for name, facts in _entries(path, everything=everything, directory=directory):
            waiting += await _line(path, name, facts, form)
            if len(waiting) >= _AT_ONCE:
                lines, waiting = bytes(waiting), bytearray()
                await writer.do(lambda lines=lines: write_out(1, lines))  # type: ignore[misc]
        await writer.do(lambda: write_out(1, bytes(waiting)))

    return await for_each(words, write)


async def _entries(
    path: RemotePath, *, everything: bool, directory: bool
) -> AsyncIterator[tuple[bytes, Facts]]:  # fmt: skip
    """Names, with what is known of them; the path itself if it is no directory."""
    if directory or not (await path.stat(follow_symlinks=not directory)).is_dir:
        yield bytes(path), await path.lstat()
        return
    async for entry in path.location.files.entries(bytes(path)):
        if everything or not entry.name.startswith(b"."):
            yield entry.name, entry.facts


async def _line(path: RemotePath, name: bytes, facts: Facts, form: Form) -> bytes:
    if form == "null":
        return name + b"\0"
    if form == "names":
        return shown(name).encode() + b"\n"
    leads = await (path / name).readlink() if facts.is_symlink else None
    if form == "json":
        return _json(name, facts, leads).encode() + b"\n"
    arrow = "" if leads is None else f" -> {shown(bytes(leads))}"
    when = datetime.fromtimestamp(facts.mtime_ns // 10**9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    mode = stat.filemode(facts.st_mode)
    return f"{mode} {facts.links:3} {facts.uid:5} {facts.gid:5} {facts.size:12} {when} {shown(name)}{arrow}\n".encode()


def _json(name: bytes, facts: Facts, leads: RemotePath | None) -> str:
    told: dict[str, object] = {
        "name": name.decode("utf-8", "replace"), "kind": facts.kind, "mode": facts.mode, "size": facts.size,
        "mtime_ns": facts.mtime_ns, "uid": facts.uid, "gid": facts.gid, "links": facts.links,
    }  # fmt: skip
    if leads is not None:
        told["target"] = bytes(leads).decode("utf-8", "replace")
    if told["name"] != name.decode("utf-8", "surrogateescape"):
        told["name_base64"] = base64.b64encode(name).decode()
    return json.dumps(told)


def shown(name: bytes) -> str:
    """A name for people: bytes that cannot be seen are written in hexadecimal, and a backslash twice."""
    text = name.decode("utf-8", "surrogateescape")
    return "".join(_escaped(character) if _hides(character) else character for character in text)


def _hides(character: str) -> bool:
    return character == "\\" or (character != " " and not character.isprintable())


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
