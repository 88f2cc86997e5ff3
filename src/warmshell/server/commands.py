"""What a detachable session has been told to do, and how much of that its clients have taken."""

from __future__ import annotations

import json
import time

from warmshell.protocol import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmshell.protocol.remote import RemoteCommand

    Key = tuple[int, int]

_WORDS = 200  # characters of a command that are shown
_STREAMS = {frames.STDOUT: 0, frames.STDERR: 1}


class Entry:
    """One command.

    Attributes:
        text: its words, shortened.
        began: when it was given to the server.
        started: whether the far shell is known to have begun it.
        ended: whether its result is there.
        wrote: bytes of the two streams that came of it.
        taken: as many of them have been acknowledged.
    """

    __slots__ = ("began", "ended", "started", "taken", "text", "wrote")

    def __init__(self, text: str) -> None:
        self.text = text
        self.began = time.time()
        self.started = self.ended = False
        self.wrote = [0, 0]
        self.taken = [0, 0]


class Commands:
    """The commands of a session whose results nobody has acknowledged.

    A command is named by its subshell and number.

    Attributes:
        count: how many there ever were.
        last: the words of the last one, shortened.
    """

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self.count = 0
        self.last = ""

    def given(self, subshell: int, command: RemoteCommand) -> None:
        """A command was given to the server."""
        words = b" ".join(command.argv) if command.script is None else command.script
        self.last = words[: 4 * _WORDS].decode("utf-8", "replace")[:_WORDS]
        self._entries[subshell, command.seq] = Entry(self.last)
        self.count += 1

    def came(self, kind: int, key: Key, size: int) -> None:
        """A frame about a command came from the server.

        Args:
            kind: its type.
            key: the command.
            size: bytes of output in it.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        if kind in _STREAMS:
            entry.started = True
            entry.wrote[_STREAMS[kind]] += size
        elif kind == frames.STARTED:
            entry.started = True
        elif kind == frames.RESULT:
            entry.ended = True

    def taken(self, head: bytes, size: int) -> None:
        """A client has acknowledged a frame.

        Args:
            head: its first bytes.
            size: how many it has.
        """
        kind = head[4]
        if kind not in _STREAMS and kind != frames.RESULT:
            return
        key = frames.HEADER.unpack_from(head)[2], frames.NUMBER.unpack_from(head, frames.HEADER.size)[0]
        if kind == frames.RESULT:
            self._entries.pop(key, None)
        elif key in self._entries:
            self._entries[key].taken[_STREAMS[kind]] += size - frames.HEADER.size - frames.NUMBER.size

    def unfetched(self) -> dict[Key, int]:
        """Bytes of output of each running command that are kept for a client."""
        return {key: sum(entry.wrote) - sum(entry.taken) for key, entry in self._entries.items() if not entry.ended}

    @property
    def running(self) -> int:
        """How many have no result."""
        return sum(not entry.ended for entry in self._entries.values())

    @property
    def finished(self) -> int:
        """How many have a result that nobody has acknowledged."""
        return sum(entry.ended for entry in self._entries.values())

    def describe(self) -> list[dict[str, object]]:
        """What a client that takes over must know."""
        return [
            {
                "subshell": subshell,
                "seq": seq,
                "command": entry.text,
                "began": entry.began,
                "running": not entry.ended,
                "taken": entry.taken,
            }
            for (subshell, seq), entry in self._entries.items()
        ]

    def lost(self, why: str, keep: Callable[[int, int, bytes], None]) -> None:
        """Give every running command a result that says it was lost.

        Args:
            why: how.
            keep: gets the frames: type, subshell, payload.
        """
        for (subshell, seq), entry in list(self._entries.items()):
            if not entry.ended:
                outcome = {"lost": why, "started": "yes" if entry.started else "unknown"}
                keep(frames.RESULT, subshell, frames.NUMBER.pack(seq) + json.dumps(outcome).encode())
