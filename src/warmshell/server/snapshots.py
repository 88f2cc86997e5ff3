"""The state of a shell, written before every command that may change it, so that a copy can be made meanwhile."""

from __future__ import annotations

import os

from warmshell.protocol import state
from warmshell.protocol.pipes import proc_fd
from warmshell.server.system import memory_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmshell.protocol.dialect import Dialect


class Snapshot:
    """A file in memory that the shell writes its state to.

    Args:
        dialect: what kind of shell it is.

    Attributes:
        before: the number of the command before which it was written last.

    Raises:
        OSError: no descriptors, or no room.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._fd = memory_file("state")
        self.before = -1

    def script(self, before: int) -> bytes:
        """Shell text that writes the state."""
        self.before = before
        os.ftruncate(self._fd, 0)  # an earlier state must not pass for one that could not be written
        return b"if :;then %sfi >|%s 2>/dev/null" % (state.dump(self._dialect), proc_fd(os.getpid(), self._fd))

    def restoring(self) -> bytes | None:
        """Shell text that gives another shell this state; ``None`` if it was not written."""
        try:
            return state.restore(self._dialect, os.pread(self._fd, os.fstat(self._fd).st_size, 0))
        except (ValueError, OSError):
            return None

    def close(self) -> None:
        """Give the file back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
