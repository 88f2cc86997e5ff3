"""One WebSocket on a connection of the HTTP client: messages go out at once, and come without a turn of the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from warmshell.protocol.websocket import CLOSE, PING, PONG, Decoder, WebSocketError, accepted, frame

if TYPE_CHECKING:
    import aiohttp

_CLOSE_SECONDS = 0.5
_NORMAL = (1000).to_bytes(2, "big")  # RFC 6455, section 7.4.1


def upgrade_headers(key: str, protocols: tuple[str, ...]) -> list[tuple[str, str]]:
    """The headers of the request that asks for one (RFC 6455, section 4.1)."""
    return [
        ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Protocol", ",".join(protocols)),
    ]  # fmt: skip


class WebSocket(asyncio.Protocol):
    """The client's end.

    Args:
        response: the answer that has upgraded its connection.
        key: what was asked with.

    Attributes:
        protocol: the one that the server has chosen.

    Raises:
        WebSocketError: it is no answer to that.
    """

    def __init__(self, response: aiohttp.ClientResponse, key: str) -> None:
        connection = response.connection
        if connection is None or connection.transport is None or connection.protocol is None:
            raise WebSocketError("the connection has ended")
        if response.headers.get("Sec-WebSocket-Accept") != accepted(key):
            raise WebSocketError("the server did not accept a WebSocket")
        self.protocol = response.headers.get("Sec-WebSocket-Protocol")
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._transport = connection.transport
        self._http = connection.protocol
        self._decoder = Decoder()
        self._on_message: Callable[[int, bytes], None] = _nowhere
        self._on_end: Callable[[str], None] = _nobody
        self._room: asyncio.Future[None] | None = None
        self._full = self._closing = self._let_go = False
        self._lost = asyncio.Event()

    def start(self, on_message: Callable[[int, bytes], None], on_end: Callable[[str], None]) -> None:
        """Have whole messages handed over from now on.

        Args:
            on_message: gets the opcode and the bytes; a ``ValueError`` from it is an error of the server.
            on_end: told once that no more will come: with why, where that was an error of the server's.
        """
        self._on_message, self._on_end = on_message, on_end
        early = _Early()
        self._http.set_parser(early, None)  # which gives it what came together with the answer
        self._transport.set_protocol(self)
        if early.data:
            self.data_received(bytes(early.data))

    # -- what asyncio tells -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            for opcode, message in self._decoder.feed(data):
                if opcode == PING:
                    self._answer(message)
                elif opcode == CLOSE:
                    self.end()
                elif opcode != PONG:
                    self._on_message(opcode, message)
        except ValueError as error:
            self._end(str(error))

    def _answer(self, message: bytes) -> None:
        if not (self._full or self._closing):
            self._write(PONG, message)

    def eof_received(self) -> None:
        """The server sends nothing more, with or without a word."""
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended."""
        self._lost.set()
        self._http.connection_lost(error)  # whose connection it still is
        self._end()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The other side is slow."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # -- sending ----------------------------------------------------------------------------------------------------

    def give(self, opcode: int, data: bytes) -> bool:
        """Send a message, if that goes without waiting; whether it did.

        Raises:
            BrokenPipeError: the connection has ended.
        """
        if self._closing or self._lost.is_set():
            raise BrokenPipeError("the connection has ended")
        if self._full:
            return False
        self._write(opcode, data)
        return True

    async def send(self, opcode: int, data: bytes) -> None:
        """Send a message, as soon as there is room.

        Raises:
            BrokenPipeError: the connection has ended.
        """
        while not self.give(opcode, data):
            if self._room is None or self._room.done():
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    def _write(self, opcode: int, data: bytes) -> None:
        self._transport.write(frame(opcode, data))

    def pause(self) -> None:
        """Let the other side wait."""
        if not self._let_go:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Let it go on."""
        if not self._let_go:
            self._transport.resume_reading()

    # -- ending -----------------------------------------------------------------------------------------------------

    def _end(self, why: str = "") -> None:
        on_end, self._on_end = self._on_end, _nobody
        self._on_message = _nowhere
        on_end(why)
        self.abort()

    def end(self) -> None:
        """Say that it is over, and let go of the connection."""
        self._say_close()
        self._end()

    def _say_close(self) -> None:
        if not self._closing and not self._lost.is_set():
            self._closing = True
            self._write(CLOSE, _NORMAL)

    def abort(self) -> None:
        """Let go of the connection."""
        self._closing = True
        if not self._let_go:
            self._let_go = True
            self._loop.call_soon(self._abort)  # not while it hands over what has come

    def _abort(self) -> None:
        self._transport.abort()  # its TLS would wait for the other side, with nobody here who waits for that
        self._response.close()

    async def aclose(self) -> None:
        """Say that it is over, give the other side a moment to say so too, and let go of the connection."""
        try:
            if not self._closing:
                self._say_close()
                self.resume()
                await self._until_lost()
        finally:
            self.abort()
        await self._until_lost()

    async def _until_lost(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._lost.wait()


class _Early:
    """What came together with the answer to the handshake, as the HTTP client hands it to a parser."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """It goes to :meth:`WebSocket.connection_lost` as well."""


def _nowhere(_opcode: int, _message: bytes) -> None:
    """Nobody takes messages now."""


def _nobody(_why: str) -> None:
    """Nobody is told of the end now."""
