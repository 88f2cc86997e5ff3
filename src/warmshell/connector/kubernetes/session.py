"""A program in a container as a process: three byte streams and a status, over one WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from warmshell.connector.far.received import Received
from warmshell.errors import BusyError, ClosedError
from warmshell.process import ByteSendStream, Process
from warmshell.protocol.counted import END, counted
from warmshell.protocol.remotecommand import STDIN, STDOUT, Outcome, ProtocolError, Receiver, end_of, message

if TYPE_CHECKING:
    import aiohttp

_AHEAD = 256 * 1024  # bytes kept for a slow reader
_PIECE = 64 * 1024
_REST_SECONDS = 2.0  # for a server that has told the status to end the connection
_LIFE_SECONDS = 5.0
_KILLED = 128 + 9
_UNKNOWN = 255  # the status of a program whose end nobody knows, as those of command-line clients

# Whatever reads a channel's raw input ends by this: a shell that waits for a command, and the session server, for which
# it is the head of a frame that is too long.
_FAREWELL = b"exit 0;exit\n"


class ExecProcess(Process):
    """The near end of a program in a container; what it started there, others end.

    Args:
        socket: the connection, which is its own.
        receiver: what makes sense of it.
        on_end: told when it is over.

    Attributes:
        outcome: how it ended; ``None``: it has not.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse[bool],
        receiver: Receiver,
        on_end: Callable[[ExecProcess], None],
    ) -> None:
        self._socket = socket
        self._transport = transport_of(socket)
        self._receiver = receiver
        self._on_end = on_end
        self._room: asyncio.Future[None] | None = None
        self._ended = asyncio.Event()
        self.outcome: Outcome | None = None
        self.stdout: Received = Received(self._taken)
        self.stderr: Received = Received(self._taken)
        self.stdin: ByteSendStream = Sent(socket, self._ended, end=self._end_of_input)
        self._reader = asyncio.ensure_future(self._read())

    @property
    def half_close(self) -> bool:
        """Whether its standard input can end while it goes on."""
        return self._receiver.half_close

    def _end_of_input(self) -> bytes:
        return end_of(STDIN) if self.half_close else message(STDIN, _FAREWELL)

    # -- what comes -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            await self._read_all()
        except ProtocolError as error:
            self.outcome = Outcome(None, f"the server does not keep to the protocol: {error}")
        finally:
            self.outcome = self.outcome or self._receiver.end()
            self._finish()
            await self._close()

    async def _close(self) -> None:
        try:
            with contextlib.suppress(OSError, RuntimeError):
                await self._socket.close()
        finally:
            if self._transport is not None:
                self._transport.abort()  # its TLS would wait for the other side, with nobody here who waits for that

    async def _read_all(self) -> None:
        import aiohttp

        while True:
            while max(self.stdout.size, self.stderr.size) > _AHEAD:  # the server waits while nobody reads
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            try:
                async with asyncio.timeout(None if self._receiver.outcome is None else _REST_SECONDS):
                    received = await self._socket.receive()
            except TimeoutError:
                return
            if received.type is aiohttp.WSMsgType.TEXT:
                raise ProtocolError("a message of text")
            if received.type is not aiohttp.WSMsgType.BINARY:
                return
            channel, data = self._receiver.feed(received.data)
            if data:
                (self.stdout if channel == STDOUT else self.stderr).feed(data)

    def _taken(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _finish(self) -> None:
        self._ended.set()
        self.stdout.end()
        self.stderr.end()
        self._on_end(self)

    # -- the contract -----------------------------------------------------------------------------------------------

    async def show_life(self) -> None:
        """Have something on the connection, so that nobody takes it for unused."""
        # That an answer comes is not waited for: one that does not read its input has the server not answer either.
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(_LIFE_SECONDS):
                await self._socket.ping()

    async def wait(self) -> int:
        await self._ended.wait()
        status = self.outcome.status if self.outcome is not None else None
        return _UNKNOWN if status is None else status

    async def kill(self, grace: float = 1.0) -> None:  # noqa: ARG002 - there is nobody to be asked
        if self._reader.done():
            return
        if not self._ended.is_set():
            self.outcome = self.outcome or self._receiver.outcome or Outcome(_KILLED, "it was given up here")
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def aclose(self) -> None:
        await self.kill()
        await self.stdin.aclose()
        await self.stdout.aclose()
        await self.stderr.aclose()


def transport_of(socket: aiohttp.ClientWebSocketResponse[bool]) -> asyncio.Transport | None:
    """What carries a connection, while that still knows it."""
    connection = getattr(getattr(socket, "_response", None), "connection", None)
    transport = getattr(connection, "transport", None)
    return transport if isinstance(transport, asyncio.Transport) else None


class _InTurn(ByteSendStream):
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
        """Hand over the bytes, in pieces."""


class Sent(_InTurn):
    """What a program is to read.

    Args:
        socket: its connection.
        ended: set when the program has ended.
        end: makes the message that ends it.
    """

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse[bool], ended: asyncio.Event, end: Callable[[], bytes]
    ) -> None:
        self._socket = socket
        self._ended = ended
        self._end = end
        super().__init__()

    async def _give(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            await self._say(message(STDIN, data[start : start + _PIECE]))

    async def _say(self, what: bytes) -> None:
        if self._ended.is_set():
            raise BrokenPipeError(errno.EPIPE, "the program has ended")
        try:
            await self._socket.send_bytes(what)
        except (ConnectionError, RuntimeError) as error:  # as it is said to be closing
            raise BrokenPipeError(errno.EPIPE, "the connection has ended") from error

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(BrokenPipeError, TimeoutError):
                async with asyncio.timeout(_LIFE_SECONDS):
                    await self._say(self._end())


class Counted(_InTurn):
    """Standard input whose end stands in it, over one that cannot end by itself.

    Args:
        near: takes it there.
    """

    def __init__(self, near: ByteSendStream) -> None:
        self._near = near
        super().__init__()

    async def _give(self, data: bytes) -> None:
        for piece in counted(data):
            await self._near.send(piece)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError, ClosedError, BusyError):
                await self._near.send(END)


class CountedProcess(Process):
    """A program whose standard input is counted.

    Args:
        near: the reader of counted input around it.
    """

    def __init__(self, near: ExecProcess) -> None:
        self._near = near
        self.stdin: ByteSendStream = Counted(near.stdin)
        self.stdout: Received = near.stdout
        self.stderr: Received = near.stderr

    async def wait(self) -> int:
        return await self._near.wait()

    async def kill(self, grace: float = 1.0) -> None:
        await self._near.kill(grace)

    async def aclose(self) -> None:
        await self._near.aclose()
