"""The socket of a server: made under another name and renamed, so that there is never one that nobody listens to."""

from __future__ import annotations

import _socket
import os

_BACKLOG = 512


class Address:
    """A socket that listens.

    Args:
        directory: where it is.
        name: its name there.

    Attributes:
        directory: where it is.
        name: its name there.
        listener: the socket.
    """

    def __init__(self, directory: int, name: str) -> None:
        self.directory = directory
        self.name = name
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self.listener.setblocking(False)
        temporary = f"{name}.{os.getpid()}"
        folder = f"/proc/self/fd/{directory}/"
        self.listener.bind(folder + temporary)
        os.chmod(folder + temporary, 0o600)
        self.listener.listen(_BACKLOG)
        found = os.stat(temporary, dir_fd=directory)
        self._made = (found.st_dev, found.st_ino)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)

    def is_ours(self) -> bool:
        """Whether nobody has removed or replaced it."""
        try:
            found = os.stat(self.name, dir_fd=self.directory)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._made

    def touch(self) -> None:
        """Let its time tell that it was used now."""
        try:
            os.utime(self.name, dir_fd=self.directory)
        except OSError:
            pass  # it is not there any more, which is seen later

    def remove(self) -> None:
        """Be found by nobody any more."""
        if self.is_ours():
            os.unlink(self.name, dir_fd=self.directory)
