"""The processes of their own in a session: the client's frames about them."""

from __future__ import annotations

import json
import struct

from warmshell.protocol import frames
from warmshell.protocol.remote import RemoteCommand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from warmshell.server.process import Process
    from warmshell.server.site import Site

_LENGTHS = {
    frames.END_OF_INPUT: frames.NUMBER.size,
    frames.CREDIT: frames.GRANT.size,
    frames.ACK: frames.NUMBER.size,
}


class Processes:
    """All processes of their own in one session.

    Args:
        site: what all parts of the session share.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known: dict[int, Process] = {}

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._known.values()))

    def on_frame(self, kind: int, number: int, payload: bytes) -> None:
        """A frame about one of them.

        Raises:
            ValueError: it cannot be understood.
        """
        if kind == frames.OPEN:
            self._open(number, payload)
            return
        if kind != frames.INPUT and len(payload) != _LENGTHS.get(kind, -1):
            raise ValueError(f"type {kind} with {len(payload)} bytes, for a process")
        process = self._known.get(number)
        if process is None:
            return  # it could not be started
        if kind == frames.CREDIT:
            process.on_credit(*frames.GRANT.unpack(payload))
        elif kind == frames.ACK:
            process.forget()
            del self._known[number]
        else:
            process.on_input(None if kind == frames.END_OF_INPUT else payload[frames.NUMBER.size :])

    def _open(self, number: int, payload: bytes) -> None:
        from warmshell.server.process import Process

        options, rest = _split(payload)
        if number in self._known:
            raise ValueError(f"there is a process {number} already")
        process = Process(self._site, number, RemoteCommand.decode(rest), options)
        try:
            process.start()
        except OSError as error:
            outcome = json.dumps({"not_started": error.errno or 0}).encode()
            self._site.put(number, frames.pack_numbered(frames.RESULT, number, 0, outcome))
            return
        self._known[number] = process

    def end(self, message: dict[str, Any], answer: Callable[[object], None]) -> None:
        """End one with all its descendants, and answer when they are gone."""
        grace = float(message.get("grace", 0.0))
        if not 0 <= grace <= 3600:
            raise ValueError(f"a grace of {grace} seconds")
        process = self._known.get(message["process"])
        if process is None:
            answer(None)
        else:
            process.kill(grace, lambda: answer(None))


def _split(payload: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        (size,) = frames.NUMBER.unpack_from(payload)
    except struct.error:
        raise ValueError("no process") from None
    options = json.loads(payload[4 : 4 + size])
    if not isinstance(options, dict):
        raise ValueError("options that are none")  # noqa: TRY004 - the bytes are bad, not a type
    return options, payload[4 + size :]
