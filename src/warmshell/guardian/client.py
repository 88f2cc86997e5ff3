"""The client's side of the guardian: start it, tell it of sessions, let it go."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from warmshell.errors import ClosedError
from warmshell.guardian import tree

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKEN_VARIABLE = tree.SESSION_VARIABLE.decode("ascii")
"""The variable that holds :attr:`Guardian.token` in the environment of every shell."""
COMMAND_VARIABLE = tree.COMMAND_VARIABLE.decode("ascii")
"""The variable that holds ``<token>.<lane>.<command>`` in the environment of every command."""

CLOSE_SECONDS = 8.0
"""How long :meth:`Guardian.aclose` waits: more than a whole sweep takes (grace and KILL_SECONDS)."""

# The guardian imports its modules without running warmshell/__init__, which it has no use for.
_BOOTSTRAP = """\
import sys
home = sys.modules["warmshell"] = type(sys)("warmshell")
home.__path__ = [sys.argv[1]]
from warmshell.guardian.main import main
main()
"""
_PACKAGE = str(Path(__file__).parent.parent)
_REAP_SECONDS = 0.001  # between looks, once the guardian has closed its output and is about to be a zombie

_left: list[int] = []  # guardians whose exit nobody waited for, to be reaped at the next start


class Guardian:
    """The guardian process of this client.

    A guardian belongs to the process that made it: in a fork of that process it is not used, and closing it
    there does not touch it.

    Attributes:
        token: 32 hexadecimal digits, to be put into the environment of everything that is started.
    """

    def __init__(self) -> None:
        self.token = os.urandom(16).hex()
        self._owner = os.getpid()
        self._sessions: dict[int, None] = {}
        self._directories: dict[str, None] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._commands = -1  # the write end of the guardian's standard input
        self._spare = -1  # its read end: kept, so that writing to a dead guardian never raises SIGPIPE
        self._answer = -1  # the read end of its standard output
        self._unsent = b""
        self._lock = threading.Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The guardian's process id while it has one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, unless it runs. It takes about a millisecond and does not wait for anything.

        Raises:
            OSError: no process or descriptor to be had.
            ClosedError: it was closed, or belongs to the process that this one was forked from.
        """
        self._check()
        with self._lock:
            self._ensure()

    def add_session(self, sid: int) -> None:
        """Have this session ended when the client is gone; the session leader must be alive still.

        Raises:
            ValueError: the client's own session.
            ClosedError: see :meth:`start`.
        """
        if sid <= 1 or sid == os.getsid(0):
            raise ValueError(f"session {sid} is not one that this client started")
        self._check()
        with self._lock:
            self._sessions[sid] = None
            if not self._ensure():
                self._send(b"+sid %d\n" % sid)

    def remove_session(self, sid: int) -> None:
        """Forget a session that has ended, as its number may come to mean another one."""
        if not self._is_ours() or self._closed:
            return
        with self._lock:
            if sid in self._sessions:
                del self._sessions[sid]
                if not self._ensure():
                    self._send(b"-sid %d\n" % sid)

    def add_directory(self, path: str) -> None:
        """Have this directory removed, with the files in it, when the client is gone.

        Raises:
            ValueError: a relative path, or one that holds a newline.
            ClosedError: see :meth:`start`.
        """
        if not os.path.isabs(path) or "\n" in path:
            raise ValueError(f"not the path of a private directory: {path!r}")
        self._check()
        with self._lock:
            self._directories[path] = None
            if not self._ensure():
                self._send(b"+dir %s\n" % os.fsencode(path))

    def remove_directory(self, path: str) -> None:
        """Forget a directory that has been removed."""
        if not self._is_ours() or self._closed:
            return
        with self._lock:
            if path in self._directories:
                del self._directories[path]
                if not self._ensure():
                    self._send(b"-dir %s\n" % os.fsencode(path))

    async def aclose(self) -> list[tuple[int, str]]:
        """Have the guardian end what is left of everything that was started, and wait for its exit.

        Returns:
            The processes (pid, name) that it may not signal, or that not even SIGKILL ended.
        """
        if not self._is_ours():
            self.forget()
            return []
        with self._lock:
            process = self._process
            if self._closed or process is None:
                self._closed = True
                return []
            self._ensure()
            self._closed = True
            self._send(b"quit\n")
        return await self._finish()

    async def _finish(self) -> list[tuple[int, str]]:
        process, answer = self._process, b""
        assert process is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                answer = await _read_all(self._answer)
                await _reaped(process)
        except TimeoutError:
            process.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await _reaped(process)
        finally:
            self.forget()
        return _survivors(answer)

    def forget(self) -> None:
        """Close the descriptors and wait for nothing: the guardian ends everything and itself on its own."""
        process, self._process = self._process, None
        for fd in (self._commands, self._spare, self._answer):
            if fd >= 0:
                os.close(fd)
        self._commands = self._spare = self._answer = -1
        if process is not None and process.returncode is None:
            if self._is_ours():
                _left.append(process.pid)
            process.returncode = 0  # or its destructor would warn of, and in a fork wait for, a living child

    def _is_ours(self) -> bool:
        return self._owner == os.getpid()

    def _check(self) -> None:
        """To be called before the lock is taken: in a fork nobody may ever release it."""
        if not self._is_ours():
            raise ClosedError("this guardian belongs to the process that this one was forked from")
        if self._closed:
            raise ClosedError("this guardian is closed")

    def _ensure(self) -> bool:
        """Have a living guardian that knows everything; returns whether it was started just now."""
        if self._process is not None:
            if self._process.poll() is None:
                return False
            self.forget()
        self._spawn()
        self._unsent = b""
        known = b"".join([b"+sid %d\n" % sid for sid in self._sessions])
        known += b"".join([b"+dir %s\n" % os.fsencode(path) for path in self._directories])
        self._send(b"tag %s\n%s" % (self.token.encode("ascii"), known))
        return True

    def _spawn(self) -> None:
        _reap_left()
        self._spare, self._commands = os.pipe()
        self._answer, out = os.pipe()
        words = [sys.executable or "python3", "-I", "-S", "-c", _BOOTSTRAP, _PACKAGE]
        try:
            self._process = subprocess.Popen(
                [*words, str(self._owner), str(tree.birth())],
                stdin=self._spare,
                stdout=out,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # No tag of a client that this client runs under: the guardian ends by itself, after its work.
                env={key: value for key, value in os.environ.items() if not key.startswith("WARMSHELL_")},
                start_new_session=True,
            )
        except BaseException:
            self.forget()
            raise
        finally:
            os.close(out)
        os.set_blocking(self._commands, False)
        os.set_blocking(self._answer, False)

    def _send(self, data: bytes) -> None:
        """Write without waiting; what the pipe (of thousands of lines) does not take goes with the next."""
        self._unsent += data
        with suppress(BlockingIOError):
            self._unsent = self._unsent[os.write(self._commands, self._unsent) :]


def _reap_left() -> None:
    for pid in _left[:]:
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            gone = True
        if gone:
            _left.remove(pid)


async def _read_all(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    end = loop.create_future()
    chunks: list[bytes] = []

    def read() -> None:
        with suppress(BlockingIOError):
            chunks.append(os.read(fd, 65536))
            if not chunks[-1] and not end.done():
                end.set_result(None)

    loop.add_reader(fd, read)
    try:
        await end
    finally:
        loop.remove_reader(fd)
    return b"".join(chunks)


async def _reaped(process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:  # noqa: ASYNC110 - it is about to exit, and no event tells portably
        await asyncio.sleep(_REAP_SECONDS)


def _survivors(answer: bytes) -> list[tuple[int, str]]:
    if not answer.strip():
        return []
    return [(pid, name) for pid, name in json.loads(answer)["survivors"]]


_shared: Guardian | None = None
_users = 0
_shared_lock = threading.Lock()


def acquire() -> Guardian:
    """The one guardian of this process, started if need be; pair each call with :func:`release`."""
    global _shared, _users  # noqa: PLW0603 - one guardian for the whole process is the point
    with _shared_lock:
        if _shared is None:
            _shared, _users = Guardian(), 0
        _shared.start()
        _users += 1
        return _shared


async def release(guardian: Guardian) -> list[tuple[int, str]]:
    """Give back what :func:`acquire` returned; the last one closes it, with the result of its ``aclose``."""
    global _shared, _users  # noqa: PLW0603
    with _shared_lock:
        if guardian is _shared:
            _users -= 1
            if _users > 0:
                return []
            _shared = None
    return await guardian.aclose()


def _after_fork() -> None:
    """In the child of a fork: let the parent's guardian be the parent's."""
    global _shared, _users, _shared_lock  # noqa: PLW0603
    _shared_lock = threading.Lock()  # another thread of the parent may have held it
    inherited, _shared, _users = _shared, None, 0
    _left.clear()
    if inherited is not None:
        inherited.forget()


os.register_at_fork(after_in_child=_after_fork)


def command_tag(token: str, lane: int, number: int) -> bytes:
    """The entry that marks everything of this command in its environment: ``WARMSHELL_COMMAND=...``."""
    return f"{COMMAND_VARIABLE}={token}.{lane}.{number}".encode("ascii")


async def end_command(
    tag: bytes,
    roots: Iterable[tree.Target],
    sids: Iterable[int] = (),
    grace: float = 1.0,
    *,
    since: int = 0,
    include_roots: bool = False,
) -> set[tree.Target]:
    """End everything of one command, in a thread: SIGTERM, up to ``grace`` seconds, SIGKILL.

    Args:
        tag: what :func:`command_tag` gives.
        roots: processes (pid, :func:`tree.start_time`) whose descendants are to end: the shell that runs it.
        sids: sessions whose members are to end, except the roots.
        grace: seconds between SIGTERM and SIGKILL.
        since: only members of the sessions that started at or after this time (see :func:`tree.ticks`) are
            meant, so that what earlier commands left in the background lives on.
        include_roots: end the roots, too.

    Returns:
        The processes (pid, start time) that could not be ended.
    """
    born = max(since, tree.birth())
    selection = tree.Selection(roots, [tag], sids, since=born, include_roots=include_roots)
    return await asyncio.to_thread(tree.end, selection, grace)
