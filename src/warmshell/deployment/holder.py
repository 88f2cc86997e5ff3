"""A process that holds deployments, so that others find them deployed; it is asked over a socket of its user's.

One line of JSON each way: ``{"op": "status"}``, ``{"op": "deploy", "names": […]}``, ``{"op": "undeploy", "names": …}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import socket
import stat
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from warmshell.deployment import status
from warmshell.errors import BusyError, ClosedError, ConnectError, LocationError, WarmshellError
from warmshell.shield import all_ended, shielded

if TYPE_CHECKING:
    from warmshell.deployment.file import DeploymentFile
    from warmshell.deployment.manager import DeploymentManager

_LINE = 4 * 1024 * 1024
_SOCKET_MOST = 100  # bytes that the name of a socket may have
_ASK_SECONDS = 10.0
_LAST_SECONDS = 2.0
_PAUSE = 0.02  # seconds between two looks whether another has begun


def socket_path(file: str, *, make: bool = False) -> str:
    """Where the holder of a deployment file listens.

    Args:
        file: the deployment file.
        make: whether to make the directory, if there is none.

    Raises:
        FileNotFoundError: there is no directory, so nobody listens.
        LocationError: the directory belongs to somebody else, or others may write there.
    """
    directory = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    if len(os.fsencode(directory)) > _SOCKET_MOST - 40:
        directory = "/tmp"  # noqa: S108 - the directory in it is for this user only
    own = os.path.join(directory, f"warmshell-{os.getuid()}")
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(own, 0o700)
    found = os.lstat(own)
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise LocationError(f"{own!r} is not a directory that only this account can use")
    name = hashlib.sha256(os.fsencode(os.path.realpath(file))).hexdigest()[:16]
    return os.path.join(own, f"held-{name}")


@contextlib.asynccontextmanager
async def _alone(directory: str) -> AsyncIterator[None]:
    """Of those that begin to listen there at once, one after another: each looks first whether somebody does."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_PAUSE)
        yield
    finally:
        os.close(fd)


class Holder:
    """Holds the deployments of a file, and answers others.

    Args:
        manager: deploys them.
        file: names them.
    """

    def __init__(self, manager: DeploymentManager, file: DeploymentFile) -> None:
        self._manager = manager
        self._file = file
        self._server: asyncio.Server | None = None
        self._path = ""
        self._answering: set[asyncio.Task[None]] = set()
        self.idle = asyncio.Event()

    async def start(self) -> None:
        """Listen.

        Raises:
            BusyError: another process holds this file's deployments.
        """
        self._path = socket_path(self._file.path, make=True)
        async with _alone(os.path.dirname(self._path)):
            if await ask(self._file.path, "ping") is not None:
                raise BusyError(f"another process holds the deployments of {self._file.path!r}")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            self._server = await asyncio.start_unix_server(self._accept, self._path, limit=_LINE)

    async def aclose(self) -> None:
        """Listen no more, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        answering = [task for task in self._answering if not task.done()]
        if answering:  # who asked for the end is told of it
            await asyncio.wait(answering, timeout=_LAST_SECONDS)
        for task in answering:
            task.cancel()
        if answering:
            await asyncio.wait(answering)
        await self._server.wait_closed()
        with contextlib.suppress(OSError):  # another one's is there, too
            os.rmdir(os.path.dirname(self._path))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        self._answering.add(task)
        try:
            if _peer(writer.get_extra_info("socket")) == os.getuid():
                await self._answer(reader, writer)
        except (OSError, ValueError):  # whoever asked has gone, or asks what nobody understands
            pass
        except asyncio.CancelledError:
            if self._server is not None and self._server.is_serving():
                raise
        finally:
            self._answering.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        try:
            answer = {"ok": await self._act(request)}
        except WarmshellError as error:
            answer = {"error": str(error)}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        if request.get("op") == "undeploy" and not any(each.is_up for each in self._manager.managed.values()):
            self.idle.set()

    async def _act(self, request: dict[str, Any]) -> Any:
        names: Sequence[str] = request.get("names") or ()
        if request.get("op") == "deploy":
            await all_ended(map(self._manager.deploy, names))
        elif request.get("op") == "undeploy":
            await all_ended(map(self._manager.undeploy, names or list(self._manager.managed)))
        elif request.get("op") == "status":
            return await status.of_manager(self._manager, self._file)
        return []


def _peer(connection: socket.socket) -> int:
    """The account at the other end."""
    if not hasattr(socket, "SO_PEERCRED"):  # the directory lets nobody else in
        return os.getuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


async def ask(file: str, op: str, names: Sequence[str] = (), *, patient: bool = False) -> Any:
    """Ask the process that holds the deployments of a file; ``None`` if there is none.

    Args:
        file: the deployment file.
        op: what is asked for.
        names: which deployments are meant.
        patient: whether it may take as long as it likes.

    Raises:
        ConnectError: it could not do it; it says why.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket_path(file), limit=_LINE)
    except (OSError, LocationError):
        return None
    try:
        if _peer(writer.get_extra_info("socket")) != os.getuid():
            return None
        writer.write(json.dumps({"op": op, "names": list(names)}).encode() + b"\n")
        async with asyncio.timeout(None if patient else _ASK_SECONDS):
            line = await reader.readline()
    except (OSError, TimeoutError) as error:
        raise ConnectError("the process that holds the deployments does not answer") from error
    finally:
        writer.close()
    if not line:
        raise ClosedError("the process that holds the deployments has ended")
    answer = json.loads(line)
    if "error" in answer:
        raise ConnectError(str(answer["error"]))
    return answer["ok"]


async def held(file: str) -> dict[str, dict[str, Any]]:
    """What a process holds of a file's deployments: by name, the options by which others reach it."""
    try:
        told = await ask(file, "status")
    except WarmshellError:
        return {}
    return {entry["name"]: entry.get("held") or {} for entry in told or () if entry["state"] == "deployed"}


async def hold(
    manager: DeploymentManager, file: DeploymentFile, names: Sequence[str], ready: Callable[[], None]
) -> None:
    """Deploy, and hold until somebody has all of it undeployed, or this is cancelled.

    Args:
        manager: deploys them.
        file: names them.
        names: which of them.
        ready: called when they are deployed.

    Raises:
        BusyError: another process holds this file's deployments.
        WarmshellError: they cannot be deployed.
    """
    holder = Holder(manager, file)
    try:
        await holder.start()
        async with manager:
            await all_ended(map(manager.deploy, names))
            ready()
            await holder.idle.wait()
    finally:
        await shielded(holder.aclose())
