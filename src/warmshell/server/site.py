"""What the subshells of one session share."""

from __future__ import annotations

import os

from warmshell.guardian.tree import COMMAND_VARIABLE, SESSION_VARIABLE
from warmshell.server.kill import Killer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from warmshell.server.children import Child, Children
    from warmshell.server.lane import Lane
    from warmshell.server.loop import Loop, Timer
    from warmshell.server.writer import Writer

    class Waiter(Protocol):
        """Who waits for room."""

        def on_room(self) -> None:
            """There is some."""


_MOMENT = 0.002  # seconds after which a running command's output is read while it comes
_WHILE = 0.05  # seconds after which, at the latest twice as many, a client is told that its command has begun


class Site:
    """What the subshells of one session share.

    Args:
        loop: the event loop.
        children: the processes of this server.
        writer: takes frames for the client.

    Attributes:
        token: begins every tag.
        base: the directory in which shells run.
        env: their environment.
    """

    def __init__(self, loop: Loop, children: Children, writer: Writer) -> None:
        self.loop = loop
        self.children = children
        self.killer = Killer(loop, children)
        self.token = b""
        self.base = b"/"
        self.env: dict[bytes, bytes] = {}
        self.put = writer.put
        self.room = writer.room
        self._hungry: dict[Waiter, None] = {}
        self._fresh: set[Lane] = set()
        self._timer: Timer | None = None
        self._young: set[Lane] = set()
        self._old: set[Lane] = set()
        self._looks = False

    def configure(self, token: bytes, base: bytes, env: Mapping[bytes, bytes]) -> None:
        """The options of the session."""
        self.token = token
        self.base = base
        self.env = {**os.environb, **env}

    def spawn(
        self,
        argv: Sequence[bytes],
        tag: bytes,
        blank: bool,
        stdin: int,
        output: int,
        on_exit: Callable[[int], None],
    ) -> Child:
        """Start a shell.

        Raises:
            OSError: it cannot be started.
        """
        env = {} if blank else dict(self.env)
        env[SESSION_VARIABLE] = self.token
        env[COMMAND_VARIABLE] = tag + b".0"
        return self.children.spawn(argv, env, stdin, output, on_exit)

    # -- output of long commands ------------------------------------------------------------------------------------

    def watch(self, lane: Lane) -> None:
        """A command begins: in a moment its output is to be read as it comes. One timer serves all lanes."""
        self._fresh.add(lane)
        if self._timer is None:
            self._timer = self.loop.call_later(_MOMENT, self._on_moment)

    def unwatch(self, lane: Lane) -> None:
        """A command has ended."""
        self._fresh.discard(lane)
        self._young.discard(lane)
        self._old.discard(lane)

    def _on_moment(self) -> None:
        self._timer = None
        lanes, self._fresh = self._fresh, set()
        for lane in lanes:
            lane.watch()
        self._young |= lanes
        if not self._looks:
            self._looks = True
            self.loop.call_later(_WHILE, self._on_while)

    def _on_while(self) -> None:
        """Commands that were there at the last look as well last for a while: their client is told that they began."""
        lanes, self._old, self._young = self._old, self._young, set()
        for lane in lanes:
            lane.confirm()
        self._looks = bool(self._old)
        if self._looks:
            self.loop.call_later(_WHILE, self._on_while)

    def wait_for_room(self, waiter: Waiter) -> None:
        """Tell a lane or a process when frames have been written."""
        self._hungry[waiter] = None

    def on_room(self) -> None:
        """Frames have been written."""
        waiters, self._hungry = self._hungry, {}
        for waiter in waiters:
            waiter.on_room()
