"""The link of a detachable session: between the server and whichever client is there, so that neither misses the other.

To the server it is the client, one that never goes away before the session is to end. What makes that possible is in
:mod:`warmshell.protocol.resume`.
"""

from __future__ import annotations

import json
import os
import signal
import time

from warmshell.protocol import frames
from warmshell.protocol.remote import RemoteCommand
from warmshell.protocol.resume import ReceivedCount, SentLog
from warmshell.server.commands import Commands
from warmshell.server.detach import lease_of
from warmshell.server.ledger import Ledger
from warmshell.server.loop import Loop
from warmshell.server.visitor import Visitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from warmshell.server.detach import Options
    from warmshell.server.loop import Timer
    from warmshell.server.rendezvous import Rendezvous

    Key = tuple[int, int]

_READ = 64 * 1024
_HIGH = 128 * 1024  # bytes that wait for a client that is there: what a small answer may have to wait for
_MOST_TO_SERVER = 1024 * 1024
_SILENCE = 20.0  # seconds after which a client that says nothing is gone
_ACKNOWLEDGE_SECONDS = 0.25
_LAST_SECONDS = 2.0


def serve(place: Rendezvous, options: Options, server: int, to_server: int, from_server: int) -> None:
    """Be the link until the session has ended.

    Args:
        place: where clients find it.
        options: those of the session.
        server: the pid of the server's guard, a child of this process.
        to_server: where frames for the server go.
        from_server: where its frames come from.
    """
    loop = Loop()
    link = Link(loop, place, options, to_server, from_server)
    loop.on_signal(signal.SIGTERM, link.end)
    link.open()
    loop.run()
    os.waitpid(server, 0)  # it may still be ending what a killed server has left
    place.remove()
    link.close()


class Link:
    """One detachable session.

    Args:
        loop: the event loop.
        place: where clients find it.
        options: those of the session.
        to_server: where frames for the server go.
        from_server: where its frames come from.
    """

    def __init__(self, loop: Loop, place: Rendezvous, options: Options, to_server: int, from_server: int) -> None:
        self._loop = loop
        self._place = place
        self._options = options
        self._to_server = to_server
        self._from_server = from_server
        os.set_blocking(to_server, False)
        os.set_blocking(from_server, False)
        self._waiting = bytearray()  # for the server
        self._decoder = frames.FrameDecoder()
        self._commands = Commands()
        self._log = SentLog(
            memory=min(options.spool, 1024 * 1024), directory=place.directory, taken=self._commands.taken
        )
        self._received = ReceivedCount()
        self._ledger = Ledger()
        self._visitors: set[Visitor] = set()
        self._client: Visitor | None = None
        self._epoch = 0
        self._sent = 0
        self._heard = loop.time()
        self._began = time.time()
        self._reading = self._writing = self._owing = self._ending = self._bereft = False
        self._timer: Timer | None = None

    def open(self) -> None:
        """Let clients come."""
        self._loop.add_reader(self._place.listener.fileno(), self._on_visit)
        self._listen()
        self._on_time()

    def close(self) -> None:
        """Let everybody go; nothing is left to be told."""
        for visitor in list(self._visitors):
            visitor.close()

    # -- clients ----------------------------------------------------------------------------------------------------

    def _on_visit(self) -> None:
        connection = self._place.accept()
        if connection is not None:
            self._visitors.add(Visitor(self._loop, self, connection, self._log))

    def status(self) -> bytes:
        """What is told to those who ask, as a line of JSON."""
        lease = self._options.lease
        away = 0.0 if self._client is not None else self._loop.time() - self._heard
        facts = {
            "session": self._options.session,
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "began": self._began,
            "lease": lease,
            "left": None if lease is None else max(0.0, lease - away),
            "attached": self._client is not None,
            "spooled": self._log.size,
            "spool": self._options.spool,
            "commands": self._commands.count,
            "running": self._commands.running,
            "finished": self._commands.finished,
            "last": self._commands.last,
        }
        return json.dumps(facts).encode() + b"\n"

    def on_closed(self, visitor: Visitor) -> None:
        """A connection has ended."""
        self._visitors.discard(visitor)
        if visitor is self._client:
            self._on_left(visitor.at)

    def _on_left(self, seen: int) -> None:
        """The client is gone, and may have made use of so many frames."""
        self._client = None
        self._sent = max(self._sent, seen)
        self._heard = self._loop.time()
        for (subshell, seq), size in self._ledger.leave():
            self._give(frames.pack_numbered(frames.CREDIT, subshell, seq, frames.NUMBER.pack(size)))
        self._listen()
        self._on_time()

    def refuse(self, visitor: Visitor, why: str) -> None:
        """This one is not the client, or no longer."""
        visitor.farewell(_attach(error=why))

    def on_frame(self, visitor: Visitor, kind: int, subshell: int, payload: bytes) -> None:
        """A whole frame from a connection.

        Raises:
            ValueError: it is none.
        """
        if kind == frames.ATTACH:
            self._on_attach(visitor, json.loads(payload))
            return
        if visitor is not self._client:
            raise ValueError("a frame before anything was attached")
        self._heard = self._loop.time()
        if kind == frames.ACKNOWLEDGE:
            self._log.acknowledge(_count(payload))
            self._listen()
            self._stop_when_taken()
            return
        due = self._received.add(len(payload))
        if kind == frames.RUN:
            self._commands.given(subshell, RemoteCommand.decode(payload))
        elif kind == frames.WORDS:
            self._commands.given(subshell, RemoteCommand.of_words(payload))
        if kind == frames.CREDIT and len(payload) == frames.GRANT.size:
            self._on_credit(subshell, *frames.GRANT.unpack(payload))
        else:
            self._give(frames.pack(kind, subshell, payload))
        self._owe(due)

    def _on_attach(self, visitor: Visitor, message: dict[str, Any]) -> None:
        if message.get("end"):
            self._client = None if visitor is self._client else self._client
            visitor.silence()
            self.end()
            return
        if message.get("leave") and visitor is self._client:
            self._on_leave(visitor, message)
            return
        if visitor.attached or message["session"] != self._options.session:
            raise ValueError("another session, or the same once more")
        received, another = message.get("received"), message.get("epoch") is None
        first = self._log.first if another else received
        if not another and message["epoch"] != self._epoch:
            self.refuse(visitor, "another client has taken the session over")
        elif not isinstance(first, int) or not self._log.first <= first <= self._log.end:
            self.refuse(visitor, f"frames from {received} on are not to be had any more")
        else:
            self._log.acknowledge(first)
            self._adopt(visitor, first, another=another)

    def _on_leave(self, visitor: Visitor, message: dict[str, Any]) -> None:
        """The client goes, and says how many frames it has made use of."""
        used = int(message["used"])
        if "lease" in message:
            self._options.lease = lease_of(message["lease"])
        self._log.acknowledge(used)
        self._on_left(used)
        visitor.farewell(_attach(left=True))

    def _adopt(self, visitor: Visitor, first: int, *, another: bool) -> None:
        before = self._client
        if before is not None:
            self._client = None
            self._sent = max(self._sent, before.at)
            if another:
                self.refuse(before, "another client has taken the session over")
            else:
                before.close()
        self._epoch += another
        self._client = visitor
        self._heard = self._loop.time()
        self._ledger.back(self._commands.unfetched() if another else None)
        visitor.start(first)
        known = {"commands": self._commands.describe()} if another else {}
        visitor.say(
            _attach(session=self._options.session, epoch=self._epoch, received=self._received.count, first=first,
                    sent=self._sent, lease=self._options.lease, spool=self._options.spool, **known)
        )  # fmt: skip
        self._listen()
        self._on_time()
        self._stop_when_taken()

    def _on_credit(self, subshell: int, seq: int, size: int) -> None:
        more = self._ledger.credit((subshell, seq), size)
        if more:
            self._give(frames.pack_numbered(frames.CREDIT, subshell, seq, frames.NUMBER.pack(more)))

    def _owe(self, due: bool) -> None:
        if due:
            self._acknowledge()
        elif not self._owing:
            self._owing = True
            self._loop.call_later(_ACKNOWLEDGE_SECONDS, self._on_owing)

    def _on_owing(self) -> None:
        self._owing = False
        self._acknowledge()

    def _acknowledge(self) -> None:
        if self._client is not None and self._received.owed and not self._ending:
            self._client.say(self._received.acknowledgement())

    # -- time -------------------------------------------------------------------------------------------------------

    def _on_time(self) -> None:
        """Whether a client is silent for too long, or away for longer than its lease."""
        if self._ending:
            return
        silent, lease = self._loop.time() - self._heard, self._options.lease
        if lease is not None and silent >= lease:
            self.end()
            return
        if self._client is not None and silent >= _SILENCE:
            self._client.close()  # which calls this again
            return
        limits = [_SILENCE] * (self._client is not None) + ([] if lease is None else [lease])
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if limits:
            self._timer = self._loop.call_later(max(0.01, min(limits) - silent), self._on_time)

    # -- the server -------------------------------------------------------------------------------------------------

    def _give(self, frame: bytes) -> None:
        """A frame for the server."""
        if self._to_server < 0:
            return
        self._waiting += frame
        if not self._writing:
            self._write()

    def _write(self) -> None:
        try:
            size = os.write(self._to_server, self._waiting) if self._waiting and not self._ending else 0
        except BlockingIOError:
            size = 0
        except OSError:  # it has ended, as the end of its frames will say
            size = len(self._waiting)
        del self._waiting[:size]
        waits = bool(self._waiting) and not self._ending
        if waits != self._writing:
            self._writing = waits
            if waits:
                self._loop.add_writer(self._to_server, self._write)
            else:
                self._loop.remove_writer(self._to_server)
        if self._client is not None:
            if len(self._waiting) > _MOST_TO_SERVER:
                self._client.pause()
            else:
                self._client.listen()

    def _has_room(self) -> bool:
        if self._ending:
            return True
        return self._log.size < self._options.spool and (self._client is None or self._client.unsent < _HIGH)

    def on_room(self) -> None:
        """A client has taken something."""
        self._listen()

    def _listen(self) -> None:
        """Read from the server while there is room for what it says."""
        wanted = self._from_server >= 0 and self._has_room()
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(self._from_server, self._on_readable)
            else:
                self._loop.remove_reader(self._from_server)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._from_server, _READ)
        except BlockingIOError:
            return
        if not data:
            self._on_server_gone()
            return
        for kind, subshell, payload in self._decoder.feed(data):
            self._keep(kind, subshell, payload)
        if self._client is not None:
            self._client.flush()
        self._listen()

    def _keep(self, kind: int, subshell: int, payload: bytes) -> None:
        if kind == frames.ENDED:  # what is counted and kept knows of output and of results
            stdout, result = frames.split_ended(payload)
            if len(stdout) > frames.NUMBER.size:
                self._keep(frames.STDOUT, subshell, stdout)
            self._keep(frames.RESULT, subshell, result)
            return
        frame = frames.pack(kind, subshell, payload)
        if self._ending and self._client is None:
            return
        self._log.append(frame)
        if self._client is not None:
            self._client.unsent += len(frame)
        if frames.STARTED <= kind <= frames.RESULT:
            (seq,) = frames.NUMBER.unpack_from(payload)
            self._on_output(kind, (subshell, seq), len(payload) - 4)

    def _on_output(self, kind: int, key: Key, size: int) -> None:
        self._commands.came(kind, key, size)
        if kind == frames.RESULT:
            self._ledger.ended(key)
        granted = self._ledger.wrote(key, size) if kind in (frames.STDOUT, frames.STDERR) else 0
        if granted and not self._ending:
            self._give(frames.pack_numbered(frames.CREDIT, *key, frames.NUMBER.pack(granted)))

    # -- ending -----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End the session: the server sees the end of its client, and ends everything."""
        if self._ending:
            return
        self._ending = True
        if self._bereft:
            self._loop.stop()
            return
        self._let_server_go()
        self._listen()

    def _let_server_go(self) -> None:
        """It sees the end of its client."""
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._to_server)
        self._waiting.clear()
        os.close(self._to_server)
        self._to_server = -1

    def _on_server_gone(self) -> None:
        """Nothing more will come; whoever is there gets the last of it."""
        self._loop.remove_reader(self._from_server)
        os.close(self._from_server)
        self._from_server = -1
        self._bereft = not self._ending
        if self._bereft:
            self._commands.lost("was lost: the session server was ended", self._keep)
            self._let_server_go()
        if self._client is not None and self._client.unsent:
            self._ending = True
            self._loop.call_later(_LAST_SECONDS, self._loop.stop)
            self.on_room = self._stop_when_told  # type: ignore[method-assign]
            self._client.flush()
        elif not self._bereft or self._client is not None or self._commands.finished == 0:
            self._loop.stop()
        # Else what was spooled, and that the rest is lost, waits for a client.

    def _stop_when_told(self) -> None:
        if self._client is None or not self._client.unsent:
            self._loop.stop()

    def _stop_when_taken(self) -> None:
        """Without a server there is nothing but what was kept; when that has been taken, all is over."""
        if self._bereft and self._commands.finished == 0:
            self._ending = True
            self._loop.stop()


def _attach(**message: Any) -> bytes:
    return frames.pack(frames.ATTACH, 0, json.dumps(message).encode())


def _count(payload: bytes) -> int:
    if len(payload) != frames.COUNT.size:
        raise ValueError("an acknowledgement of no length")
    return int(frames.COUNT.unpack(payload)[0])
