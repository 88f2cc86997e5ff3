"""The process contract: three byte streams and an exit status at a location."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from warmshell.errors import ClosedError

CHUNK = 256 * 1024
"""Bytes read at once unless a caller says otherwise."""


class ByteReceiveStream(ABC):
    """Bytes that arrive in order, pulled by one reader: the writer waits while nobody reads."""

    @abstractmethod
    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        """At least one byte and at most ``max_bytes``; ``b""`` at the end of the stream.

        Raises:
            BusyError: another task is reading already.
            ClosedError: the stream was closed at this end.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Stop reading. The writer meets a closed pipe."""

    def rest(self) -> bytes:
        """What has arrived already, without waiting; for streams whose writer has ended."""
        return b""

    async def settled(self) -> None:  # noqa: B027 - most streams have all at hand
        """Wait until all has arrived that a process which has ended had written: :meth:`rest` then misses nothing."""

    def subscribe(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> Callable[[], None]:
        """Have what arrives handed over as it comes, instead of asking for it.

        Args:
            on_data: gets every piece, in order.
            on_end: told once, at the end of the stream.

        Returns:
            What stops it.
        """

        async def read() -> None:
            with contextlib.suppress(OSError, ClosedError):  # the end as well
                async for data in self:
                    on_data(data)
            on_end()

        task = asyncio.ensure_future(read())

        def stop() -> None:
            task.cancel()

        return stop

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self.receive()
        if not data:
            raise StopAsyncIteration
        return data

    async def read(self) -> bytes:
        """Everything up to the end of the stream, in memory."""
        return b"".join([data async for data in self])


class ByteSendStream(ABC):
    """Bytes given in order by one writer, who waits while the reader is slower."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Hand over all of ``data``.

        Raises:
            BrokenPipeError: the reader closed its end; some of the bytes may not have been read.
            BusyError: another task is sending already.
            ClosedError: the stream was closed at this end.
        """

    def send_some(self, data: bytes) -> int:  # noqa: ARG002 - for streams that can
        """Hand over as much of ``data`` as goes without waiting; how many bytes that was.

        Raises:
            BrokenPipeError: the reader closed its end.
        """
        return 0

    def widen(self) -> None:  # noqa: B027 - for streams that can
        """Hold more bytes on their way: fewer turns for much data, later news of a reader that is slow."""

    @abstractmethod
    async def aclose(self) -> None:
        """The end of the stream for the reader: a half-close, the other streams go on."""


class Process(ABC):
    """A running program at a location: the one thing that a place must be able to open.

    Attributes:
        stdin: what the program reads.
        stdout: what it writes to standard output.
        stderr: what it writes to standard error; for a process on a terminal it stays empty.
    """

    stdin: ByteSendStream
    stdout: ByteReceiveStream
    stderr: ByteReceiveStream

    @abstractmethod
    async def wait(self) -> int:
        """The exit status, once the program has ended; a death by signal N is ``128 + N``."""

    @abstractmethod
    async def kill(self, grace: float = 1.0) -> None:
        """End the program and all its descendants: TERM, ``grace`` seconds, KILL. Returns when they are gone."""

    @abstractmethod
    async def aclose(self) -> None:
        """End what still runs, close the streams, leave nothing behind."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
