"""One command in a lane of the session server."""

from __future__ import annotations

import json

from warmshell.protocol import frames
from warmshell.protocol.quoting import quote_all
from warmshell.protocol.request import Body, script_body, stateful_body, words_body
from warmshell.server.stdin import NO_STDIN, Stdin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmshell.protocol.dialect import Dialect
    from warmshell.protocol.remote import RemoteCommand
    from warmshell.server.loop import Loop, Timer


class Execution:
    """One command on its way through a lane.

    Args:
        loop: the event loop.
        command: what the client sent.
        send: puts a frame (type, data) about this command on its way.

    Attributes:
        credit: bytes of output that may be sent.
        acknowledges: whether one must know when it starts.
        acknowledged: whether the shell has said that the command starts.
        begun: whether something else shows that it has.
        timer: ends it.
        told: called at the end of a command of the server's own, of which the client knows nothing.
    """

    __slots__ = (
        "acknowledged", "acknowledges", "begun", "command", "credit", "keeps_state", "send", "seq", "stdin", "timer",
        "told",
    )  # fmt: skip

    def __init__(self, loop: Loop, command: RemoteCommand, send: Callable[[int, bytes], None]) -> None:
        self.command = command
        self.seq = command.seq
        self.keeps_state = command.keeps_state
        self.send = send
        self.credit = frames.INITIAL_CREDIT
        self.acknowledged = self.begun = False
        self.timer: Timer | None = None
        self.told: Callable[[], None] | None = None
        self.stdin = NO_STDIN if command.stdin == "none" else Stdin(loop, command.stdin, command.data, self._grant)
        self.acknowledges = bool(
            self.keeps_state or self.stdin.streams or command.stdout is not None or command.stderr is not None
        )

    def _grant(self, size: int) -> None:
        self.send(frames.CREDIT, frames.NUMBER.pack(size))

    def body(self, dialect: Dialect, blank: bool) -> Body:
        """The command as shell text."""
        command = self.command
        if self.keeps_state:
            return stateful_body(command.script if command.script is not None else quote_all(command.argv), dialect)
        if command.script is not None:
            return script_body(dialect, command.script, command.env, only=blank)
        return words_body(dialect, command.argv, command.env, only=blank)

    def started(self) -> str:
        """Whether it has started, as far as its shell has said."""
        return "yes" if self.acknowledged or self.begun else "unknown"

    def finish(self, outcome: dict[str, Any]) -> None:
        """It is over: tell the client, and give back what it held."""
        self.release()
        if self.told is None:
            self.send(frames.RESULT, json.dumps(outcome).encode())
        else:
            self.told()

    def release(self) -> None:
        """Give back what it held."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.stdin is not NO_STDIN:
            self.stdin.close()
