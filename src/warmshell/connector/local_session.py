"""This machine with a session that outlives its client: a session server that no guardian watches over."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import sys
from typing import TYPE_CHECKING, Any

from warmshell.child import Child, shell_status
from warmshell.connector.local import LocalPlace
from warmshell.connector.place import Place
from warmshell.errors import ConnectError, LocationError
from warmshell.fdstream import FdReceiveStream, FdSendStream
from warmshell.guardian.tree import COMMAND_VARIABLE, SESSION_VARIABLE
from warmshell.host import clean_environment
from warmshell.process import Process
from warmshell.protocol.dialect import dialect
from warmshell.shell.detachable import detach_of, session_for
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.command import Command
    from warmshell.fileops.asked import Ask
    from warmshell.shell.detachable import Detach
    from warmshell.shell.lane import Lane
    from warmshell.shell.session import Session


class RelayProcess(Process):
    """A line of ``sh`` that hands its streams over to a session, and ends when they are let go.

    It carries no tag, so that the guardian of this client, or of one that this runs in, does not take for the client's
    what it leaves on purpose.

    Args:
        line: the line.
        location: the name of the location, for errors.

    Raises:
        ConnectError: it cannot be started.
    """

    def __init__(self, line: bytes, location: str) -> None:
        env = clean_environment()
        for name in (COMMAND_VARIABLE, SESSION_VARIABLE):
            env.pop(name, None)
        # The Python that runs this is one that the line finds, if it finds no other.
        env[b"PATH"] = env.get(b"PATH", os.defpath.encode()) + b":" + os.fsencode(os.path.dirname(sys.executable))
        ends: list[int] = []
        try:
            for _ in range(3):
                ends += os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
            self._child = Child(
                [b"sh", b"-c", line], env=env, cwd=None, stdin=ends[0], stdout=ends[3], stderr=ends[5]
            )  # fmt: skip
        except OSError as error:
            for fd in ends:
                os.close(fd)
            raise ConnectError(f"no session can be started here: {error.strerror}", location=location) from error
        for fd in (ends[0], ends[3], ends[5]):
            os.close(fd)
        self.stdin: FdSendStream = FdSendStream(ends[1])
        self.stdout: FdReceiveStream = FdReceiveStream(ends[2])
        self.stderr: FdReceiveStream = FdReceiveStream(ends[4])

    async def wait(self) -> int:
        return shell_status(await self._child.wait())

    async def kill(self, grace: float = 1.0) -> None:  # noqa: ARG002 - there is nothing that could clean up
        self._child.kill_group()
        await self._child.wait()

    async def aclose(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()
        await self.kill()


class DetachedPlace(Place):
    """This machine, its shells in a session of the session server.

    Args:
        near: the same without: it runs processes of their own, which end with this client.
        detach: how the session outlives it.
        cwd: where commands run; the present directory.
    """

    def __init__(self, near: LocalPlace, detach: Detach, cwd: str | None = None) -> None:
        self.name = near.name
        self._near = near
        self._detach = detach
        self._cwd = os.path.abspath(os.getcwd() if cwd is None else cwd)
        self._session: Session | None = None
        self._retired: list[Session] = []
        self._opening = asyncio.Lock()
        self._numbers = itertools.count(1)

    @property
    def framing(self) -> str:
        return "server"

    @property
    def session(self) -> Session | None:
        return self._session

    async def reach(self) -> None:
        """Nothing has to be started for :meth:`reopen`."""

    async def reopen(self, line: bytes) -> Process:
        return await self._near.reopen(line)

    async def connect(self) -> None:
        await self._near.connect()
        try:
            await self._open()
        except BaseException:
            await shielded(self.aclose())
            raise

    async def _open(self) -> Session:
        """Have a session that lives; another one after one that was lost."""
        from warmshell.server import pack
        from warmshell.shell.session import new_token

        async with self._opening:
            if self._session is not None and self._session.lost is None:
                return self._session
            if self._session is not None:
                self._retired.append(self._session)
                self._session = None
            token = new_token()
            process = await self.reopen(pack.start_line(token))
            session = session_for(process, token, self.name, self.reopen, self._detach)
            try:
                await session.start(pack.archive(), **self._options())
            except BaseException:
                await shielded(session.aclose())
                raise
            self._session = session
            return session

    def _options(self) -> dict[str, Any]:
        path = os.environb.get(b"PATH", os.defpath.encode()).decode("latin-1")
        cwd = os.fsencode(self._cwd).decode("latin-1")
        return {"token": secrets.token_hex(16), "cwd": cwd, "env": {"PATH": path}}

    async def aclose(self) -> None:
        sessions = [*self._retired, *([] if self._session is None else [self._session])]
        self._retired, self._session = [], None
        for session in sessions:
            await session.aclose()
        await self._near.aclose()

    async def open(self, command: Command) -> Process:
        return await self._near.open(command)

    async def end_tagged(self, tag: str, session: int, grace: float) -> bool:
        return await self._near.end_tagged(tag, session, grace)

    def asking(self) -> Ask:
        return self._near.asking()

    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        from warmshell.shell.server_lane import ServerLane

        name = f"{os.path.basename(shell.split(maxsplit=1)[0])}-{next(self._numbers)}"
        lane = ServerLane(name, dialect(shell), self.name, await self._open(), shell, blank=blank)
        await lane.start()
        return lane

    def room(self) -> int:
        return self._near.room() if self._session is None else min(self._near.room(), self._session.room)


def make(options: dict[str, Any]) -> DetachedPlace:
    """The place for the options of ``local:`` with ``detach=``.

    Raises:
        LocationError: one that has no meaning with it.
    """
    detach = detach_of(options["detach"])
    if "framing" in options or detach is None:
        raise LocationError("framing= and detach= exclude each other: a session that is left has a server")
    cwd = options.get("cwd")
    return DetachedPlace(LocalPlace(cwd=cwd), detach, cwd)
