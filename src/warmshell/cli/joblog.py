"""The job log, in GNU parallel's columns and format, so that its readers and ``--resume`` work with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from warmshell.errors import InputError, OutputError

HEADER = b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
_COLUMNS = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a job that ended.

    Attributes:
        seq: the number of the job, from 1.
        host: the location; ``:`` is this machine.
        started: seconds since the epoch.
        runtime: seconds.
        receive: bytes of standard output.
        exitval: the exit status; 0 for a death by signal, -1 when it was ended from here (time limit).
        signal: the number of the signal that ended it, or 0.
        command: the sh text.
    """

    seq: int
    host: str
    started: float
    runtime: float
    receive: int
    exitval: int
    signal: int
    command: str

    @property
    def ok(self) -> bool:
        """Whether the job succeeded."""
        return self.exitval == 0 and self.signal == 0

    def line(self) -> bytes:
        """The entry as a line of the log; a newline within the command is a NUL byte there, as the original has it."""
        columns = (
            f"{self.seq}\t{self.host}\t{self.started:10.3f}\t{self.runtime:10.3f}\t0\t{self.receive}"
            f"\t{self.exitval}\t{self.signal}\t{self.command}"
        )
        return columns.replace("\n", "\0").encode("utf-8", "surrogateescape") + b"\n"


def parse_line(line: bytes) -> Entry:
    """The entry of one line, without its newline.

    Raises:
        ValueError: it is not one.
    """
    columns = line.split(b"\t", _COLUMNS - 1)
    if len(columns) != _COLUMNS:
        raise ValueError("not nine columns")
    seq, host, started, runtime, _, receive, exitval, signal, command = columns
    text = command.replace(b"\0", b"\n").decode("utf-8", "surrogateescape")
    where = host.decode("utf-8", "surrogateescape")
    return Entry(int(seq), where, float(started), float(runtime), int(receive), int(exitval), int(signal), text)


def parse(data: bytes, name: str = "the joblog") -> tuple[dict[int, Entry], int]:
    """The last entry of every job, and how many bytes of the log are whole lines.

    A last line without its newline was cut off by a crash: it is left out.

    Raises:
        InputError: it is not a joblog.
    """
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    if data and (not lines or lines[0] + b"\n" != HEADER):
        raise InputError(f"{name} is not a joblog: its first line is not the header")
    entries: dict[int, Entry] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            entry = parse_line(line)
        except ValueError:
            raise InputError(f"{name} is not a joblog: line {number} does not have its columns") from None
        entries[entry.seq] = entry
    return entries, whole


def unfinished(entries: dict[int, Entry], *, failed: bool) -> Callable[[int], bool]:
    """Which jobs are still to run: those not in the log and, with ``failed``, those that failed."""
    done = {seq for seq, entry in entries.items() if entry.ok or not failed}
    return lambda seq: seq not in done


class Joblog:
    """The open log; every entry is one write, so that a crash leaves whole lines.

    Args:
        path: the file.
        resume: whether to go on with what it holds instead of starting anew.

    Raises:
        InputError: with ``resume``, the file is not a joblog.
        OutputError: it cannot be written.
    """

    def __init__(self, path: str, *, resume: bool = False) -> None:
        self.path = path
        self.entries: dict[int, Entry] = {}
        self._resume = resume
        self._whole = 0
        if resume:
            self.entries, self._whole = parse(_contents(path), path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._fd = os.open(os.fsencode(path), flags, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write the joblog {path}: {error.strerror}") from None

    def begin(self) -> None:
        """Make the file ready for entries: cut off a broken last line or the log of an earlier run."""
        try:
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                os.ftruncate(self._fd, self._whole)
            if not self._whole:
                os.write(self._fd, HEADER)
        except OSError as error:
            raise OutputError(f"cannot write the joblog {self.path}: {error.strerror}") from None

    def write(self, entry: Entry) -> None:
        """Add one entry.

        Raises:
            OutputError: the disk is full, or the file is gone.
        """
        try:
            os.write(self._fd, entry.line())
        except OSError as error:
            raise OutputError(f"cannot write the joblog {self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _contents(path: str) -> bytes:
    try:
        with open(os.fsencode(path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""  # nothing is done yet: the run starts from its first job
    except OSError as error:
        raise InputError(f"cannot read the joblog {path}: {error.strerror}") from None
