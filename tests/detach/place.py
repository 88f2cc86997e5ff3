"""A place without a network: the far end is a process of this machine, whose streams can be cut at any byte."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
from pathlib import Path

from warmshell.attached import Attached
from warmshell.child import shell_status
from warmshell.connector import place as backend
from warmshell.detached import sessions_at
from warmshell.errors import ClosedError
from warmshell.fdstream import FdReceiveStream, FdSendStream
from warmshell.process import ByteReceiveStream, ByteSendStream, Process
from warmshell.protocol.dialect import dialect
from warmshell.server import pack
from warmshell.shell.detachable import Detach, DetachableSession
from warmshell.shell.server_lane import ServerLane
from warmshell.shell.session import new_token
from warmshell.testing import eventually_sync


class Budget:
    """How many bytes pass before the line is cut; both directions share it."""

    def __init__(self, left=None):
        self.left = left

    def take(self, size):
        if self.left is None:
            return size
        taken = min(size, self.left)
        self.left -= taken
        return taken


class CutReceive(ByteReceiveStream):
    def __init__(self, process, near):
        self._process, self._near = process, near

    async def receive(self, max_bytes=65536):
        if self._process.is_cut:
            return b""
        try:
            data = await self._near.receive(max_bytes)
        except ClosedError:
            return b""
        kept = data[: self._process.budget.take(len(data))]
        if len(kept) < len(data):
            self._process.cut()
        return kept

    def rest(self):
        return b""

    async def aclose(self):
        await self._near.aclose()


class CutSend(ByteSendStream):
    def __init__(self, process, near):
        self._process, self._near = process, near

    async def send(self, data):
        if self._process.is_cut:
            raise BrokenPipeError
        kept = data[: self._process.budget.take(len(data))]
        try:
            await self._near.send(kept)
        except ClosedError:
            raise BrokenPipeError from None
        if len(kept) < len(data):
            self._process.cut()
            raise BrokenPipeError

    async def aclose(self):
        await self._near.aclose()


class CutProcess(Process):
    """A process whose connection can be cut."""

    def __init__(self, line, env, budget):
        self.budget = budget
        self.is_cut = False
        self.process = subprocess.Popen(
            ["sh", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env,
            start_new_session=True, bufsize=0,
        )  # fmt: skip
        self._in = FdSendStream(os.dup(self.process.stdin.fileno()))
        self._out = FdReceiveStream(os.dup(self.process.stdout.fileno()))
        self.process.stdin.close()
        self.process.stdout.close()
        self.stdin, self.stdout, self.stderr = CutSend(self, self._in), CutReceive(self, self._out), NoStream()

    def cut(self):
        """What a lost connection is to both sides: the streams end, in the middle of whatever there was."""
        if not self.is_cut:
            self.is_cut = True
            self._in.close()
            self._out.close()
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)

    async def wait(self):
        return shell_status(await asyncio.to_thread(self.process.wait))

    async def kill(self, grace=0.0):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.wait()

    async def aclose(self):
        self._in.close()
        self._out.close()
        await self.kill()


class NoStream(ByteReceiveStream):
    async def receive(self, max_bytes=65536):
        return b""

    async def aclose(self):
        pass


class Place:
    """Where sessions live, and the lines to it."""

    def __init__(self, home):
        self.home = Path(home)
        self.env = {**os.environ, "HOME": str(home)}
        self.env.pop("XDG_CACHE_HOME", None)
        self.budgets = itertools.repeat(None)
        self.lines = []
        self.down = False

    async def reopen(self, line):
        if self.down:
            raise ConnectionRefusedError("no way there")
        process = CutProcess(line, self.env, Budget(next(self.budgets)))
        self.lines.append(process)
        return process

    def cut(self):
        self.lines[-1].cut()

    def attach(self, session):
        return Attached(FarPlace(self), session)

    async def sessions(self):
        return await sessions_at(FarPlace(self))

    def clean(self):
        for line in self.lines:
            line.cut()
            line.process.wait()
        try:
            eventually_sync(lambda: not self.directories, 20, lambda: f"left: {self.directories}")
        except AssertionError:
            for note in self.home.glob(".cache/warmshell/*/info.json"):
                with contextlib.suppress(OSError):
                    os.kill(json.loads(note.read_text())["pid"], signal.SIGTERM)
            raise

    @property
    def directories(self):
        base = self.home / ".cache/warmshell"
        return sorted(path.name for path in base.iterdir()) if base.exists() else []

    async def session(self, **options):
        token = new_token()
        session = DetachableSession(
            await self.reopen(pack.start_line(token)), token, "place", reopen=self.reopen, detach=Detach(**options)
        )
        await session.start(pack.archive(), token=os.urandom(16).hex())
        return session

    async def attached(self, session_id, **options):
        token = new_token()
        session = DetachableSession(
            await self.reopen(pack.attach_line(token, session_id)), token, "place", reopen=self.reopen,
            detach=Detach(session=session_id), **options,
        )  # fmt: skip
        await session.take_over()
        return session


class FarPlace(backend.Place):
    """A location at such a place."""

    def __init__(self, place, **options):
        self.name = "place"
        self.place = place
        self.options = options
        self._session = None

    @property
    def session(self):
        return self._session

    @property
    def framing(self):
        return "server"

    async def connect(self):
        self._session = await self.place.session(**self.options)

    @staticmethod
    async def lane_of(session):
        lane = ServerLane("sh", dialect("sh"), "place", session, "sh")
        await lane.start()
        return lane

    async def reach(self):
        pass

    async def reopen(self, line):
        return await self.place.reopen(line)

    async def aclose(self):
        if self.session is not None:
            await self.session.aclose()

    async def open(self, command):
        raise NotImplementedError

    async def lane(self, shell, *, blank=False):
        lane = ServerLane(shell, dialect(shell), self.name, self.session, shell, blank=blank)
        await lane.start()
        return lane

    def room(self):
        return 100_000
