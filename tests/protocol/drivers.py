"""Two small blocking drivers of a warm shell, so that requests can be tried without an event loop."""

from __future__ import annotations

import itertools
import os
import secrets
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from warmshell.protocol import markers, pipes
from warmshell.protocol.dialect import Dialect
from warmshell.protocol.quoting import quote
from warmshell.protocol.request import TAG, Body, Report, compose, enter, parse_report

from .real_shells import ENV

PATIENCE = 60.0  # until a shell that does not answer fails the test


class NoAnswer(AssertionError):
    """The shell did not answer; what it wrote instead."""


@dataclass
class Answer:
    """What came of one request."""

    reports: list[Report]
    stdout: bytes
    stderr: bytes

    @property
    def event(self) -> str:
        return self.reports[-1].event

    @property
    def status(self) -> int:
        return self.reports[-1].status

    def __iter__(self):
        return iter((self.status, self.stdout, self.stderr))


class Driver:
    """What both framings share: one shell, numbered requests."""

    framing = ""

    def __init__(self, dialect: Dialect, base: Path, env: dict[bytes, bytes] | None = None) -> None:
        self.dialect = dialect
        self.base = bytes(base)
        self.seq = 0
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            dialect.argv,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=base,
            env={**ENV, **(env or {})},
            start_new_session=True,
        )
        self.deadline = time.monotonic() + PATIENCE

    def __enter__(self) -> Self:
        self.greet(b"export %s;%s 2>/dev/null;unset OLDPWD;" % (TAG, enter(self.base)))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def greet(self, text: bytes) -> None:
        raise NotImplementedError

    def run(self, body: Body, **options) -> Answer:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def readable(self, *fds: int) -> list[int]:
        left = self.deadline - time.monotonic()
        ready = select.select(fds, [], [], max(left, 0))[0] if left > 0 else []
        if not ready:
            raise NoAnswer("the shell does not answer")
        return ready


class MarkerDriver(Driver):
    """Markers in the shell's own streams."""

    framing = "markers"

    def greet(self, text: bytes) -> None:
        self.cutters = markers.StreamCutter(), markers.StreamCutter()
        self.write(markers.INIT + text + b"\n")

    def run(
        self, body: Body, *, cwd: bytes | None = None, stdin: bytes = b"</dev/null", acknowledge: bool = True
    ) -> Answer:
        assert acknowledge, "the marker of the start is what output begins after"
        self.seq += 1
        marker = secrets.token_hex(16).encode()
        frame = markers.marker_frame(marker, stdin, None, None)
        for cutter in self.cutters:
            cutter.expect(marker)
        self.write(compose(body, frame, self.seq, b"t.%d" % self.seq, cwd=cwd, base=self.base, acknowledge=True))
        output = [b"", b""]
        fds = self.process.stdout.fileno(), self.process.stderr.fileno()
        reports: list[Report] = []
        while not reports or reports[-1].event == "started" or len(self.cutters[1].lines) < len(reports):
            for fd in self.readable(*fds):
                data = os.read(fd, 65536)
                if not data:
                    raise NoAnswer(f"the shell ended: {output}")
                output[fds.index(fd)] += b"".join(self.cutters[fds.index(fd)].feed(data))
                reports = [parse_report(line) for line in self.cutters[0].lines]
        assert all(report.seq == self.seq for report in reports)
        return Answer(reports, *output)


class PipeDriver(Driver):
    """Pipes of its own for every request; the shell's own streams are noise."""

    framing = "pipes"

    def greet(self, text: bytes) -> None:
        self.status, writer = os.pipe()
        self.rest = b""
        self.write(pipes.init(os.getpid(), writer, writer) + text + b"\\echo 0 0 >&9\n")
        assert self.report().seq == 0
        os.close(writer)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        os.close(self.status)

    def report(self) -> Report:
        while b"\n" not in self.rest:
            self.readable(self.status)
            data = os.read(self.status, 4096)
            if not data:
                raise NoAnswer(f"the shell ended: {self.process.stderr.read()!r}")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return parse_report(line)

    def run(
        self, body: Body, *, cwd: bytes | None = None, stdin: bytes = b"</dev/null", acknowledge: bool = False
    ) -> Answer:
        self.seq += 1
        ends = [os.pipe2(os.O_NONBLOCK) for _ in range(2)]
        names = [pipes.proc_fd(os.getpid(), reader) for reader, _ in ends]
        frame = pipes.pipe_frame(stdin, b">" + names[0], b"2>" + names[1])
        self.write(compose(body, frame, self.seq, b"t.%d" % self.seq, cwd=cwd, base=self.base, acknowledge=acknowledge))
        output = {reader: b"" for reader, _ in ends}
        reports: list[Report] = []
        try:
            while not reports or reports[-1].event == "started":
                if b"\n" in self.rest or self.status in self.readable(self.status, *output):
                    reports.append(self.report())
                self._drain(output)
        finally:
            for fd in itertools.chain(*ends):
                os.close(fd)
        assert all(report.seq == self.seq for report in reports)
        return Answer(reports, *output.values())

    @staticmethod
    def _drain(output: dict[int, bytes]) -> None:
        for reader in output:
            try:
                while data := os.read(reader, 65536):
                    output[reader] += data
            except BlockingIOError:
                continue


def to(path: Path) -> bytes:
    """A redirection of standard input from a file."""
    return b"<" + quote(bytes(path))
