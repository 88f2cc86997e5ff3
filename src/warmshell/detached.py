"""Sessions that outlive their client: leaving them, finding them again, ending them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmshell import remembered
from warmshell.attached import Attached
from warmshell.command import Command, Words
from warmshell.connector import connect
from warmshell.errors import ClosedError, ConnectError, NotSupported, ProgramNotFound, WarmshellError, WorkdirNotFound
from warmshell.location import make_command
from warmshell.server import pack
from warmshell.shell.detachable import DetachableSession, detach_of
from warmshell.shell.server_lane import ServerLane
from warmshell.shell.session import new_token
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.connector.place import Place
    from warmshell.location import Location
    from warmshell.process import Process

_LIST_SECONDS = 60.0
_MOST_LISTED = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a session says of itself.

    Attributes:
        id: its id.
        location: the name of its location.
        began: seconds since the epoch.
        lease: seconds that it lasts without a client; ``None``: until it is ended.
        left: as many of them as are left.
        attached: whether it has a client.
        running: how many commands run or wait in it.
        finished: how many have ended, and nobody has fetched their results.
        last: the words of the last one, shortened.
        spooled: bytes that it keeps for a client.
        spool: how many it keeps at most, before its commands have to wait.
        pid: its process.
    """

    id: str
    location: str
    began: float
    lease: float | None
    left: float | None
    attached: bool
    running: int
    finished: int
    last: str
    spooled: int
    spool: int
    pid: int


def attach(session: str, on: str | None = None, **options: Any) -> Attached:
    """Be the client of a session that another client has left, or lost, or still has.

    Args:
        session: its id.
        on: the URL of its location, or a deployment's name; by default what this account remembers on this machine.
        **options: those of :func:`warmshell.connect`.

    Raises:
        LocationError: it is no id, its location is not known, or is none.
    """
    where = remembered.recall(session) if on is None else on
    return Attached(connect(where, **options).place, remembered.checked(session))


async def end_session(session: str, on: str | None = None, **options: Any) -> None:
    """End a session with everything in it: TERM, a second, KILL. Its results are lost.

    Args:
        session: its id.
        on: as for :func:`attach`.
        **options: as for :func:`attach`.

    Raises:
        Gone: there is no such session.
        ConnectError: its location cannot be reached.
    """
    async with attach(session, on, **options) as attached:
        await attached.end()


async def sessions(where: str = "local:", **options: Any) -> list[SessionInfo]:
    """The sessions of this account at a location that can outlive their client.

    Raises:
        ConnectError: it cannot be reached, or has no Python.
    """
    place = connect(where, **options).place
    try:
        await place.reach()
        return await sessions_at(place)
    finally:
        await shielded(place.aclose())


async def sessions_at(place: Place) -> list[SessionInfo]:
    """The same, at a place that was reached."""
    token = new_token()
    process = await place.reopen(pack.list_line(token))
    try:
        async with asyncio.timeout(_LIST_SECONDS):
            said = await _all(process)
    except TimeoutError:
        raise ConnectError("the far end does not list its sessions", location=place.name) from None
    finally:
        await shielded(process.aclose())
    _, hello, rest = said.partition(f"warmshell-hello {token} ".encode())
    kind, _, lines = rest.partition(b"\n")
    if not hello or kind != b"sessions":
        raise ConnectError("there is no Python 3.8 or later at the far end", location=place.name)
    found = [_info(json.loads(line), place.name) for line in lines.splitlines()]
    return sorted(found, key=lambda info: (info.began, info.id))


async def _all(process: Process) -> bytes:
    said = b""
    await process.stdin.aclose()
    while len(said) < _MOST_LISTED and (data := await process.stdout.receive()):
        said += data
    return said


def _info(fields: dict[str, Any], location: str) -> SessionInfo:
    same = {name: fields[name] for name in SessionInfo.__slots__ if name not in ("id", "location")}
    return SessionInfo(id=str(fields["session"]), location=location, **same)


# -- leaving -----------------------------------------------------------------------------------------------------------


async def leave(
    location: Location, shell: str, what: Words | str | Command | None, lease: float | None, options: dict[str, Any]
) -> str:
    """What :meth:`warmshell.Location.detach` does."""
    session = location.place.session
    if not isinstance(session, DetachableSession):
        raise NotSupported(
            "this location has no session that could be left", location=location.name, hint="connect with detach="
        )
    if lease is not None:
        detach_of(lease)
    if session.lost is not None:
        raise ClosedError(f"the session is gone: {session.lost}", location=location.name)
    used = None
    if what is not None:
        command = _leavable(make_command(what, options), location)
        await _check(session, command, location.name)
        lane = await location.lane(shell, blank=command.env_only is not None)
        assert isinstance(lane, ServerLane)  # noqa: S101 - for the type checker
        try:
            lane.begin(command, lane.body(command), keeps_time=True).done.add_done_callback(_looked_at)
        except WarmshellError:
            await shielded(lane.aclose())
            raise
        session.hold()  # nothing can have come of it yet
        used = session.count
    session_id = session.detach_options.session
    remembered.remember(session_id, remembered.url(*location.place.address))
    try:
        await session.leave(used, lease)
    except WarmshellError:
        if what is not None:
            raise
        remembered.forget(session_id)
        raise
    return session_id


def _leavable(command: Command, location: Location) -> Command:
    if command.user is not None or command.pty:
        raise NotSupported("user= and pty=True end with their client", command=str(command), location=location.name)
    if command.stdin is not None and not isinstance(command.stdin, bytes):
        raise NotSupported(
            "standard input from a source ends with its client", command=str(command), location=location.name,
            hint="give bytes, or name a file of the location in a script",
        )  # fmt: skip
    return command


async def _check(session: DetachableSession, command: Command, location: str) -> None:
    """Say now what would otherwise be found out when somebody comes back."""
    about: dict[str, Any] = {"command": str(command), "location": location}
    if command.cwd is not None and not await session.ask("exists", path=command.cwd.decode("latin-1")):
        where = command.cwd.decode("utf-8", "replace")
        raise WorkdirNotFound(f"there is no directory {where!r}", **about)
    if command.argv and b"/" not in command.argv[0] and b"PATH" not in {**(command.env_only or command.env or {})}:
        try:
            await session.ask("which", name=command.argv[0].decode("latin-1"))
        except ConnectError:
            if session.lost is not None:
                raise
            raise ProgramNotFound(
                f"there is no program {command.argv[0].decode('utf-8', 'replace')!r}", **about
            ) from None


def _looked_at(future: asyncio.Future[Any]) -> None:
    """That this client does not see the end of it is what was asked for."""
    if not future.cancelled():
        future.exception()
