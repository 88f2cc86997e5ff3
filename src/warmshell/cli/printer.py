"""Shows outcomes one after another: whole jobs, in the order asked for, with the progress display between them."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from warmshell.cli.joblog import Joblog
from warmshell.cli.outcome import Outcome, joined
from warmshell.cli.output import Writer, write_out
from warmshell.cli.progress import Display
from warmshell.cli.results import Results

_MOST_BYTES = 64 * 1024 * 1024  # of output that waits for its turn
_MOST_FILES = 64  # that hold such output
_MOST_JOBS = 1000  # that have ended and wait


@dataclass(slots=True)
class Shown:
    """What is shown of every job, and where."""

    keep_order: bool = False
    tag: bool = False
    json: bool = False
    results: Results | None = None
    joblog: Joblog | None = None
    hosts: dict[str, str] = field(default_factory=dict)
    display: Display | None = None
    shared_terminal: bool = False  # standard output goes to the terminal that the display is drawn on


class Printer:
    """Takes outcomes as they come and has them written by the writer's thread.

    Args:
        shown: what to show.
        writer: the thread to write in.
    """

    def __init__(self, shown: Shown, writer: Writer) -> None:
        self._shown = shown
        self._writer = writer
        self._order: deque[int] = deque()  # numbers of the jobs in the order in which they were started
        self._ended: dict[int, Outcome] = {}
        self._ready: deque[Outcome] = deque()
        self._bytes = self._files = self._jobs = 0
        self._notes: deque[str] = deque()
        self._wake = asyncio.Event()
        self._line_is_open = False
        self._closing = False
        self.changed = asyncio.Event()

    def started(self, seq: int) -> None:
        """A job was started; with ``keep_order``, its turn is after those started before."""
        if self._shown.keep_order:
            self._order.append(seq)

    def put(self, outcome: Outcome) -> None:
        """A job has ended."""
        held, files = outcome.held()
        self._bytes, self._files, self._jobs = self._bytes + held, self._files + files, self._jobs + 1
        if not self._shown.keep_order:
            self._ready.append(outcome)
        else:
            self._ended[outcome.task.seq] = outcome
            while self._order and self._order[0] in self._ended:
                self._ready.append(self._ended.pop(self._order.popleft()))
        self._wake.set()

    def note(self, sentence: str) -> None:
        """Say something on standard error, after what is shown next."""
        self._notes.append(sentence)

    @property
    def full(self) -> bool:
        """Whether so much waits to be shown that no more jobs should start."""
        return self._bytes > _MOST_BYTES or self._files > _MOST_FILES or self._jobs > _MOST_JOBS

    def close(self) -> None:
        """No more outcomes come: show what is left, in order, and return from :meth:`run`."""
        for seq in sorted(self._ended):
            self._ready.append(self._ended.pop(seq))
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Show everything until closed.

        Raises:
            BrokenPipeError: the reader of our output has gone.
            OutputError: a file cannot be written.
        """
        while True:
            batch, self._ready = list(self._ready), deque()
            if batch:
                await self._writer.do(partial(self._show, batch))
                self._release(batch)
            elif self._closing:
                return
            else:
                self._wake.clear()
                await self._wait()

    async def _wait(self) -> None:
        if self._shown.display is None:
            await self._wake.wait()
            return
        try:
            await asyncio.wait_for(self._wake.wait(), 0.2)
        except TimeoutError:
            await self._writer.do(self._draw)

    def _release(self, batch: list[Outcome]) -> None:
        for outcome in batch:
            held, files = outcome.held()
            self._bytes, self._files, self._jobs = self._bytes - held, self._files - files, self._jobs - 1
        self.changed.set()

    # -- in the writer's thread ---------------------------------------------------------------------------------

    def _show(self, batch: list[Outcome]) -> None:
        shown = self._shown
        if shown.shared_terminal and shown.display is not None:
            write_out(2, shown.display.hide())
        quiet = shown.results is None and shown.joblog is None and not any(map(_says, batch))
        if quiet:  # only standard output: few large writes instead of one for every job
            self._write(1, joined(part for outcome in batch for part in self._output(outcome)))
        else:
            for outcome in batch:
                self._show_one(outcome)
        self._tell_notes()
        self._draw()

    def _tell_notes(self) -> None:
        while self._notes:
            self._write_beside(iter([f"warm: {self._notes.popleft()}\n".encode("utf-8", "surrogateescape")]))

    def _show_one(self, outcome: Outcome) -> None:
        shown = self._shown
        if shown.results is not None:
            shown.results.write(outcome.task.rows, outcome.task.seq, outcome.stream("stdout"), outcome.stream("stderr"))
        self._write(1, joined(self._output(outcome)))
        if not shown.json and shown.results is None:
            self._write_beside(outcome.plain("stderr", tag=shown.tag))
        complaint = outcome.complaint()
        if complaint is not None and not shown.json:
            self._write_beside(iter([f"warm: {complaint}\n".encode("utf-8", "surrogateescape")]))
        if shown.joblog is not None:
            shown.joblog.write(outcome.entry(shown.hosts.get(outcome.location, outcome.location or ":")))

    def _output(self, outcome: Outcome) -> Iterator[bytes]:
        if self._shown.json:
            return outcome.json()
        if self._shown.results is not None:
            return iter(())
        return outcome.plain("stdout", tag=self._shown.tag)

    def _write(self, fd: int, parts: Iterator[bytes]) -> None:
        for part in parts:
            write_out(fd, part)
            self._line_is_open = self._shown.shared_terminal and not part.endswith(b"\n")

    def _write_beside(self, parts: Iterator[bytes]) -> None:
        """Write to standard error, where the progress display may stand."""
        for part in parts:
            if self._shown.display is not None:
                write_out(2, self._shown.display.hide())
            write_out(2, part)
            self._line_is_open = not part.endswith(b"\n")

    def _draw(self, *, last: bool = False) -> None:
        display = self._shown.display
        if display is not None and (last or not self._line_is_open):
            write_out(2, display.show(time.monotonic(), last=last))

    async def finish(self) -> None:
        """Leave the last state of the display behind."""
        if self._shown.display is not None:
            self._line_is_open = False
            await self._writer.do(lambda: self._draw(last=True))


def _says(outcome: Outcome) -> bool:
    """Whether the job has anything for standard error."""
    stderr = outcome.stream("stderr")
    return stderr.spilled or bool(stderr.read()) or outcome.complaint() is not None


def same_terminal(one: int, other: int) -> bool:
    """Whether two descriptors are the same terminal."""
    try:
        return os.isatty(one) and os.isatty(other) and os.ttyname(one) == os.ttyname(other)
    except OSError:
        return False
