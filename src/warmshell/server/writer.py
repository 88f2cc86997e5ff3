"""Frames on their way to the client: bounded, fair between subshells, control first."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmshell.server.loop import Loop

_BATCH = 64 * 1024  # bytes given to the kernel at once: what a small frame may have to wait for
_BURST = 1024 * 1024  # bytes written before others get their turn
_MOST_PIECES = 64
LANE_HIGH = 256 * 1024
"""Bytes of one subshell that may wait."""
TOTAL_HIGH = 2 * 1024 * 1024
"""Bytes of output of all subshells that may wait."""
HARD_LIMIT = 8 * 1024 * 1024
"""Bytes of anything that may wait before the client is not listened to any more."""


def advance(batch: list[bytes | memoryview], size: int) -> None:
    """Take away what was written: the first bytes of a batch."""
    done = 0
    while done < len(batch) and size >= len(batch[done]):
        size -= len(batch[done])
        done += 1
    del batch[:done]
    if size:
        batch[0] = memoryview(batch[0])[size:]


class Writer:
    """Writes frames to the client as it takes them.

    Args:
        loop: the event loop.
        fd: where to; it does not block.
        on_broken: told once the client is gone.
        on_room: told whenever something was written, so that those who wait for room can go on.

    Attributes:
        pending: bytes that wait.
    """

    def __init__(self, loop: Loop, fd: int, on_broken: Callable[[str], None], on_room: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._on_broken = on_broken
        self._on_room = on_room
        self._queues: dict[int, list[bytes]] = {}  # in the order of their turns; control (0) always comes first
        self._sizes: dict[int, int] = {}
        self._batch: list[bytes | memoryview] = []
        self._blocked = self._scheduled = self._broken = False
        self.pending = 0

    def put(self, subshell: int, frame: bytes) -> None:
        """Send a frame after the others of this subshell."""
        if self._broken:
            return
        size = len(frame)
        queue = self._queues.get(subshell)
        if queue is None:
            self._queues[subshell] = [frame]
            self._sizes[subshell] = size
        else:
            queue.append(frame)
            self._sizes[subshell] += size
        self.pending += size
        if not (self._blocked or self._scheduled):
            self._scheduled = True
            self._loop.call_soon(self._on_turn)

    def room(self, subshell: int) -> int:
        """How many bytes of output this subshell may put now."""
        return min(LANE_HIGH - self._sizes.get(subshell, 0), TOTAL_HIGH - self.pending)

    def _on_turn(self) -> None:
        self._scheduled = False
        if not self._blocked:
            self.flush()

    def flush(self) -> None:
        """Write what the client takes now."""
        written = 0
        while written < _BURST and not self._broken and (self._batch or (self._queues and self._fill())):
            size = self._write()
            if size < 0:
                break
            written += size
        if written:
            self._on_room()
        waits = bool(self._batch or self._queues) and not self._broken
        if waits != self._blocked:
            self._blocked = waits
            if waits:
                self._loop.add_writer(self._fd, self.flush)
            else:
                self._loop.remove_writer(self._fd)

    def _write(self) -> int:
        """Give the batch to the kernel; -1: it takes nothing now."""
        try:
            size = os.writev(self._fd, self._batch)
        except BlockingIOError:
            return -1
        except OSError as error:
            self._broken = True
            self._queues.clear()
            self._batch.clear()
            self.pending = 0
            self._on_broken(error.strerror or str(error))
            return -1
        self.pending -= size
        if not self.pending:
            self._batch.clear()
        else:
            advance(self._batch, size)
        return size

    def _fill(self) -> bool:
        """Take the next frames: all of control's, then each subshell's in turn."""
        if len(self._queues) == 1 and self.pending <= _BATCH:  # nearly always
            (frames,) = self._queues.values()
            if len(frames) <= _MOST_PIECES:
                self._batch = frames  # type: ignore[assignment]
                self._queues.clear()
                self._sizes.clear()
                return True
        size = 0
        while self._queues and size < _BATCH and len(self._batch) < _MOST_PIECES:
            subshell = 0 if 0 in self._queues else next(iter(self._queues))
            frames = self._queues.pop(subshell)
            taken = self._take(subshell, frames, _BATCH if subshell == 0 else _BATCH // 2)
            size += taken
            if frames:  # to the end of the row
                self._queues[subshell] = frames
        return bool(self._batch)

    def _take(self, subshell: int, frames: list[bytes], most: int) -> int:
        size = count = 0
        while count < len(frames) and size < most and len(self._batch) + count < _MOST_PIECES:
            size += len(frames[count])
            count += 1
        self._batch.extend(frames[:count])
        del frames[:count]
        self._sizes[subshell] -= size
        if not frames:
            del self._sizes[subshell]
        return size
