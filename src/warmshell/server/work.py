"""Work in threads, so that the loop goes on meanwhile."""

from __future__ import annotations

import _thread
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmshell.server.loop import Loop

    Work = Callable[[], object]
    Then = Callable[[object], None]

_STACK = 512 * 1024
_MOST_THREADS = 8
_MOST_WAITING = 1000
_MOST_BYTES = 8 * 1024 * 1024


def in_thread(loop: Loop, work: Work, then: Then) -> None:
    """Do the work in a thread of its own, then call in the loop with what it returned, or the error it raised."""

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is handed on
            result = error
        loop.call_from_thread(then, result)

    _thread.stack_size(_STACK)
    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # no thread is to be had: late is better than never
        run()


class Workers:
    """A few threads for operations that may take as long as a file system likes; the others wait.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._running = self._bytes = 0
        self._waiting: deque[tuple[Work, Then, int]] = deque()

    def run(self, work: Work, then: Then, size: int) -> bool:
        """Do the work when there is a thread for it.

        Args:
            work: what to do.
            then: called in the loop with what it returned, or the error it raised.
            size: bytes that it holds while it waits.

        Returns:
            False if too many wait already; nothing is done then.
        """
        if len(self._waiting) >= _MOST_WAITING or self._bytes + size > _MOST_BYTES:
            return False
        self._bytes += size
        self._waiting.append((work, then, size))
        self._next()
        return True

    def _next(self) -> None:
        while self._waiting and self._running < _MOST_THREADS:
            work, then, size = self._waiting.popleft()
            self._running += 1

            def done(result: object, then: Then = then, size: int = size) -> None:
                self._running -= 1
                self._bytes -= size
                then(result)
                self._next()

            in_thread(self._loop, work, done)
