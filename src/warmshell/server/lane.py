"""One subshell: a warm shell that executes one command after another, each with pipes of its own."""

from __future__ import annotations

from collections import deque

from warmshell.protocol import frames
from warmshell.protocol.remote import RemoteCommand
from warmshell.protocol.request import compose
from warmshell.server.execution import Execution
from warmshell.server.life import GRACE, Life
from warmshell.server.snapshots import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmshell.protocol.dialect import Dialect
    from warmshell.protocol.request import Report
    from warmshell.server.site import Site

_MOST_WAITING = 8 * 1024 * 1024  # bytes of commands that wait for their turn
_MOST_RESULTS = 64  # kept until the client has acknowledged them, or sent another command
_PIECE = 256 * 1024  # bytes of output in one frame
_MOST_STATUS = 255  # that a short frame can say
_AGAIN_SECONDS = 0.1
_OWN = 10**12  # numbers of the server's own commands: no client's are as high


class Lane(Life):
    """One subshell: what it is given to do.

    Args:
        site: what all lanes share.
        number: its number.
        dialect: what kind of shell to start.
        blank: whether its environment is empty.

    Attributes:
        served: how many commands it was given.
    """

    def __init__(self, site: Site, number: int, dialect: Dialect, *, blank: bool = False) -> None:
        super().__init__(site, number, dialect, blank=blank)
        self.served = 0
        self._waiting: deque[tuple[Execution, int]] = deque()
        self._waiting_size = 0
        self._seen = 0
        self._own = _OWN
        self._results: dict[int, bytes] = {}
        self._snapshot: Snapshot | None = None
        self._outputs = 2  # how many of the two output streams the command can write to
        self._early: list[tuple[int, bytes]] = []  # read before it was known whether the command has started
        self._curious: list[Callable[[bytes | None], None]] = []

    def describe(self) -> dict[str, object]:
        """What a client may know of it."""
        state = "gone" if self.is_gone else "ending" if not self.alive else "idle" if self.busy is None else "busy"
        return {
            "subshell": self.number,
            "shell": self.dialect.name,
            "pid": None if self.child is None else self.child.pid,
            "state": state,
            "command": None if self.busy is None else self.busy.seq,
            "waiting": len(self._waiting),
            "served": self.served,
        }

    # -- commands ---------------------------------------------------------------------------------------------------

    def submit(self, command: RemoteCommand, size: int) -> None:
        """A command from the client; it waits for its turn.

        Args:
            command: what to run.
            size: bytes that it takes.
        """
        seq = command.seq
        execution = Execution(self._loop, command, lambda kind, data: self._send(kind, seq, data))
        if seq <= self._seen:
            self._repeat(execution)
            return
        self._seen = seq
        self._results.clear()  # who sends another has what came of those before it
        self.served += 1
        if not self.alive:
            execution.finish({"lost": "is gone", "started": "no"})
        elif self._waiting_size + size > _MOST_WAITING:
            execution.finish({"lost": "has too many commands waiting", "started": "no"})
        else:
            self._waiting.append((execution, size))
            self._waiting_size += size
            self.next()

    def _repeat(self, execution: Execution) -> None:
        """A number seen already is not run again; whoever asks again gets the same answer."""
        seq = execution.seq
        if seq in self._results:
            self._put(frames.RESULT, seq, self._results[seq])
        elif self._find(seq) is None:
            execution.finish({"lost": f"was given number {seq} before", "started": "yes"})

    def next(self) -> None:
        """Begin the next command, if it may begin now."""
        while self.alive and self.busy is None and self._waiting:
            if self._site.room(self.number) < 1:
                self._site.wait_for_room(self)
                return
            execution, size = self._waiting.popleft()
            self._waiting_size -= size
            self._begin(execution)

    def _begin(self, execution: Execution) -> None:
        command = execution.command
        try:
            request = self._request(execution)
        except (OSError, ValueError) as error:
            execution.finish({"lost": f"cannot run it: {error}", "started": "no"})
            return
        self.busy = execution
        self._reported = None
        self._early.clear()
        if command.timeout is not None:
            execution.timer = self._loop.call_later(command.timeout, self.end, GRACE, {"killed": True, "timeout": True})
        self._engine.submit(request)
        self._site.watch(self)

    def _request(self, execution: Execution) -> bytes:
        command = execution.command
        body = execution.body(self.dialect, self.blank)
        self._outputs = 2 if execution.acknowledges else body.outputs
        engine, prelude = self._engine, b""
        if execution.keeps_state:
            # The empty line: after a syntax error in an eval, bash misreads the first compound of the next line.
            prelude = engine.keep_state() + b"\n"
            if execution.told is None:
                prelude += self._writes(execution.seq) + b";"
        frame = engine.builtin_frame() if self._outputs < 2 else None
        return prelude + compose(
            body,
            frame or engine.frame(execution.stdin.open(), command.stdout, command.stderr),
            execution.seq,
            b"%s.%d" % (self.tag, execution.seq),
            cwd=command.cwd,
            base=self._site.base,
            acknowledge=execution.acknowledges,
        )

    def on_report(self, report: Report) -> None:
        execution = self.busy
        if execution is None or report.seq != execution.seq:
            raise ValueError(f"number {report.seq}")
        if report.event == "started":
            execution.acknowledged = True
            execution.stdin.opened()
            execution.send(frames.STARTED, b"")
            self._send_early(execution)
            self._tell_state()
            return
        self._reported = report.status
        if not self._ending:  # else it is told when all of it has ended
            self._complete(execution, report)

    def _complete(self, execution: Execution, report: Report) -> None:
        stdout, stderr = self._engine.rest(self._outputs)
        self._site.unwatch(self)
        self.busy = None
        outcome: dict[str, Any] = {"status": report.status}
        if report.event == "no-directory":
            outcome = {"no_directory": 1}
        elif _has_target(execution) and not execution.acknowledged:
            said = b"".join([data for _, data in self._early]) + stderr + self._engine.last_words()
            outcome = {"no_target": said.decode("utf-8", "replace").strip()}
        elif self._is_plain(execution, report, stdout, stderr):
            self._finish_plain(execution, report.status, stdout)
            return
        else:
            self._output(execution, stdout, stderr)
        if report.retire or not self.alive:
            self.alive = False
            outcome["retire"] = True
            self._drop_waiting()
        execution.finish(outcome)
        self._go_on()

    def _is_plain(self, execution: Execution, report: Report, stdout: bytes, stderr: bytes) -> bool:
        """Whether one short frame says all, as nearly always."""
        if stderr or report.retire or not self.alive or execution.told is not None:
            return False
        return report.status <= _MOST_STATUS and len(stdout) <= _PIECE

    def _finish_plain(self, execution: Execution, status: int, stdout: bytes) -> None:
        """It has ended, and there is nothing to say but its status and the last of its output."""
        execution.release()
        seq = execution.seq
        self._keep(seq, b'{"status": %d}' % status)
        self._site.put(self.number, frames.pack_ended(self.number, seq, status, stdout))
        self._go_on()

    def _go_on(self) -> None:
        if self._curious:
            self._tell_state()
        if self._waiting:
            self.next()

    def _send(self, kind: int, seq: int, data: bytes) -> None:
        if kind == frames.RESULT:
            self._keep(seq, data)
        self._put(kind, seq, data)

    def _keep(self, seq: int, result: bytes) -> None:
        self._results[seq] = result
        if len(self._results) > _MOST_RESULTS:
            del self._results[next(iter(self._results))]

    def _put(self, kind: int, seq: int, data: bytes) -> None:
        self._site.put(self.number, frames.pack_numbered(kind, self.number, seq, data))

    def _drop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for execution, _ in waiting:
            execution.finish({"lost": "has ended", "started": "no"})

    # -- the client's frames about a command ------------------------------------------------------------------------

    def _find(self, seq: int) -> Execution | None:
        if self.busy is not None and self.busy.seq == seq:
            return self.busy
        for execution, _ in self._waiting:
            if execution.seq == seq:
                return execution
        return None

    def on_input(self, seq: int, data: bytes | None) -> None:
        """Bytes of a command's standard input, or its end (``None``).

        Raises:
            ValueError: more than was granted.
        """
        execution = self._find(seq)
        if execution is None:
            return  # it has ended meanwhile
        if data is None:
            execution.stdin.end()
        else:
            execution.stdin.feed(data)

    def on_credit(self, seq: int, size: int) -> None:
        """The client takes so many bytes more of a command's output."""
        execution = self._find(seq)
        if execution is not None:
            execution.credit += size
            if execution is self.busy:
                self.on_room()

    def on_kill(self, seq: int, grace: float) -> None:
        """End a command, and the shell with it if it runs already."""
        execution = self._find(seq)
        if execution is not None and execution is self.busy:
            self.end(grace, {"killed": True})
        elif execution is not None:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not execution)
            execution.finish({"lost": "was told to end it before its turn", "started": "no"})

    def on_ack(self, seq: int) -> None:
        """The client has the result."""
        self._results.pop(seq, None)

    # -- output -----------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        if self.busy is None:
            return
        self.on_room()  # who is watched already may have waited for what it finds now
        if not self._engine.watch():  # no descriptor is left for it now
            self._loop.call_later(_AGAIN_SECONDS, self.watch)

    def confirm(self) -> None:
        """The command runs for a while: tell the client that it has begun, so that it knows when all else is lost."""
        execution = self.busy
        if execution is None or execution.acknowledged or execution.begun or execution.told is not None:
            return
        if self._engine.has_begun():
            execution.begun = True
            execution.send(frames.STARTED, b"")

    def on_output(self, index: int, data: bytes) -> None:
        execution = self.busy
        if execution is None or execution.told is not None:
            return
        execution.begun = True
        execution.credit -= len(data)
        if _has_target(execution) and not execution.acknowledged:
            self._early.append((index, data))  # perhaps the shell's own words: why a target cannot be opened
        else:
            execution.send(frames.STDOUT + index, data)
        self._refresh()

    def _send_early(self, execution: Execution) -> None:
        for index, data in self._early:
            execution.send(frames.STDOUT + index, data)
        self._early.clear()

    def take_rest(self, execution: Execution) -> None:
        self._send_early(execution)
        self._output(execution, *self._engine.rest())

    def _output(self, execution: Execution, stdout: bytes, stderr: bytes) -> None:
        if execution.told is not None:
            return
        for kind, rest in ((frames.STDOUT, stdout), (frames.STDERR, stderr)):
            for start in range(0, len(rest), _PIECE):
                execution.send(kind, rest[start : start + _PIECE])

    def _refresh(self) -> None:
        """How much may be read now."""
        credit = 0 if self.busy is None else self.busy.credit
        room = self._site.room(self.number)
        self._engine.room = min(credit, room)
        if room < 1 <= credit:
            self._site.wait_for_room(self)

    def on_room(self) -> None:
        """There may be room for output again, or for the next command."""
        if self.busy is None:
            self.next()
            return
        before = self._engine.room
        self._refresh()
        if before < 1 <= self._engine.room:
            self._engine.pump()

    def release(self) -> None:
        self._site.unwatch(self)
        self._drop_waiting()
        self._tell_state()
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    # -- state ------------------------------------------------------------------------------------------------------

    def _writes(self, seq: int) -> bytes:
        if self._snapshot is None:
            self._snapshot = Snapshot(self.dialect)
        return self._snapshot.script(seq)

    def state(self, told: Callable[[bytes | None], None]) -> None:
        """Have this shell's state, as it was after the last finished command.

        Args:
            told: gets shell text that gives it to another shell, or ``None`` if it cannot be had.
        """
        self._curious.append(told)
        self._tell_state()

    def _tell_state(self) -> None:
        """Answer those who ask for the state, as soon as it is known: while a command runs, or between two."""
        execution, snapshot = self.busy, self._snapshot
        if not self._curious:
            return
        if not self.alive:
            self._answer(None)
        elif execution is None:
            self._write_state()
        elif snapshot is not None and execution.acknowledged and snapshot.before == execution.seq:
            self._answer(snapshot.restoring())

    def _answer(self, text: bytes | None) -> None:
        curious, self._curious = self._curious, []
        for told in curious:
            told(text)

    def _write_state(self) -> None:
        """Let the idle shell write its state."""
        try:
            script = self._writes(-1)
        except OSError:
            self._answer(None)
            return
        self._execute(script, self._on_written)

    def _on_written(self) -> None:
        snapshot = self._snapshot
        self._answer(snapshot.restoring() if self.alive and snapshot is not None else None)

    def restore(self, text: bytes, told: Callable[[], None]) -> None:
        """Take over another shell's state."""
        self._execute(text, told)

    def _execute(self, script: bytes, told: Callable[[], None]) -> None:
        """Have the shell do something for the server itself, before all that waits."""
        self._own += 1
        command = RemoteCommand(self._own, script=script, keeps_state=True)
        execution = Execution(self._loop, command, _to_nobody)
        execution.told = told
        self._waiting.appendleft((execution, 0))
        self.next()


def _has_target(execution: Execution) -> bool:
    return execution.command.stdout is not None or execution.command.stderr is not None


def _to_nobody(_kind: int, _data: bytes) -> None:
    """Frames about the server's own commands go nowhere."""
