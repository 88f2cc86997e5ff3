"""A channel: a far shell that has said hello and waits for its line, whatever carries its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmshell.process import ByteReceiveStream, Process

_NOISE = 1024 * 1024  # bytes of banners and start-up files before the hello


class Channel:
    """A far shell that has said hello and waits for its line.

    Attributes:
        process: what carries it; its standard output begins behind the hello.
        token: what the hello carried; standard error still has it.
        pid: the far shell.
        world: the PID namespace that it is in, as it tells it; empty where it does not.
        files: the mount namespace that it is in, in the same way.
    """

    def __init__(self, process: Process, token: str) -> None:
        self.process = process
        self.token = token
        self.pid = 0
        self.world = self.files = b""

    def take_hello(self, hello: bytes) -> None:
        """What it said behind its token: its pid, and its namespaces where they are known."""
        for word in hello.split():
            if word.isdigit():
                self.pid = int(word)
            elif word.startswith(b"pid:"):
                self.world = word
            elif word.startswith(b"mnt:"):
                self.files = word

    async def aclose(self) -> None:
        """End it."""
        try:
            await self.process.aclose()
        finally:
            self.released()

    def released(self) -> None:
        """It has ended."""


async def rest_of_line(stream: ByteReceiveStream, start: bytes) -> bytes | None:
    """The rest of the line that begins so; what comes before it is discarded. ``None``: the stream has ended."""
    seen = b""
    while len(seen) < _NOISE:
        data = await stream.receive()
        if not data:
            return None
        seen += data
        at = seen.find(start)
        end = seen.find(b"\n", at)
        if at >= 0 and end >= 0:
            return seen[at + len(start) : end].strip()
    return None
