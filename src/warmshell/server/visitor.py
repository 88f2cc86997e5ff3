"""One connection of a client to the link of a detachable session."""

from __future__ import annotations

import array
import os
import socket

from warmshell.protocol.frames import MISUNDERSTOOD, FrameDecoder
from warmshell.server.writer import advance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmshell.protocol.resume import SentLog
    from warmshell.server.link import Link
    from warmshell.server.loop import Loop

_READ = 256 * 1024
_BATCH = 64 * 1024
_BURST = 1024 * 1024
_MOST_PIECES = 256
_PATIENCE = 20.0  # seconds to say what it wants


class Visitor:
    """A connection: its control socket, and the streams that came over it.

    Args:
        loop: the event loop.
        link: who is told of what comes.
        connection: the socket.
        log: what is to be sent.

    Attributes:
        at: the number of the next frame of the log to be sent.
        unsent: bytes of the log that wait.
        attached: whether this is the session's client.
    """

    def __init__(self, loop: Loop, link: Link, connection: socket.socket, log: SentLog) -> None:
        self._loop = loop
        self._link = link
        self._connection = connection
        self._log = log
        self._decoder = FrameDecoder()
        self._source = self._sink = -1
        self._urgent: list[bytes] = []
        self._batch: list[bytes | memoryview] = []
        self._writing = self._reading = self._closes = self._quiet = False
        self.at = self.unsent = 0
        self.attached = self.closed = False
        self._timer = loop.call_later(_PATIENCE, self._on_late)
        loop.add_reader(connection.fileno(), self._on_message)

    def _on_late(self) -> None:
        if not self.attached:
            self.close()

    # -- what it wants ----------------------------------------------------------------------------------------------

    def _on_message(self) -> None:
        """The first byte says what it wants; a relay that ends later takes its streams with it."""
        fds = array.array("i")
        try:
            data, ancillary, _, _ = self._connection.recvmsg(1, socket.CMSG_SPACE(2 * fds.itemsize))
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
        if data == b"a" and len(fds) == 2 and self._source < 0:
            self._take(fds[0], fds[1])
            return
        for fd in fds:
            os.close(fd)
        if data == b"?":
            self._tell(self._link.status())
        self.close()

    def _tell(self, text: bytes) -> None:
        try:  # noqa: SIM105 - contextlib is slow to import
            self._connection.send(text)
        except OSError:
            pass  # it does not want to know any more

    def _take(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        os.set_blocking(source, False)
        os.set_blocking(sink, False)
        os.set_inheritable(source, False)
        os.set_inheritable(sink, False)
        self.listen()

    # -- what comes -------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Read on."""
        if not self._reading and not self.closed and self._source >= 0:
            self._reading = True
            self._loop.add_reader(self._source, self._on_readable)

    def pause(self) -> None:
        """Read nothing for now."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._source)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._source, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            for kind, subshell, payload in self._decoder.feed(data):
                if not (self.closed or self._closes or self._quiet):
                    self._link.on_frame(self, kind, subshell, payload)
        except MISUNDERSTOOD as error:
            self._link.refuse(self, f"what came is not a frame: {error!r}")

    # -- what goes --------------------------------------------------------------------------------------------------

    def say(self, frame: bytes) -> None:
        """Send a frame about the connection itself, before what waits of the log."""
        self._urgent.append(frame)
        self.flush()

    def farewell(self, frame: bytes) -> None:
        """Send a last frame, and nothing more."""
        self._closes = True
        self.attached = False
        self._timer.cancel()
        self._timer = self._loop.call_later(_PATIENCE, self.close)
        self.pause()
        self.say(frame)

    def start(self, at: int) -> None:
        """From now on it gets the log, from this frame on."""
        self.attached = True
        self._timer.cancel()
        self.at = at
        self.unsent = self._log.bytes_since(at)

    def silence(self) -> None:
        """Take and send nothing more; its streams stay open until the end."""
        self._quiet = True
        self.attached = False
        self._timer.cancel()
        self.pause()
        self._stop_writing()

    def flush(self) -> None:
        """Write what it takes now."""
        written = 0
        if self._quiet:
            return
        while written < _BURST and not self.closed and (self._batch or self._fill()):
            try:
                size = os.writev(self._sink, self._batch[:_MOST_PIECES])
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            written += size
            advance(self._batch, size)
        waits = bool(self._batch or self._urgent or self._more()) and not self.closed
        if self._closes and not waits:
            self.close()
        elif waits and not self._writing:
            self._writing = True
            self._loop.add_writer(self._sink, self.flush)
        elif not waits:
            self._stop_writing()
        if written and self.attached:
            self._link.on_room()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sink)

    def _more(self) -> bool:
        return self.attached and self.at < self._log.end

    def _fill(self) -> bool:
        self._batch, self._urgent = list(self._urgent), []
        if self._more():
            frames = self._log.some(self.at, _BATCH)
            self.at += len(frames)
            self.unsent -= sum(map(len, frames))
            self._batch += frames
        return bool(self._batch)

    def close(self) -> None:
        """Let it go: the relay at the other side of the socket ends."""
        if self.closed:
            return
        self.closed = True
        self._timer.cancel()
        self.pause()
        self._stop_writing()
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        for fd in (self._source, self._sink):
            if fd >= 0:
                os.close(fd)
        self._link.on_closed(self)
