"""A process at the far end of a channel: what is said on its streams before, and behind, the program's own bytes.

The far login shell runs one constant line: a reader that says hello on both streams, with a token, and then evaluates
the first line of its standard input. Whatever start-up files print comes before the hello and is discarded; what is to
be run never stands on a command line. A program's status comes on both streams behind its output, marked with 128
random bits, because the client's own exit status cannot tell a lost connection from a program that ended with 255.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

from warmshell.command import Command
from warmshell.connector.far.received import Received
from warmshell.process import ByteReceiveStream
from warmshell.protocol import line
from warmshell.protocol.dialect import is_shadowed
from warmshell.protocol.quoting import one_line, quote, quote_all
from warmshell.protocol.request import enter

_AHEAD = 256 * 1024  # bytes that are read before anybody asks for them, so that the status behind them is found
_LONGEST_LINE = 256

# Neither a newline, nor a quote inside, nor "!": a line that any login shell reads the same way.
_READ = b'IFS= read -r _warm_line&&eval "$_warm_line"'
_NEWLINE = b"_warm_nl=$(printf '\\nx');_warm_nl=${_warm_nl%x};"


def hello_line(token: str, *, terminal: bool = False) -> str:
    """The line for the far login shell.

    Args:
        token: letters and digits that the hello carries.
        terminal: whether its streams are a terminal, which must not change what is said through it.
    """
    return f"exec sh -c '{'stty raw -echo;' if terminal else ''}{_text(token, '')}'"


def reader_text(token: str) -> str:
    """The same for a ``sh`` that gets it as one word; its hello also tells its namespaces, where they are known."""
    return _text(token, "".join(f" $(readlink /proc/self/ns/{kind} 2>/dev/null)" for kind in ("pid", "mnt")))


def _text(token: str, more: str) -> str:
    hello = hello_of(token).decode()
    return f"echo;echo {hello}$${more};echo {hello}- >&2;{_READ.decode()}"


def hello_of(token: str) -> bytes:
    """What the hello begins with."""
    return b"warmshell-channel " + token.encode() + b" "


def spoken(text: bytes) -> bytes:
    """Shell text as the line that the reader takes; newlines may stand in single quotes only."""
    return _NEWLINE + one_line(text) + b"\n"


def shell_line(argv: tuple[bytes, ...], tag: str, marker: bytes, *, blank: bool) -> bytes:
    """The line that has the reader run a shell, and say with which status it ended.

    Args:
        argv: the words of the shell.
        tag: the beginning of the value that marks it.
        marker: what the reports begin with.
        blank: whether its environment is empty.
    """
    mark = b"WARMSHELL_COMMAND=%s.0" % tag.encode()
    words = b"exec env -i %s %s" % (mark, quote_all(argv)) if blank else b"export %s;exec %s" % (mark, quote_all(argv))
    return spoken(_reported(words, marker))


def _reported(run: bytes, marker: bytes, before: bytes = b"") -> bytes:
    """Shell text that runs this in a fork and reports its start and its status.

    A signal to the whole group is meant for what runs; the reader only waits.
    """
    return (
        b'_warm_say() { echo %s"$1";echo %s"$1">&2;};trap : HUP INT QUIT TERM USR1 USR2 PIPE ALRM;%s'
        b"_warm_say s;(%s);_warm_s=$?;_warm_say $_warm_s;exit $_warm_s"
    ) % (marker, marker, before, run)


def process_lines(command: Command, tag: str, marker: bytes, base: bytes = b"") -> bytes:
    """The lines that have the reader run a command and say what came of it.

    Reports are ``s`` (it starts), a status, ``c ERRNO`` (its directory cannot be entered) or ``n`` (there is no such
    program).

    Args:
        command: what to run.
        tag: the beginning of the value that marks it and its descendants.
        marker: what the reports begin with.
        base: the directory that the command's own is relative to; that of a login by default.
    """
    env = {**(command.env_only or {}), **(command.env or {})}
    run = line.line(command.argv, command.script, env, f"{tag}.0".encode())[:-1]
    second = b""
    if command.user is not None or command.env_only is not None:
        run, second = _second_reader(command), _NEWLINE + run + b"\n"
    return spoken(_reported(run, marker, _directory(command, base) + _program(command, env.get(b"PATH")))) + second


def terminal_lines(command: Command, tag: str, marker: bytes, size: tuple[int, int], base: bytes = b"") -> bytes:
    """The same for a command on a terminal, which becomes a usual one just before the command starts.

    One more report: ``t`` (there is no ``stty``).

    Args:
        command: what to run.
        tag: the beginning of the value that marks it and its descendants.
        marker: what the reports begin with.
        size: rows and columns of the terminal.
        base: the directory that the command's own is relative to.
    """
    env = {**(command.env_only or {}), **(command.env or {})}
    usual = b"stty sane rows %d cols %d||{ echo %st;exit;};echo %ss;" % (*size, marker, marker)
    run, second = usual + line.line(command.argv, command.script, env, f"{tag}.0".encode())[:-1], b""
    if command.env_only is not None:
        run, second = _second_reader(command), _NEWLINE + run + b"\n"
    before = _directory(command, base) + _program(command, env.get(b"PATH"))
    return (
        spoken(
            b'_warm_say() { echo %s"$1";};trap : HUP INT QUIT TERM USR1 USR2 PIPE ALRM;%s(%s);_warm_say $?'
            % (marker, before, run)
        )
        + second
    )


def _second_reader(command: Command) -> bytes:
    """What reads the second line: a shell with another account, or with an empty environment."""
    if command.user is None:
        return b"exec env -i sh -c " + quote(_READ)
    user = quote(command.user.encode("utf-8", "surrogateescape"))
    return b"command -v sudo>/dev/null&&exec sudo -n -u %s -- sh -c %s;exec doas -n -u %s sh -c %s" % (
        user, quote(_READ), user, quote(_READ),
    )  # fmt: skip


def _directory(command: Command, base: bytes) -> bytes:
    if command.cwd is None and not base:
        return b""
    where = os.path.join(base, command.cwd or b"")
    path = quote(where if where.startswith(b"/") else b"./" + where)
    return (
        b"if %s 2>/dev/null;then unset OLDPWD;else if test -d %s;then _warm_say 'c 13';elif test -e %s;"
        b"then _warm_say 'c 20';else _warm_say 'c 2';fi;exit;fi;"
    ) % (enter(where), path, path)


def _program(command: Command, path: bytes | None) -> bytes:
    if not command.argv or is_shadowed(command.argv[0]) or (command.env_only is not None and path is None):
        return b""  # the status will tell
    name = quote(command.argv[0])
    if b"/" in command.argv[0]:
        return b"test -e %s||{ _warm_say n;exit;};" % name
    search = b"" if path is None else b"PATH=" + quote(path) + b";"
    return b"(%scommand -v -- %s)>/dev/null 2>&1||{ _warm_say n;exit;};" % (search, name)


Stage = Literal["hello", "report", "output", "late"]


class ChannelCutter:
    """Cuts one stream into noise, reports, and the program's own bytes.

    Feed it bytes in any pieces.

    Args:
        hello: what the hello begins with; empty where it has been seen already.
        marker: what reports begin with.

    Attributes:
        reports: what was reported.
    """

    __slots__ = ("_held", "_hello", "_marker", "_stage", "reports")

    def __init__(self, hello: bytes, marker: bytes) -> None:
        self._hello = hello
        self._marker = marker
        self._held = b""
        self._stage: Stage = "hello" if hello else "report"
        self.reports: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the program's output that these bytes complete.

        Raises:
            ValueError: a marker without a report behind it.
        """
        pieces: list[bytes] = []
        buffer = self._held + data if self._held else data
        self._held = b""
        while self._stage != "late":
            needle = self._hello if self._stage == "hello" else self._marker
            at = buffer.find(needle)
            end = buffer.find(b"\n", at + len(needle)) if at >= 0 else -1
            if at < 0 or end < 0:
                at = len(buffer) - _overlap(buffer, needle) if at < 0 else at
                self._keep(buffer[:at], pieces)
                self._held = buffer[at:]
                if len(self._held) > _LONGEST_LINE:
                    raise ValueError("a marker without a report")
                return pieces
            self._keep(buffer[:at], pieces)
            self._report(buffer[at + len(needle) : end].strip())
            buffer = buffer[end + 1 :]
        if buffer:
            pieces.append(buffer)
        return pieces

    def _keep(self, data: bytes, pieces: list[bytes]) -> None:
        if data and self._stage == "output":
            pieces.append(data)

    def _report(self, report: bytes) -> None:
        if self._stage == "hello":
            self._stage = "report"
            return
        self.reports.append(report)
        self._stage = "output" if self._stage == "report" and report == b"s" else "late"

    def rest(self) -> bytes:
        """What is held back, at the end of the stream."""
        held, self._held = self._held, b""
        return held if self._stage == "output" else b""


def _overlap(buffer: bytes, needle: bytes) -> int:
    """How many last bytes may be the beginning of the needle."""
    longest = min(len(needle) - 1, len(buffer))
    tail = buffer[len(buffer) - longest :]
    at = tail.find(needle[:1])
    while at >= 0:
        if needle.startswith(tail[at:]):
            return len(tail) - at
        at = tail.find(needle[:1], at + 1)
    return 0


class ChannelStream(Received):
    """One stream of a program, read ahead a little, without what is said around its bytes.

    Args:
        near: the stream of the ssh client.
        cutter: what takes it apart.
        on_report: told after each report, and at the end of the stream.
    """

    def __init__(self, near: ByteReceiveStream, cutter: ChannelCutter, on_report: Callable[[], None]) -> None:
        super().__init__(self._on_taken)
        self._near = near
        self.cutter = cutter
        self._on_report = on_report
        self._reads = False
        self._read()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def _read(self) -> None:
        if not self._reads and not self._ended:
            self._reads = True
            self._stop = self._near.subscribe(self._cut, self.end)

    def _pause(self) -> None:
        if self._reads:
            self._reads = False
            self._stop()

    def _on_taken(self) -> None:
        if self.size <= _AHEAD:
            self._read()

    def _cut(self, data: bytes) -> None:
        reports = len(self.cutter.reports)
        try:
            pieces = self.cutter.feed(data)
        except ValueError:
            self.end()
            return
        for piece in pieces:
            self.feed(piece)
        if len(self.cutter.reports) > reports:
            self._on_report()
        if self.size > _AHEAD:
            self._pause()

    def end(self) -> None:
        if self._ended:
            return
        self._pause()
        if held := self.cutter.rest():
            self.feed(held)
        super().end()
        self._on_report()

    def discard(self) -> None:
        """Hand over nothing more, and throw away what comes: the client ends once all of it has been read."""
        self.close()

    async def aclose(self) -> None:
        await super().aclose()
        self.end()
        await self._near.aclose()
