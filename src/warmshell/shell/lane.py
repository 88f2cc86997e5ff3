"""A lane: one warm shell process that executes one command at a time.

What a command becomes as shell text is decided in :mod:`warmshell.protocol`, when it ends by the framing; this module
holds what all framings share.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from warmshell.command import Command, Output, Result
from warmshell.errors import OutputError, ShellLost, WorkdirError
from warmshell.protocol.request import Body, script_body, words_body
from warmshell.shell.capture import Capture
from warmshell.shell.diagnose import no_target

if TYPE_CHECKING:
    from warmshell.errors import Started
    from warmshell.protocol.dialect import Dialect

GRACE = 1.0
"""Seconds between TERM and KILL."""


class NoDirectory(WorkdirError):
    """The shell could not enter the working directory; why is not known yet."""


class Execution:
    """One command on its way through a lane.

    Attributes:
        done: gets the result, or the error that kept the command from having one.
        acknowledged: whether the shell has said that the command starts.
        outputs: how many of the two output streams it can write to.
    """

    __slots__ = (
        "_beginning",
        "acknowledged",
        "command",
        "done",
        "keeps_state",
        "outputs",
        "seq",
        "started",
        "stderr",
        "stdout",
        "tag",
    )

    def __init__(self, command: Command, seq: int, tag: bytes, done: asyncio.Future[Result], keeps_state: bool) -> None:
        self.command = command
        self.seq = seq
        self.tag = tag
        self.done = done
        self.keeps_state = keeps_state
        self.acknowledged = False
        self.outputs = 2
        self._beginning: asyncio.Future[None] | None = None
        self.started = time.time()
        self.stdout: Capture | None = None
        self.stderr: Capture | None = None

    async def beginning(self) -> None:
        """Return when the shell has said that the command starts, or when it has ended."""
        if self._beginning is None:
            self._beginning = asyncio.get_running_loop().create_future()
            self.done.add_done_callback(lambda _: self._begun())
        if not self.acknowledged and not self.done.done():
            await asyncio.shield(self._beginning)

    def acknowledge(self) -> None:
        """The shell has said that the command starts."""
        self.acknowledged = True
        self._begun()

    def _begun(self) -> None:
        if self._beginning is not None and not self._beginning.done():
            self._beginning.set_result(None)

    def captured(self) -> tuple[Capture, Capture]:
        """Where its output is collected; made when the first of it arrives."""
        if self.stdout is None or self.stderr is None:
            self.stdout = Capture(self.command.output_limit)
            self.stderr = Capture(self.command.output_limit)
        return self.stdout, self.stderr


class Lane(ABC):
    """One warm shell.

    Attributes:
        id: its name in results, such as ``dash-3``.
        dialect: what kind of shell it is.
        location: the name of the location, for results and errors.
        alive: whether it can be given a command; once False it stays False.
        born: when it was started, on the event loop's clock.
        idle_since: when its last command ended.
        served: how many commands it was given.
        busy: the command it executes now.
        own_pipes: whether it shares this machine's descriptors with its driver.
    """

    own_pipes = False

    def __init__(self, lane_id: str, dialect: Dialect, location: str, token: bytes, base: bytes) -> None:
        self.id = lane_id
        self.dialect = dialect
        self.location = location
        self.token = token
        self.base = base
        self.alive = False
        self.served = 0
        self.busy: Execution | None = None
        self.loop = asyncio.get_running_loop()
        self.born = self.idle_since = self.loop.time()

    @abstractmethod
    async def start(self) -> None:
        """Start the shell and wait until it answers.

        Raises:
            ConnectError: it cannot be started, or does not answer.
        """

    @abstractmethod
    def begin(self, command: Command, body: Body, *, keeps_state: bool = False, prelude: bytes = b"") -> Execution:
        """Hand over a command; what comes of it arrives in the execution's ``done``.

        Args:
            command: what to run.
            body: the command as shell text.
            keeps_state: whether it runs in the shell itself, whose state it changes and which it may end.
            prelude: shell text before it, in the shell itself.

        Raises:
            ShellLost: the shell is gone; nothing was run.
        """

    @abstractmethod
    async def end(self, grace: float = GRACE) -> Result | None:
        """End the shell, its command and all its descendants; what the command had written until then."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let an idle shell go, end a busy one."""

    async def copy(self, lane_id: str) -> Lane | None:  # noqa: ARG002 - for lanes that can
        """A new lane with this one's state as it was after the last finished command; ``None``: it must be printed."""
        return None

    def may_write_files(self) -> bool:
        """Whether the shell may write files of any usual size; beyond its limit it would be killed."""
        return True

    def body(self, command: Command) -> Body:
        """An isolated command as shell text."""
        # In a shell that was started with an empty environment, env_only is all there is.
        env = command.env if command.env_only is None else {**command.env_only, **(command.env or {})}
        only = command.env_only is not None
        if command.script is not None:
            return script_body(self.dialect, command.script, env, only=only)
        return words_body(self.dialect, command.argv, env, only=only)

    def next_execution(self, command: Command, *, keeps_state: bool) -> Execution:
        """Number the next command.

        Raises:
            ShellLost: the shell is gone; nothing was run.
        """
        if not self.alive or self.busy is not None:
            raise self.lost("no", command, "is gone" if not self.alive else "is busy")
        self.served += 1
        tag = b"%s.%d" % (self.token, self.served)
        execution = self.busy = Execution(command, self.served, tag, self.loop.create_future(), keeps_state)
        return execution

    def result(self, execution: Execution, status: int, stdout: bytes | Output, stderr: bytes | Output) -> Result:
        """The result of a command that has ended."""
        return Result(
            status, stdout, stderr, started=execution.started, ended=time.time(),
            location=self.location, shell=self.id, command=execution.command,
        )  # fmt: skip

    def partial(self, execution: Execution) -> Result:
        """What a command that did not come to its end has written."""
        stdout, stderr = execution.captured()
        return self.result(execution, -1, stdout.value(), stderr.value())

    def lost(self, started: Started, command: Command, why: str, hint: str | None = None) -> ShellLost:
        """The error for a command that got no result."""
        return ShellLost(
            f"the shell {self.id} {why}",
            started=started,
            command=str(command),
            location=self.location,
            hint=hint,
        )

    def give_up(self, execution: Execution | None) -> None:
        """The shell is being ended, and with it its command, which gets no result any more."""
        if execution is not None and not execution.done.done():
            started: Started = "yes" if execution.acknowledged else "unknown"
            execution.done.set_exception(self.lost(started, execution.command, "was closed"))

    def no_directory(self, command: Command) -> NoDirectory:
        """The error for a working directory that could not be entered."""
        where = (command.cwd or b"").decode("utf-8", "replace")
        return NoDirectory(
            f"the working directory {where!r} cannot be entered", command=str(command), location=self.location
        )

    def no_target(self, command: Command, said: bytes) -> OutputError:
        """The error for a ``stdout=`` or ``stderr=`` that cannot be opened."""
        return no_target(command, self.location, said)

    def __repr__(self) -> str:
        state = "busy" if self.busy else "idle" if self.alive else "gone"
        return f"<{type(self).__name__} {self.id} at {self.location}: {state}, served {self.served}>"
