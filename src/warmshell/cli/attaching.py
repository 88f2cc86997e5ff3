"""What ``warm run --detach``, ``sessions``, ``attach`` and ``kill`` do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial
from urllib.parse import parse_qs

from warmshell import remembered
from warmshell.attached import Attached, Earlier, Ended, Piece
from warmshell.cli.common import DEFAULT_LOCATION
from warmshell.cli.group import complain
from warmshell.cli.output import Writer, write_out
from warmshell.cli.running import TIME_IS_OVER, Request
from warmshell.cli.sources import readable
from warmshell.command import Command
from warmshell.connector import connect
from warmshell.detached import SessionInfo, attach, end_session, sessions
from warmshell.errors import CommandTimeout, WarmshellError
from warmshell.shell.session import Gone

_WRITE_SECONDS = 1.0  # for what is being written when we are told to stop


async def left(request: Request) -> int:
    """Start the command in a session of its own, and leave it."""
    given = parse_qs(request.location.partition("?")[2])
    lease = request.lease if request.lease is not None or "detach" in given else float("inf")
    own = {} if "detach" in given else {"detach": True}  # should we be killed before it is left, it is to end
    command = Command(request.words, timeout=request.timeout, **request.options)
    async with connect(request.location, **own) as node:
        session = await node.detach(command, lease=lease)
        name = node.name
    write_out(1, f"{session}\n".encode())
    on = "" if session in remembered.known() else f" --on {request.location!r}"
    _tell(f"it goes on at {name}: 'warm attach {session}{on}' shows it, 'warm kill {session}{on}' ends it")
    return 0


def _tell(sentence: str) -> None:
    write_out(2, f"warm: {sentence}\n".encode("utf-8", "surrogateescape"))


def _plain(command: str, most: int = 100) -> str:
    """A command as text that does nothing to a terminal."""
    return "".join(char if char.isprintable() else " " for char in readable(command, most))


# -- attach ------------------------------------------------------------------------------------------------------------


async def attached(session: str, location: str | None) -> int:
    """Show what the session writes; the status of its command."""
    entered = False
    try:
        async with attach(session, location) as client:
            entered = True
            return await _shown(client)
    except asyncio.CancelledError:
        if entered:
            _tell(f"session {session} goes on: 'warm attach' shows more of it, 'warm kill' ends it")
        raise
    except Gone:
        remembered.forget(session)
        raise


async def _shown(client: Attached) -> int:
    """One command as it writes; of several, each whole when it has ended."""
    if not client.commands:
        _tell("nothing runs there, and nothing waits to be shown: 'warm kill' ends it")
        return 0
    for command in client.commands:
        _tell_missed(command)
    status = 0
    writer = Writer()
    several = len(client.commands) > 1
    async for event in client.results() if several else client.pieces():
        if isinstance(event, Piece):
            await _write(writer, client, event)
            continue
        if several and event.result is not None:
            for number, name in ((1, "stdout"), (2, "stderr")):
                for data in event.result.output(name).chunks():
                    await writer.do(partial(write_out, number, data))
        status = status or _status(event)
    return status


def _tell_missed(command: Earlier) -> None:
    if any(command.missed):
        what = "bytes of standard output and {} of standard error were taken by an earlier client"
        _tell(f"{command.missed[0]} {what.format(command.missed[1])}: {_plain(command.text)}")


async def _write(writer: Writer, client: Attached, piece: Piece) -> None:
    """Write a piece; one that was written when we are told to stop is not shown again."""
    writing = asyncio.ensure_future(writer.do(partial(write_out, piece.stream, piece.data)))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        done, _ = await asyncio.wait([writing], timeout=_WRITE_SECONDS)
        if done and writing.exception() is None:
            client.taken()
        raise


def _status(ended: Ended) -> int:
    if ended.again:
        _tell(f"an earlier client may have shown this already: {_plain(ended.command.text)}")
    if isinstance(ended.error, CommandTimeout):
        _tell(str(ended.error))
        return TIME_IS_OVER
    if ended.error is not None:
        return complain(str(ended.error))
    return 0 if ended.result is None else ended.result.returncode


# -- kill --------------------------------------------------------------------------------------------------------------


async def killed(ids: Sequence[str], location: str | None) -> int:
    """End the sessions; each is tried."""
    status = 0
    for session in ids:
        try:
            await end_session(session, location)
        except WarmshellError as error:
            status = complain(str(error))
            if isinstance(error, Gone):
                remembered.forget(session)
    return status


# -- sessions ----------------------------------------------------------------------------------------------------------


async def listed(locations: Sequence[str], *, as_json: bool) -> int:
    """List the sessions of the locations; of those that were not named, one that cannot be reached is no failure."""
    known = remembered.known()
    urls = list(locations) or list(dict.fromkeys([DEFAULT_LOCATION, *known.values()]))
    found: list[tuple[str, SessionInfo]] = []
    status = 0
    for url in urls:
        try:
            here = await sessions(url)
        except WarmshellError as error:
            told = complain(str(error))
            status = told if locations else status
            continue
        found += [(url, info) for info in here]
        for session, where in known.items():
            if where == url and all(info.id != session for info in here):
                remembered.forget(session)
    _show(found, as_json=as_json)
    return status


def _show(found: Sequence[tuple[str, SessionInfo]], *, as_json: bool) -> None:
    if as_json:
        for url, info in found:
            fields = {name: getattr(info, name) for name in SessionInfo.__slots__}
            write_out(1, (json.dumps({**fields, "url": url}) + "\n").encode())
        return
    rows: list[tuple[str, ...]] = [("ID", "SINCE", "RUNNING", "FINISHED", "CLIENT", "LEASE", "LOCATION", "LAST")]
    rows += [_row(info) for _, info in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        write_out(1, ("  ".join([*cells, row[-1]]).rstrip() + "\n").encode("utf-8", "surrogateescape"))


def _row(info: SessionInfo) -> tuple[str, ...]:
    lease = "-" if info.left is None else f"{info.left:.0f} s"
    client = "yes" if info.attached else "-"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.began))
    last = _plain(info.last, 60)
    return (info.id, since, str(info.running), str(info.finished), client, lease, info.location, last)
