"""Where a detachable session is found again: a directory of its user's alone, with a socket and a note in it."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import time

from warmshell.guardian.processes import process, start_time
from warmshell.server.finding import PLACES, SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOTE = "info.json"
_CREDENTIALS = struct.Struct("3i")
_LISTENS = 16
_MAKING = 600.0  # seconds after which a directory without a note is nobody's any more


class Rendezvous:
    """The directory of one session.

    Args:
        session: its id: letters and digits.

    Attributes:
        directory: its name.
        listener: the socket that clients connect to; it does not block.

    Raises:
        OSError: there is no directory where it could be.
        ValueError: there is such a session.
    """

    def __init__(self, session: str) -> None:
        problem: OSError = OSError("no directory for sessions")
        for base in _places():
            self.directory = os.path.join(base, session)
            try:
                _own(base)
                sweep(base)
                if os.path.lexists(self.directory):
                    raise ValueError(f"there is a session {session} already")
                os.mkdir(self.directory, 0o700)
            except OSError as error:  # no home, a full disk
                problem = error
                continue
            try:
                self.listener = _listen(self.directory)
            except OSError as error:  # a file system without sockets
                problem = error
                _remove(self.directory)
            else:
                return
        raise problem

    def note(self, **facts: Any) -> None:
        """Write down which process this is, so that others can tell when it is gone."""
        pid = os.getpid()
        text = json.dumps({"pid": pid, "started": start_time(pid), "host": os.uname().nodename, **facts})
        fd = os.open(os.path.join(self.directory, _NOTE), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(fd, text.encode())
        os.close(fd)

    def accept(self) -> socket.socket | None:
        """The next client, if it is one of the same account."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return None
        connection.setblocking(False)
        _, user, _ = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if user in (os.getuid(), 0):
            return connection
        connection.close()
        return None

    def remove(self) -> None:
        """Nobody is to find it any more."""
        self.listener.close()
        _remove(self.directory)


def _places() -> list[str]:
    space: dict[str, Any] = {}
    exec(PLACES, space)  # noqa: S102 - one text for the server and for the programs that look for it
    places: list[str] = space["places"]
    return places


def _own(base: str) -> None:
    """Have the directory, which must be this user's alone."""
    os.makedirs(base, 0o700, exist_ok=True)
    found = os.lstat(base)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(1, "not a directory of this user alone", base)
    os.chmod(base, 0o700)


def _listen(directory: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # from within: names of sockets must be short
        os.chdir(directory)
        listener.bind(SOCKET)
        os.chmod(SOCKET, 0o600)
        listener.listen(_LISTENS)
    except BaseException:
        listener.close()
        raise
    finally:
        os.fchdir(here)
        os.close(here)
    listener.setblocking(False)
    return listener


def sweep(base: str) -> None:
    """Remove what sessions have left that were killed on this host."""
    for name in os.listdir(base):
        directory = os.path.join(base, name)
        if not name.isalnum() or not _has_only_ours(directory):
            continue
        try:
            with open(os.path.join(directory, _NOTE), "rb") as file:
                note = json.loads(file.read())
            found = process(note["pid"])
            alive = found is not None and not found.zombie and found.started == note["started"]
            if note["host"] == os.uname().nodename and not alive:
                _remove(directory)
        except (OSError, ValueError, KeyError, TypeError):  # it is being made, or was when its maker was killed
            if _is_old(directory):
                _remove(directory)


def _has_only_ours(directory: str) -> bool:
    """Whether it holds nothing but what a session makes: others keep theirs beside it."""
    try:
        return all(name in (SOCKET, _NOTE) or name.startswith("spool-") for name in os.listdir(directory))
    except OSError:
        return False


def _is_old(directory: str) -> bool:
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and time.time() - found.st_mtime > _MAKING


def _remove(directory: str) -> None:
    try:
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except OSError:
        pass
