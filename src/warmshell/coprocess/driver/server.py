"""Holds a pool of coprocesses for the commands of one user: a 0700 directory, a socket, descriptors that are passed."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping

from warmshell.coprocess.driver.client import pool_name
from warmshell.coprocess.driver.shells import environment_key
from warmshell.coprocess.forkserver.standalone import wire
from warmshell.coprocess.forkserver.standalone.place import opened
from warmshell.coprocess.pool import CoprocessPool
from warmshell.coprocess.streams import Passed
from warmshell.coprocess.worker import Invocation
from warmshell.errors import BusyError, ProgramNotFound, WorkdirError
from warmshell.shield import shielded

_CREDENTIALS = struct.Struct("3i")
_ANCILLARY = socket.CMSG_SPACE(wire.DESCRIPTORS * array.array("i").itemsize)
_WORKERS = 64  # at once: a process for each, as there would be without us
_REQUEST_SECONDS = 20.0
_BACKLOG = 512
_NOT_STARTED = (ProgramNotFound, WorkdirError, BusyError)  # the errors that come before anything has been started


def main() -> None:
    """Serve until nobody has called for a while. The words: the bootstrap's, where to say ready, name, idle, tool."""
    _, _, ready, name, idle, *tool = [os.fsencode(word) for word in ["-", *sys.argv[1:]]]
    asyncio.run(_Driver(name.decode(), tool, float(idle)).run(int(ready)))


class _Driver:
    """One tool's server.

    Args:
        name: of its socket.
        tool: the words that start the tool.
        idle: seconds without a call after which it ends.
    """

    def __init__(self, name: str, tool: list[bytes], idle: float) -> None:
        self._name = name + ".sock"
        self._tool = tool
        self._idle = idle
        self._pools: dict[bytes, CoprocessPool] = {}
        self._opening = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        self._calls: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, ready: int) -> None:
        """Serve."""
        directory = opened(make=True)
        listener = _listen(directory, self._name)
        mine = os.stat(self._name, dir_fd=directory)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        os.chdir("/")
        loop.add_reader(listener, self._accept, listener)
        os.write(ready, b"+")
        os.close(ready)
        self._rest()
        try:
            await self._over.wait()
        finally:
            loop.remove_reader(listener)
            with contextlib.suppress(OSError):
                found = os.stat(self._name, dir_fd=directory)
                if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
                    os.unlink(self._name, dir_fd=directory)
            listener.close()  # those who connected in vain run their tool themselves
            os.close(directory)
            await shielded(self._end())

    async def _end(self) -> None:
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._stack.aclose()

    def _rest(self) -> None:
        """Nobody calls: wait for some time, and end."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if not self._calls:
            self._timer = asyncio.get_running_loop().call_later(self._idle, self._over.set)

    def _accept(self, listener: socket.socket) -> None:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        link.setblocking(False)
        _, user, _ = _CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if user != os.geteuid():
            link.close()
            return
        task = asyncio.ensure_future(self._call(link))
        self._calls.add(task)
        task.add_done_callback(self._ended)
        self._rest()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()
        self._rest()

    async def _call(self, link: socket.socket) -> None:
        fds: list[int] = []
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                body = await _received(link, fds)
            if body is not None:
                await self._answer(link, body, fds)
        except (OSError, wire.BadRequest, TimeoutError):
            pass  # it has gone, or is no client of ours
        finally:
            link.close()
            for fd in fds:
                os.close(fd)

    async def _answer(self, link: socket.socket, body: bytes, fds: list[int]) -> None:
        if pool_name(self._tool) + ".sock" != self._name:  # another version of the tool has been installed
            link.setblocking(True)
            link.sendall(b"E stale\n")
            self._over.set()
            return
        request = wire.decoded(body)
        if len(fds) != wire.DESCRIPTORS:
            raise wire.BadRequest("descriptors are missing")
        cwd = os.readlink(b"/proc/self/fd/%d" % fds[0])
        env = dict(entry.partition(b"=")[::2] for entry in request.env)
        streams = Passed((fds[1], fds[2], fds[3]))
        given = Invocation(request.args, env, cwd, streams, umask=request.umask)
        pool = await self._pool(env)
        if pool.is_ordinary:  # the client does that itself, with its own streams
            link.setblocking(True)
            link.sendall(b"E cold\n")
            return
        serving = asyncio.ensure_future(pool.call(given))
        gone = asyncio.ensure_future(_closed(link))
        await asyncio.wait({serving, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():  # its client has gone: so does what it wanted
            serving.cancel()
        gone.cancel()
        (outcome,) = await asyncio.gather(serving, return_exceptions=True)
        link.setblocking(True)
        if isinstance(outcome, int):
            link.sendall(b"S %d\n" % outcome)
        elif isinstance(outcome, _NOT_STARTED):
            link.sendall(b"E cold\n")
        elif isinstance(outcome, Exception):
            with contextlib.suppress(OSError):
                await streams.write(2, f"warm: {outcome} [status: unknown]\n".encode("utf-8", "replace"))
            link.sendall(b"S 125\n")

    async def _pool(self, env: Mapping[bytes, bytes]) -> CoprocessPool:
        key = environment_key(self._tool, env)
        async with self._opening:
            if key not in self._pools:
                pool = CoprocessPool(self._tool, size=_WORKERS, idle=self._idle, cwd="/")
                self._pools[key] = await self._stack.enter_async_context(pool)
        return self._pools[key]


def _listen(directory: int, name: str) -> socket.socket:
    """A socket under this name, which appears when it can be connected to."""
    listener = socket.socket(socket.AF_UNIX)
    temporary = f"{name}.{os.getpid()}"
    os.fchdir(directory)  # names of sockets must be short
    listener.bind(temporary)
    os.chmod(temporary, 0o600)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    os.rename(temporary, name)
    return listener


async def _received(link: socket.socket, fds: list[int]) -> bytes | None:
    """The fields of a request; its descriptors are added to the list.

    Raises:
        BadRequest: it is none.
    """
    data = b""
    size = wire.HEADER.size
    while len(data) < size:
        await _readable(link)
        try:
            chunk, ancillary, flags, _ = link.recvmsg(65536, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            continue
        for level, kind, packed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.extend(array.array("i", packed[: len(packed) // 4 * 4]))
        if flags & socket.MSG_CTRUNC or len(fds) > wire.DESCRIPTORS:
            raise wire.BadRequest("too many descriptors")
        if not chunk:
            return None
        data += chunk
        if len(data) >= wire.HEADER.size:
            asked, length = wire.length(data[: wire.HEADER.size])
            if asked != wire.CALL:
                raise wire.BadRequest("not a call")
            size = wire.HEADER.size + length
    return data[wire.HEADER.size :]


async def _readable(link: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(link, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(link)


async def _closed(link: socket.socket) -> None:
    """Return when the client has gone; it has nothing more to say."""
    while True:
        await _readable(link)
        try:
            if not link.recv(4096):
                return
        except BlockingIOError:
            continue
        except OSError:
            return
