"""What came of one job, and how it is shown: the exact output in groups, tags, JSON lines, log entries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from warmshell.cli.joblog import Entry
from warmshell.cli.jobs import Task
from warmshell.cli.output import is_text, json_base64, json_text, tagged
from warmshell.cli.sources import readable
from warmshell.command import Output, Result
from warmshell.errors import CommandTimeout, WarmshellError

_TERM = 15
_FAILED = 1
_NOTHING = Output()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job that ended.

    Attributes:
        task: the job.
        command: its sh text.
        result: its result; ``None`` when there is none, because of the error.
        error: why there is no status, if there is none.
        attempts: how often it was run.
        started: seconds since the epoch, of the last attempt.
        ended: seconds since the epoch.
    """

    task: Task
    command: str
    result: Result | None
    error: WarmshellError | None
    attempts: int
    started: float
    ended: float

    @property
    def status(self) -> int:
        """0 exactly when the job succeeded."""
        return self.result.returncode if self.result is not None and self.error is None else _FAILED

    @property
    def signal(self) -> int:
        """The number of the signal that ended the command, or 0."""
        if self.error is not None:
            return _TERM if isinstance(self.error, CommandTimeout) else 0
        return int(self.result.signal or 0) if self.result is not None else 0

    @property
    def location(self) -> str:
        """Where it ran."""
        where = self.result.location if self.result is not None else ""
        return where or (self.error.location if self.error is not None else "") or ""

    def stream(self, name: str) -> Output:
        """The captured bytes of ``stdout`` or ``stderr``."""
        return self.result.output(name) if self.result is not None else _NOTHING

    def held(self) -> tuple[int, int]:
        """Bytes in memory and files open for its output."""
        streams = [self.stream("stdout"), self.stream("stderr")]
        return sum(len(s) for s in streams if not s.spilled), sum(s.spilled for s in streams)

    def plain(self, stream: str, *, tag: bool) -> Iterator[bytes]:
        """The bytes of one stream as they are shown."""
        parts = self.stream(stream).chunks()
        if not tag:
            return parts
        label = " ".join(self.task.args).encode("utf-8", "surrogateescape") + b"\t"
        return tagged(parts, label)

    def json(self) -> Iterator[bytes]:
        """The job as one JSON object and a newline, in pieces."""
        fields = {
            "seq": self.task.seq,
            "command": self.command,
            "args": self.task.args,
            "returncode": None if self.error is not None else self.status,
            "signal": self.signal or None,
            "started": round(self.started, 6),
            "duration": round(self.ended - self.started, 6),
            "location": self.location,
            "attempts": self.attempts,
        }
        if self.error is not None:
            fields["error"] = str(self.error)
        yield json.dumps(fields)[:-1].encode()
        for name in ("stdout", "stderr"):
            output = self.stream(name)
            if is_text(output):
                yield f', "{name}": '.encode()
                yield from json_text(output)
            else:
                yield f', "{name}": null, "{name}_base64": '.encode()
                yield from json_base64(output)
        yield b"}\n"

    def entry(self, host: str) -> Entry:
        """The job as a line of the joblog."""
        received = len(self.stream("stdout"))
        exitval = -1 if self.error is not None else 0 if self.signal else self.status
        runtime = self.ended - self.started
        return Entry(self.task.seq, host, self.started, runtime, received, exitval, self.signal, self.command)

    def complaint(self) -> str | None:
        """What to say on standard error, when something other than the command's own failure ended it."""
        if isinstance(self.error, CommandTimeout):
            took = self.ended - self.started
            return f"job {self.task.seq} was ended after {took:.1f} s, its time limit: {readable(self.command)}"
        if self.error is not None:
            return f"job {self.task.seq} failed: {self.error}"
        return None


def joined(parts: Iterable[bytes], least: int = 65536) -> Iterator[bytes]:
    """The same bytes in pieces large enough to be worth a system call each."""
    gathered: list[bytes] = []
    length = 0
    for part in parts:
        gathered.append(part)
        length += len(part)
        if length >= least:
            yield b"".join(gathered)
            gathered, length = [], 0
    if gathered:
        yield b"".join(gathered)
