"""A program in a container as a process: three byte streams and a status, over one WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable

from warmshell.connector.far.in_turn import InTurn
from warmshell.connector.far.received import Received
from warmshell.connector.kubernetes.websocket import WebSocket
from warmshell.errors import BusyError, ClosedError
from warmshell.process import ByteSendStream, Process
from warmshell.protocol.counted import END, counted
from warmshell.protocol.remotecommand import STDIN, STDOUT, Outcome, ProtocolError, Receiver, end_of, message
from warmshell.protocol.websocket import BINARY, PING

_AHEAD = 256 * 1024  # bytes kept for a slow reader
_PIECE = 64 * 1024
_GATHER_SECONDS = 0.0002  # what follows so soon goes in one message: to send one takes half as long
_REST_SECONDS = 2.0  # for a server that has told the status to end the connection
_LAST_SECONDS = 5.0  # for the end of its input
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

    def __init__(self, socket: WebSocket, receiver: Receiver, on_end: Callable[[ExecProcess], None]) -> None:
        self._socket = socket
        self._receiver = receiver
        self._on_end = on_end
        self._paused = False
        self._ended = asyncio.Event()
        self.outcome: Outcome | None = None
        self.stdout: Received = Received(self._taken)
        self.stderr: Received = Received(self._taken)
        self.stdin: ByteSendStream = Sent(socket, self._ended, end=self._end_of_input)
        self._rest: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take what comes: all of it may be there already."""
        self._socket.start(self._on_message, self._on_lost)

    @property
    def half_close(self) -> bool:
        """Whether its standard input can end while it goes on."""
        return self._receiver.half_close

    def _end_of_input(self) -> bytes:
        return end_of(STDIN) if self.half_close else message(STDIN, _FAREWELL)

    # -- what comes -------------------------------------------------------------------------------------------------

    def _on_message(self, opcode: int, data: bytes) -> None:
        if opcode != BINARY:
            raise ProtocolError("a message of text")
        channel, data = self._receiver.feed(data)
        if data:
            stream = self.stdout if channel == STDOUT else self.stderr
            stream.feed(data)
            if stream.size > _AHEAD and not self._paused:  # the server waits while nobody reads
                self._paused = True
                self._socket.pause()
        if self._receiver.outcome is not None:
            self._expect_end()

    def _taken(self) -> None:
        if self._paused and max(self.stdout.size, self.stderr.size) <= _AHEAD:
            self._paused = False
            self._socket.resume()
            if self._receiver.outcome is not None:
                self._expect_end()

    def _expect_end(self) -> None:
        """The status is known: the server ends the connection once it has sent all."""
        self._forget_rest()
        if not (self._paused or self._ended.is_set()):
            self._rest = asyncio.get_running_loop().call_later(_REST_SECONDS, self._socket.end)

    def _forget_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _on_lost(self, why: str) -> None:
        if why and not self._ended.is_set():
            self.outcome = Outcome(None, f"the server does not keep to the protocol: {why}")
        self._finish(self.outcome or self._receiver.end())

    def _finish(self, outcome: Outcome) -> None:
        self._forget_rest()
        if not self._ended.is_set():
            self.outcome = outcome
            self._ended.set()
            self.stdout.end()
            self.stderr.end()
            self._on_end(self)

    # -- the contract -----------------------------------------------------------------------------------------------

    async def show_life(self) -> None:
        """Have something on the connection, so that nobody takes it for unused."""
        # That an answer comes is not waited for: one that does not read its input has the server not answer either.
        with contextlib.suppress(OSError):
            self._socket.give(PING, b"")

    async def wait(self) -> int:
        await self._ended.wait()
        status = self.outcome.status if self.outcome is not None else None
        return _UNKNOWN if status is None else status

    async def kill(self, grace: float = 1.0) -> None:  # noqa: ARG002 - there is nobody to be asked
        self._finish(self.outcome or self._receiver.outcome or Outcome(_KILLED, "it was given up here"))
        await self._socket.aclose()

    async def aclose(self) -> None:
        await self.kill()
        await self.stdin.aclose()
        await self.stdout.aclose()
        await self.stderr.aclose()


class Sent(InTurn):
    """What a program is to read.

    Args:
        socket: its connection.
        ended: set when the program has ended.
        end: makes the message that ends it.
    """

    def __init__(self, socket: WebSocket, ended: asyncio.Event, end: Callable[[], bytes]) -> None:
        self._socket = socket
        self._ended = ended
        self._last = end
        self._loop = asyncio.get_running_loop()
        self._gave = 0.0
        super().__init__()

    def send_some(self, data: bytes) -> int:
        if self._sending or self._closed or len(data) > _PIECE or self._loop.time() - self._gave < _GATHER_SECONDS:
            return 0
        self._check()
        if not self._socket.give(BINARY, message(STDIN, data)):
            return 0
        self._gave = self._loop.time()
        return len(data)

    async def _give(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            self._check()
            await self._socket.send(BINARY, message(STDIN, data[start : start + _PIECE]))

    def _check(self) -> None:
        if self._ended.is_set():
            raise BrokenPipeError(errno.EPIPE, "the program has ended")

    async def _end(self) -> None:
        with contextlib.suppress(BrokenPipeError, TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                self._check()
                await self._socket.send(BINARY, self._last())


class Counted(InTurn):
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

    async def _end(self) -> None:
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
