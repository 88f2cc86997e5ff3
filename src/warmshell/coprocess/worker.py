"""What a pool's workers have in common: what they are asked for, and what they are asked."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from warmshell.child import Child
from warmshell.coprocess.streams import Streams

_KEYS = 64  # of the last ones it is remembered which worker had them
_PAGE = os.sysconf("SC_PAGE_SIZE")


class NotStartedError(Exception):
    """A worker ended before it read the request, which another one may have now."""


@dataclass
class Tool:
    """The tool of a pool.

    Attributes:
        argv: the words that start it; those of a request follow them.
        ordinary: it is known to ignore the variables of FCLI.
        proven: it is known to be a coprocess.
        flushes: whether it knows the request ``flush``; ``None`` while nobody has asked.
    """

    argv: tuple[bytes, ...]
    ordinary: bool = False
    proven: bool = False
    flushes: bool | None = None

    @property
    def name(self) -> bytes:
        """What stands in front of a request's words: the last word that starts it."""
        return self.argv[-1]

    def __str__(self) -> str:
        return b" ".join(self.argv).decode("utf-8", "replace")


@dataclass(frozen=True)
class Invocation:
    """One thing that the tool is asked to do.

    Attributes:
        argv: the words behind the tool's.
        env: the whole environment.
        cwd: the working directory, absolute.
        streams: what it reads and writes.
        umask: of the client, if it is not ours.
        key: invocations with the same key are better off with the same worker.
    """

    argv: Sequence[bytes]
    env: Mapping[bytes, bytes]
    cwd: bytes
    streams: Streams
    umask: int | None = None
    key: Hashable = None


@dataclass
class Facts:
    """What is known of a worker.

    Attributes:
        requests: how many it has served.
        load: how many it serves now.
        born: when it was started (monotonic).
        used: when it last served one.
        keys: those that it has warm.
    """

    requests: int = 0
    load: int = 0
    born: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    keys: OrderedDict[Hashable, None] = field(default_factory=OrderedDict)

    def remember(self, key: Hashable) -> None:
        """It has this key warm now."""
        if key is not None:
            self.keys[key] = None
            self.keys.move_to_end(key)
            if len(self.keys) > _KEYS:
                self.keys.popitem(last=False)


class Worker(ABC):
    """One process of a tool, which serves one invocation after another, or several at once.

    Attributes:
        capacity: how many at once.
        facts: what the pool knows of it.
    """

    capacity = 1

    def __init__(self) -> None:
        self.facts = Facts()
        self.child: Child | None = None

    @property
    @abstractmethod
    def usable(self) -> bool:
        """Whether it may be given another request."""

    @abstractmethod
    def fits(self, invocation: Invocation) -> bool:
        """Whether it can serve this one, whose directory or environment may be others than its own."""

    @abstractmethod
    async def invoke(self, invocation: Invocation) -> int:
        """Serve it; the status. The first one starts the process.

        Raises:
            NotStartedError: it has certainly not been begun.
            ShellLost: the worker broke the protocol.
            OSError: it cannot be started.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Let it end by itself, or end it; nothing of it is left."""

    def memory(self) -> int:
        """Bytes of memory that its process has resident; 0 if that is not known."""
        try:
            with open(f"/proc/{self.child.pid if self.child else 0}/statm", "rb") as file:
                return int(file.read().split()[1]) * _PAGE
        except (OSError, ValueError, IndexError):
            return 0


def proc_path(fd: int) -> bytes:
    """A descriptor of this process as a path that others of its user can open."""
    return b"/proc/%d/fd/%d" % (os.getpid(), fd)
