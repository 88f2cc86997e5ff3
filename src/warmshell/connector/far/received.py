"""What has arrived on a stream whose bytes somebody else hands over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from warmshell.errors import BusyError, ClosedError
from warmshell.process import CHUNK, ByteReceiveStream


class Received(ByteReceiveStream):
    """Bytes that wait for their reader.

    Args:
        on_change: told when bytes were taken.

    Attributes:
        size: bytes that wait to be read.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._pieces: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = self._closed = False
        self._subscriber: tuple[Callable[[bytes], None], Callable[[], None]] | None = None
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._closed:
            return
        if self._subscriber is not None and not self._pieces:
            self._subscriber[0](data)
            return
        self._pieces.append(data)
        self.size += len(data)
        _wake(self._waiter)

    def end(self) -> None:
        """No more bytes will arrive."""
        if self._ended:
            return
        self._ended = True
        _wake(self._waiter)
        if self._subscriber is not None and not self._pieces:
            self._subscriber[1]()

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        if self._waiter is not None:
            raise BusyError("another task is reading this stream already")
        while not self._closed:
            if self._pieces:
                return self._take(max_bytes)
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        raise ClosedError("the stream is closed")

    def _take(self, max_bytes: int) -> bytes:
        piece = self._pieces.popleft()
        if len(piece) > max_bytes:
            self._pieces.appendleft(piece[max_bytes:])
            piece = piece[:max_bytes]
        self.size -= len(piece)
        self._on_change()
        return piece

    def rest(self) -> bytes:
        data = b"".join(self._pieces)
        self._forget()
        return data

    def _forget(self) -> None:
        self._pieces.clear()
        self.size = 0
        self._on_change()

    def subscribe(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> Callable[[], None]:
        subscriber = self._subscriber = on_data, on_end

        def begin() -> None:
            while self._pieces and self._subscriber is subscriber:
                on_data(self._take(CHUNK))
            if self._ended and self._subscriber is subscriber:
                on_end()

        def stop() -> None:
            if self._subscriber is subscriber:
                self._subscriber = None

        # What is there already comes by a turn of the loop, as what comes later does.
        if self._pieces or self._ended:
            asyncio.get_running_loop().call_soon(begin)
        return stop

    def close(self) -> None:
        """Hand over nothing more, and throw away what comes."""
        self._closed = True
        _wake(self._waiter)
        self._forget()

    async def aclose(self) -> None:
        self.close()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
