"""A child process of this process, waited for on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from warmshell.guardian.tree import start_time

_LOOK_SECONDS = 0.01  # between looks at a child that nothing can tell of


class Child:
    """A program started in a session of its own.

    Args:
        argv: its words.
        env: its whole environment.
        cwd: its working directory.
        stdin: the descriptor that it reads.
        stdout: the descriptor that it writes.
        stderr: the descriptor for its messages.

    Raises:
        OSError: it cannot be started (``FileNotFoundError``, ``PermissionError`` …).
    """

    def __init__(
        self,
        argv: Sequence[bytes],
        *,
        env: Mapping[bytes, bytes],
        cwd: bytes | None,
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> None:
        self._process = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            close_fds=True,
        )
        self._waiting: asyncio.Task[int] | None = None
        self._started = 0
        with contextlib.suppress(OSError):  # no descriptor is left: told when asked for
            self._started = start_time(self._process.pid) or 0

    @property
    def pid(self) -> int:
        """Its process id, which is also its session's."""
        return self._process.pid

    @property
    def started(self) -> int:
        """When it started, as the kernel tells it: with the pid, its name for good."""
        if not self._started and self.returncode is None:
            with contextlib.suppress(OSError):
                self._started = start_time(self.pid) or 0
        return self._started

    @property
    def returncode(self) -> int | None:
        """The status as ``subprocess`` gives it (``-N`` for signal N), or ``None`` while it was not waited for."""
        return self._process.returncode

    def poll(self) -> int | None:
        """The status if it has ended already; reaps it."""
        return self._process.poll()

    def kill_group(self) -> None:
        """KILL it and its process group, which takes no descriptor; its number is its own until it is waited for."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """The status (``-N`` for signal N). Any number of tasks may wait; a cancelled one harms no other."""
        if self._process.poll() is not None:
            return self._process.returncode
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._wait())
        return await asyncio.shield(self._waiting)

    async def _wait(self) -> int:
        if not hasattr(os, "pidfd_open"):  # not Linux: a thread waits
            return await asyncio.to_thread(self._process.wait)
        loop = asyncio.get_running_loop()
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:  # no descriptor is left
            while self._process.poll() is None:  # noqa: ASYNC110 - nothing else can tell
                await asyncio.sleep(_LOOK_SECONDS)
            return self._process.returncode
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(fd, _set, ended)
        try:
            await ended
        finally:
            loop.remove_reader(fd)
            os.close(fd)
        return self._process.wait()


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def shell_status(returncode: int) -> int:
    """A status as shells report it: ``128 + N`` for a death by signal N."""
    return returncode if returncode >= 0 else 128 - returncode
