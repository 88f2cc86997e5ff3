"""A stream that one task at a time sends on."""

from __future__ import annotations

from abc import abstractmethod

from warmshell.errors import BusyError, ClosedError
from warmshell.process import ByteSendStream


class InTurn(ByteSendStream):
    """A stream that one task at a time sends on, until it is closed."""

    def __init__(self) -> None:
        self._sending = self._closed = False

    async def send(self, data: bytes) -> None:
        if self._sending:
            raise BusyError("another task is sending on this stream already")
        if self._closed:
            raise ClosedError("the stream is closed")
        self._sending = True
        try:
            await self._give(data)
        finally:
            self._sending = False

    @abstractmethod
    async def _give(self, data: bytes) -> None:
        """Hand over the bytes."""

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._end()

    @abstractmethod
    async def _end(self) -> None:
        """Tell the reader that it was all."""
