"""The life of one warm shell of the session server: how it starts, ends, is ended, and what comes of its command."""

from __future__ import annotations

import os

from warmshell.server.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmshell.protocol.dialect import Dialect
    from warmshell.protocol.request import Report
    from warmshell.server.children import Child
    from warmshell.server.execution import Execution
    from warmshell.server.loop import Timer
    from warmshell.server.site import Site

GRACE = 1.0
"""Seconds between TERM and KILL."""

_START_SECONDS = 20.0
_HANG_UP_SECONDS = 2.0
_LATE_SECONDS = 0.5  # for the end of a pipe after the end of the process that held it


class Life:
    """One warm shell; what it does meanwhile is a subclass's matter.

    Args:
        site: what all shells share.
        number: the number of its subshell.
        dialect: what kind of shell to start.
        blank: whether its environment is empty.

    Attributes:
        busy: the command that it executes now.
        alive: whether it can be given commands.
        child: its process.
        is_gone: whether it and all it had started have ended.
    """

    def __init__(self, site: Site, number: int, dialect: Dialect, *, blank: bool = False) -> None:
        self._site = site
        self._loop = site.loop
        self.number = number
        self.dialect = dialect
        self.blank = blank
        self.tag = b"%s.%d" % (site.token, number)
        self.busy: Execution | None = None
        self.alive = False
        self.is_gone = False
        self.child: Child | None = None
        self._engine = Engine(self._loop, self)
        self._told_start: Callable[[OSError | None], None] | None = None
        self._silent = False  # nobody has its standard output open any more
        self._timer: Timer | None = None
        self._ending = self._burying = self._awaits_exit = False
        self._told_end: list[Callable[[], None]] = []
        self._grace = GRACE
        self._verdict: dict[str, Any] | None = None
        self._reported: int | None = None

    # -- starting ---------------------------------------------------------------------------------------------------

    def start(self, told: Callable[[OSError | None], None]) -> None:
        """Start the shell.

        Args:
            told: called when it answers (with ``None``), or with why it does not.

        Raises:
            OSError: it cannot be started.
        """
        try:
            stdin, output = self._engine.open()
            try:
                self._site.children.check_room(stdin)
                self.child = self._site.spawn(self.dialect.argv, self.tag, self.blank, stdin, output, self._on_exit)
            finally:
                os.close(stdin)
                os.close(output)
        except OSError:
            self._engine.close()
            raise
        self._told_start = told
        self._timer = self._loop.call_later(_START_SECONDS, self._fail_start, "does not answer")
        self._engine.greet(self._site.base, self.blank)

    def on_ready(self, ready: bool) -> None:
        """The shell has answered its greeting, or will never."""
        self._silent = not ready
        if not ready:
            self._check_start()
        elif self._told_start is not None:
            told, self._told_start = self._told_start, None
            self._cancel_timer()
            self._engine.greeted()
            self.alive = True
            told(None)

    def _check_start(self) -> None:
        """Whether it ended before it answered: when both its end and its last words are known."""
        if self._told_start is not None and self._silent and self.child is not None and self.child.code is not None:
            self._fail_start(f"ended with status {_status(self.child.code)}")

    def _fail_start(self, why: str) -> None:
        told, self._told_start = self._told_start, None
        if told is None:
            return
        said = self._engine.words.decode("utf-8", "replace").strip()
        shell = b" ".join(self.dialect.argv).decode("utf-8", "replace")
        told(OSError(f"the shell {shell!r} {why}" + (f": {said}" if said else "")))
        self.end(0.0)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- the end it comes to by itself ------------------------------------------------------------------------------

    def on_gone(self) -> None:
        """The status pipe has ended: the shell is gone, or its process is another program now (``exec``)."""
        if self._ending or self._burying or self.child is None or self._told_start is not None:
            return
        self.alive = False
        self._burying = True
        execution = self.busy
        if execution is not None and not execution.acknowledged and self._engine.has_not_read():
            self._verdict = {"started": "no"}
        if self.child.code is not None:
            self._after_death()
        elif execution is not None and execution.keeps_state:
            self._awaits_exit = True
            self.watch()
        else:
            grace = 0.0 if execution is None else GRACE
            self._site.killer.end_shell(self.child, self.tag, grace, self._after_death)

    def _on_exit(self, _code: int) -> None:
        self._check_start()
        if self._awaits_exit:
            self._awaits_exit = False
            self._after_death()
        elif not self._ending and not self._burying:  # its status pipe will say so, unless somebody else holds that
            self._loop.call_later(_LATE_SECONDS, self.on_gone)

    def _after_death(self) -> None:
        self._site.killer.end_left(self.tag, self._grace, self._buried)

    def _buried(self) -> None:
        execution, code = self.busy, None if self.child is None else self.child.code
        if execution is not None and not self._ending:
            if execution.keeps_state and code is not None and code >= 0:
                self._verdict = {"shell_ended": code}
            else:
                started = execution.started() if self._verdict is None else self._verdict["started"]
                self._verdict = {"lost": _cause(code), "started": started}
        self._finish()

    # -- the end it is brought to -----------------------------------------------------------------------------------

    def end(self, grace: float, verdict: dict[str, Any] | None = None, told: Callable[[], None] | None = None) -> None:
        """End the shell and everything that it has started: TERM, grace, KILL.

        Args:
            grace: seconds between TERM and KILL.
            verdict: what becomes of its command.
            told: called when all is over.
        """
        if told is not None:
            if self.is_gone:
                told()
                return
            self._told_end.append(told)
        if self._ending or self.is_gone:
            return
        self.alive = False
        self._ending = True
        self._verdict = verdict or {"killed": True}
        if self.child is None:
            self._finish()
            return
        self.watch()
        self._site.killer.end_shell(self.child, self.tag, grace, self._on_killed)

    def _on_killed(self) -> None:
        self._site.killer.end_left(self.tag, 0.0, self._finish)

    def let_go(self, grace: float, told: Callable[[], None], verdict: dict[str, Any] | None = None) -> None:
        """Let an idle shell end by itself, end a busy one; what it has left in the background is ended.

        Args:
            grace: seconds between TERM and KILL.
            told: called when all is over.
            verdict: what becomes of its command.
        """
        if not self.alive or self.busy is not None:
            self.end(grace, verdict, told)
            return
        self._told_end.append(told)
        self.alive = False
        self._grace = grace
        self._burying = self._awaits_exit = True
        self._timer = self._loop.call_later(_HANG_UP_SECONDS, self.end, grace)
        self._engine.hang_up()

    def on_broken(self, why: str) -> None:
        """The framing is not certain any more."""
        self.end(GRACE, {"lost": why, "started": "yes"})

    def _finish(self) -> None:
        """All has ended: say what came of it, give everything back."""
        if self.is_gone:
            return
        self.alive = False
        self.is_gone = True
        self._cancel_timer()
        execution = self.busy
        if execution is not None:
            if self._engine.is_open:
                self.take_rest(execution)
            self.busy = None
            execution.finish(self._judge())
        self._engine.close()
        self.release()
        told, self._told_end = self._told_end, []
        for each in told:
            each()

    def _judge(self) -> dict[str, Any]:
        verdict = self._verdict or {"killed": True}
        if "killed" in verdict:
            code = None if self.child is None else self.child.code
            status = self._reported if self._reported is not None else _status(-9 if code is None else code)
            verdict = {**verdict, "status": status}
        return verdict

    # -- a subclass's matter ----------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Read the command's output as it comes."""
        raise NotImplementedError

    def take_rest(self, execution: Execution) -> None:
        """Take what the command has left in its pipes."""
        raise NotImplementedError

    def release(self) -> None:
        """Give back everything else."""
        raise NotImplementedError

    def on_report(self, report: Report) -> None:
        """A command starts, or has ended."""
        raise NotImplementedError

    def on_output(self, index: int, data: bytes) -> None:
        """The running command has written."""
        raise NotImplementedError


def _status(code: int) -> int:
    return code if code >= 0 else 128 - code


def _cause(code: int | None) -> str:
    if code is None:
        return "does not end"
    return f"ended with status {code}" if code >= 0 else f"was killed by signal {-code}"
