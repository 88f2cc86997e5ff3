"""Byte streams over file descriptors of this process, on the event loop's readiness."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import Literal

from warmshell.errors import BusyError, ClosedError
from warmshell.process import CHUNK, ByteReceiveStream, ByteSendStream

_SMALL = 120 * 1024  # for more, the C library asks the kernel for memory, and gives it back, at every read
_CAPACITY = 256 * 1024  # the most that a pipe of ours holds: all that an ended writer can have left in it


class _Fd:
    """One end of a pipe, socket or terminal: owns the descriptor, knows the one task that waits on it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiter: asyncio.Future[None] | None = None
        self._registered = False
        os.set_blocking(fd, False)

    async def _ready(self, what: Literal["read", "write"]) -> None:
        """Return when the descriptor can be used without waiting, or was closed."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        if not self._registered:
            self._registered = True
            (loop.add_reader if what == "read" else loop.add_writer)(self._fd, self._on_ready, what)
        try:
            await waiter
        finally:
            self._waiter = None

    def _on_ready(self, what: Literal["read", "write"]) -> None:
        """It stays in the loop while one wait follows the other, and leaves it when nobody waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
            return
        self._registered = False
        loop = asyncio.get_running_loop()
        (loop.remove_reader if what == "read" else loop.remove_writer)(self._fd)

    def _check(self, verb: str) -> int:
        if self._waiter is not None:
            raise BusyError(f"another task is {verb} this stream already")
        if self._fd < 0:
            raise ClosedError("the stream is closed")
        return self._fd

    def close(self) -> None:
        """Give the descriptor back; a task that waits on it gets ``ClosedError``."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(RuntimeError):  # no loop runs any more
            loop = asyncio.get_running_loop()
            loop.remove_reader(fd)
            loop.remove_writer(fd)
        os.close(fd)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def aclose(self) -> None:
        self.close()


class FdReceiveStream(_Fd, ByteReceiveStream):
    """The reading end of a descriptor."""

    def __init__(self, fd: int, *, terminal: bool = False) -> None:
        super().__init__(fd)
        self._terminal = terminal
        with contextlib.suppress(OSError, AttributeError):  # no pipe, no more memory for pipes, or not Linux
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _CAPACITY)  # fewer turns of the loop for much output

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        while True:
            fd = self._check("reading")
            try:
                return os.read(fd, max_bytes)
            except BlockingIOError:
                await self._ready("read")
            except OSError:
                if self._terminal:  # the end of a terminal's other side is EIO on Linux
                    return b""
                raise

    def subscribe(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def read() -> None:
            try:
                data = os.read(self._fd, _SMALL)  # mostly a few bytes
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                on_data(data)
            else:
                stop()
                on_end()

        def stop() -> None:
            if self._fd >= 0:
                loop.remove_reader(self._fd)

        self._registered = False
        loop.add_reader(self._check("reading"), read)
        return stop

    def rest(self) -> bytes:
        data = b""
        with contextlib.suppress(OSError):  # nothing there, or the end of a terminal
            while len(data) <= _CAPACITY and (piece := os.read(self._check("reading"), CHUNK)):
                data += piece
        return data


class FdSendStream(_Fd, ByteSendStream):
    """The writing end of a descriptor."""

    def widen(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # no pipe, no more memory for pipes, or not Linux
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, 4 * _CAPACITY)

    def send_some(self, data: bytes) -> int:
        try:
            return os.write(self._check("sending on"), data)
        except BlockingIOError:
            return 0

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            fd = self._check("sending on")
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                await self._ready("write")
