"""The servers of this user: which there are, what they tell of themselves, how they are told to end."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from warmshell.coprocess.forkserver.standalone import wire
from warmshell.coprocess.forkserver.standalone.place import Unsafe, opened
from warmshell.errors import WarmshellError

_SECONDS = 5.0


@dataclass(frozen=True)
class ServerInfo:
    """What a server tells of itself.

    Attributes:
        key: the name of its socket.
        tool: the script that it serves.
        pid: its process.
        calls: how many calls it has served.
        running: how many run now.
        waiting: how many wait for their turn.
        watched: how many files and directories it watches.
        modules: how many modules it holds.
        idle: seconds since the last call.
        started: when it was started, in seconds since 1970.
        memory: bytes of memory that it alone holds.
    """

    key: str
    tool: str
    pid: int
    calls: int
    running: int
    waiting: int
    watched: int
    modules: int
    idle: int
    started: int
    memory: int


def servers() -> list[ServerInfo]:
    """All of this user's servers that answer.

    Raises:
        WarmshellError: the directory of the servers is not this user's alone.
    """
    found = [_asked(directory, key, wire.STATS) for directory, key in _sockets()]
    return [info for info in found if info is not None]


def stop(tools: set[str]) -> list[ServerInfo]:
    """Tell servers to end once the calls that run have ended.

    Args:
        tools: scripts, or the last parts of their names; all servers if there are none.

    Returns:
        Those that were told.
    """
    told = []
    for directory, key in _sockets():
        info = _asked(directory, key, wire.STATS)
        if info is not None and (not tools or {info.tool, os.path.basename(info.tool)} & tools):
            told.append(_asked(directory, key, wire.STOP) or info)
    return told


def _sockets() -> Iterator[tuple[int, str]]:
    """The directory and the names; sockets that nobody listens to are removed."""
    try:
        directory = opened()
    except FileNotFoundError:
        return
    except (OSError, Unsafe) as error:
        raise WarmshellError(
            f"the directory of the fork servers cannot be used: {error}", hint="it must be yours, with mode 0700"
        ) from None
    try:
        for name in sorted(os.listdir(directory)):
            if name.endswith(".sock"):
                yield directory, name.removesuffix(".sock")
    finally:
        os.close(directory)


def _asked(directory: int, key: str, what: bytes) -> ServerInfo | None:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_SECONDS)
        try:
            link.connect(f"/proc/self/fd/{directory}/{key}.sock")
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(f"{key}.sock", dir_fd=directory)
            return None
        except OSError:
            return None
        return _told(link, key, what)


def _told(link: socket.socket, key: str, what: bytes) -> ServerInfo | None:
    text = b""
    try:
        link.sendall(wire.HEADER.pack(what, 0))
        while chunk := link.recv(4096):
            text += chunk
    except OSError:
        return None
    facts = dict(line.split(" ", 1) for line in os.fsdecode(text).splitlines() if " " in line)
    tool = facts.pop("tool", "")
    try:
        numbers = {name: int(value) for name, value in facts.items()}
        return ServerInfo(key=key, tool=tool, memory=_memory(numbers["pid"]), **numbers)
    except (KeyError, TypeError, ValueError):  # of another version
        return None


def _memory(pid: int) -> int:
    """What the process and its forks do not share with others."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) * 1024
    return 0
