"""The asyncio client: a tool as an object that is called, without a process on this side.

tool = PythonTool("black")
result = await tool.run(["--check", "."])
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warmshell.coprocess.forkserver.launcher import Options, c_server, find, is_servable
from warmshell.coprocess.forkserver.standalone import call, place, starting, wire
from warmshell.errors import NotSupported, ShellLost

_SECONDS = 5.0
_ATTEMPTS = 3
_CHUNK = 65536


@dataclass(frozen=True)
class ToolResult:
    """What came of a call.

    Attributes:
        returncode: the status; ``-N`` for a death by signal N.
        stdout: what it wrote there.
        stderr: and there.
        warm: whether a fork server ran it.
        seconds: how long it took.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    warm: bool
    seconds: float


class PythonTool:
    """A Python tool that is run warm from within a program.

    Args:
        name: a program, or the path of one.
        options: how it is served.

    Raises:
        ProgramNotFound: there is no such program.
        NotSupported: it is no Python script.
    """

    def __init__(self, name: str, options: Options | None = None) -> None:
        self._target, _ = find([name])
        if not is_servable(self._target):
            raise NotSupported(f"{name} is no Python script")
        self._options = (options or Options()).encode()

    async def run(
        self,
        args: Sequence[str | bytes] = (),
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> ToolResult:
        """Run it to its end; it runs cold where it cannot be served. Cancelling ends it.

        Args:
            args: the words after its name.
            stdin: its whole input.
            env: all of its variables; those of this process by default.
            cwd: its directory; that of this process by default.

        Raises:
            ShellLost: the server was lost while the tool ran.
        """
        began = time.monotonic()
        streams = _Streams(stdin)
        try:
            status, is_warm = await self._status(list(map(os.fsencode, args)), streams, env, cwd)
            out, err = await streams.outputs()
        finally:
            streams.close()
        return ToolResult(status, out, err, is_warm, time.monotonic() - began)

    async def _status(
        self, args: list[bytes], streams: _Streams, env: Mapping[str, str] | None, cwd: str | None
    ) -> tuple[int, bool]:
        asked = _Launch(self._target.script, args, self._options, env, cwd)
        directory = place.opened(make=True)
        try:
            for _ in range(_ATTEMPTS):
                status = await self._attempt(asked, directory, streams)
                if status is not None:
                    return status, True
                if asked.cold_only:
                    break
        finally:
            os.close(directory)
        return await asked.run_cold(streams), False

    async def _attempt(self, asked: _Launch, directory: int, streams: _Streams) -> int | None:
        """The status, or ``None`` if the tool has not begun."""
        shape = asked.shape(directory)
        if shape.cold:
            asked.cold_only = True
            return None
        key = asked.key(shape)
        link = await _connected(directory, key)
        if link is None:
            asked.cold_only = not await asyncio.to_thread(_start, asked, directory, key)
            return None
        try:
            return await _Call(link, asked, streams).status(key)
        finally:
            link.close()


class _Launch(call.Launch):
    """A call on behalf of a caller that is described, not of this process as it is."""

    def __init__(
        self, tool: bytes, args: list[bytes], options: bytes, env: Mapping[str, str] | None, cwd: str | None
    ) -> None:
        super().__init__(tool, args, options)
        chosen = os.environ if env is None else env
        self.env = [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in chosen.items()]
        self.terminals = b"---"
        self.cwd = cwd or "."
        self.cold_only = False

    def directory(self) -> bytes:
        return os.path.realpath(os.fsencode(self.cwd))

    async def run_cold(self, streams: _Streams) -> int:
        env = dict(entry.partition(b"=")[::2] for entry in self.env)
        process = await asyncio.create_subprocess_exec(
            self.tool, *self.args, stdin=streams.source, stdout=streams.out[1], stderr=streams.err[1], env=env,
            cwd=self.cwd,
        )  # fmt: skip
        streams.handed_over()
        try:
            return await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise


class _Streams:
    """Input from memory, and two pipes."""

    def __init__(self, stdin: bytes) -> None:
        self.source = os.memfd_create("warmshell-stdin") if stdin else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if stdin:
            with open(self.source, "wb", closefd=False) as file:
                file.write(stdin)
            os.lseek(self.source, 0, os.SEEK_SET)
        self.out, self.err = os.pipe(), os.pipe()
        self._open = {self.source, *self.out, *self.err}
        self._readers = [asyncio.ensure_future(_read(pipe[0])) for pipe in (self.out, self.err)]

    def handed_over(self) -> None:
        """Somebody else holds the far ends."""
        for fd in (self.source, self.out[1], self.err[1]):
            if fd in self._open:
                self._open.remove(fd)
                os.close(fd)

    async def outputs(self) -> tuple[bytes, bytes]:
        self.handed_over()
        out, err = await asyncio.gather(*self._readers)
        return out, err

    def close(self) -> None:
        for reader in self._readers:
            reader.cancel()
        for fd in (self.out[0], self.err[0]):
            asyncio.get_running_loop().remove_reader(fd)
        while self._open:
            os.close(self._open.pop())


async def _read(fd: int) -> bytes:
    """All of a pipe."""
    os.set_blocking(fd, False)
    loop, pieces = asyncio.get_running_loop(), bytearray()
    ended: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        pieces.extend(chunk)
        if not chunk and not ended.done():
            loop.remove_reader(fd)
            ended.set_result(None)

    loop.add_reader(fd, readable)
    await ended
    return bytes(pieces)


def _start(asked: _Launch, directory: int, key: str) -> bool:
    c_server()
    return starting.start(asked, directory, key)


async def _connected(directory: int, key: str) -> socket.socket | None:
    link = socket.socket(socket.AF_UNIX)
    link.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(link, f"/proc/self/fd/{directory}/{key}.sock")
        credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except (OSError, BlockingIOError):
        link.close()
        return None
    except BaseException:
        link.close()
        raise
    if int.from_bytes(credentials[4:8], sys.byteorder) == os.geteuid():
        return link
    link.close()
    return None


class _Call:
    def __init__(self, link: socket.socket, asked: _Launch, streams: _Streams) -> None:
        self._link = link
        self._asked = asked
        self._streams = streams
        self._data = b""

    async def status(self, key: str) -> int | None:
        """The status of the tool; ``None`` if it has not begun."""
        letter, rest = await self._answer(_SECONDS)
        if letter == wire.QUEUED:
            letter, rest = await self._answer(None)
        if letter == wire.READY:
            await self._send(key)
            letter, rest = await self._answer(_SECONDS)
        if letter != wire.STARTED:
            self._asked.cold_only = letter == wire.REFUSED and not rest.startswith(wire.STALE)
            return None
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._link, wire.GO)
        self._streams.handed_over()
        while True:  # closing the connection ends the tool: so does cancelling
            letter, number = await self._answer(None)
            if letter == wire.STATUS:
                return int(number)
            if letter == wire.KILLED:
                return -int(number)
            if not letter:
                with contextlib.suppress(OSError):
                    os.killpg(int(rest), signal.SIGKILL)
                tool = os.fsdecode(self._asked.tool)
                raise ShellLost("the fork server was lost while the tool ran", started="yes", command=tool)

    async def _send(self, key: str) -> None:
        loop, data = asyncio.get_running_loop(), self._asked.request(key).encode()
        cwd = os.open(self._asked.cwd, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fds = [cwd, self._streams.source, self._streams.out[1], self._streams.err[1]]
            sent = socket.send_fds(self._link, [data], fds)
        finally:
            os.close(cwd)
        await loop.sock_sendall(self._link, data[sent:])

    async def _answer(self, seconds: float | None) -> tuple[bytes, bytes]:
        """The next line; nothing at the end, or when the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while b"\n" not in self._data:
                    chunk = await asyncio.get_running_loop().sock_recv(self._link, 4096)
                    if not chunk:
                        return b"", b""
                    self._data += chunk
        except (TimeoutError, ConnectionError):
            return b"", b""
        line, _, self._data = self._data.partition(b"\n")
        return line[:1], line[2:]


__all__ = ["Options", "PythonTool", "ToolResult"]
