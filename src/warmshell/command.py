"""What to run, and what came of it."""

from __future__ import annotations

import errno
import os
import shlex
import signal as signals
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from typing import cast

from warmshell.errors import CommandError, CommandFailed

Word = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Words = Sequence[Word]
Stdin = bytes | os.PathLike[str] | AsyncIterable[bytes] | None
"""Nothing (``/dev/null``), the bytes themselves, a file of this machine, or a stream of chunks."""

DEFAULT_OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of each captured stream kept in memory before the rest spills to an unnamed temporary file."""

_LIKE_BYTES: tuple[type, ...] = (bytearray, memoryview)
_NO_COMMANDS: tuple[type, ...] = (bytes, bytearray)  # what callers give in spite of the types
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT)
_NEVER_EMPTY = ("the working directory", "the name of the stdout file", "the name of the stderr file")
_READABLE = 200  # characters of a command shown in messages


def to_bytes(word: Word) -> bytes:
    """The exact bytes of a word; text is UTF-8 with ``surrogateescape``, as file names are."""
    if isinstance(word, bytes):
        return word
    try:
        return word.encode("utf-8", "surrogateescape") if isinstance(word, str) else os.fsencode(word)
    except TypeError:
        raise CommandError(f"a word must be str, bytes or a path, not {type(word).__name__}: {word!r}") from None
    except UnicodeEncodeError as error:
        raise _not_encodable(error) from None


def _not_encodable(error: UnicodeEncodeError) -> CommandError:
    character = error.object[error.start]
    return CommandError(f"text holds {character!a}, which has no bytes in {error.encoding}: {error.object[:40]!a}")


class Command:
    """What to run: words, never seen by a shell as syntax, or a POSIX ``sh`` script.

    Args:
        what: a sequence of words (``["ls", "-l", name]``), or one ``str``: a script.
        cwd: the directory to run in, at the location; the location's own by default.
        env: variables added to the location's environment.
        env_only: variables that replace the location's environment altogether.
        stdin: what the command reads; nothing (``/dev/null``) by default.
        timeout: seconds until the command and all its descendants are ended; ``None``: never.
        output_limit: bytes of each captured stream kept in memory; more spills to a file.
        stdout: a file at the location that gets standard output, instead of the result.
        stderr: a file at the location that gets standard error, instead of the result.
        user: the account to run as, by ``sudo -n`` or ``doas -n`` at the location.
        pty: whether to run on a terminal; stdout and stderr are then one stream, as terminals have it.
        name: a short name for people, shown in messages and logs.

    Raises:
        CommandError: no words, a NUL byte anywhere, an environment name that is empty or holds ``=``, a timeout that
            is not a positive number, or options that exclude each other.
    """

    __slots__ = (
        "argv", "cwd", "env", "env_only", "name", "output_limit", "pty", "script", "stderr", "stdin", "stdout",
        "timeout", "user",
    )  # fmt: skip

    argv: tuple[bytes, ...]
    script: bytes | None
    env: dict[bytes, bytes] | None
    env_only: dict[bytes, bytes] | None

    def __init__(
        self,
        what: Words | str,
        *,
        cwd: Word | None = None,
        env: Mapping[str, str] | None = None,
        env_only: Mapping[str, str] | None = None,
        stdin: Stdin = None,
        timeout: float | None = None,
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
        stdout: Word | None = None,
        stderr: Word | None = None,
        user: str | None = None,
        pty: bool = False,
        name: str | None = None,
    ) -> None:
        if isinstance(what, str):
            self.script = _exact(what, "the script")
            self.argv = ()
        else:
            self.script = None
            self.argv = _words(what)
        self.cwd = None if cwd is None else _exact(cwd, "the working directory")
        self.env = None if env is None else _environment(env)
        self.env_only = None if env_only is None else _environment(env_only)
        self.stdin = stdin
        self.timeout = timeout
        self.output_limit = output_limit
        self.stdout = None if stdout is None else _exact(stdout, "the name of the stdout file")
        self.stderr = None if stderr is None else _exact(stderr, "the name of the stderr file")
        self.user = user
        self.pty = pty
        self.name = name
        if type(output_limit) is not int or output_limit < 0:
            raise CommandError(f"output_limit is a number of bytes, not {output_limit!r}")
        if timeout is not None or user is not None or pty or stdin is not None:
            self._check_options()

    def _check_options(self) -> None:
        timeout = self.timeout
        if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout < float("inf")):
            raise CommandError(f"a timeout is a positive number of seconds, not {timeout!r}")
        user = self.user
        if user is not None and (not isinstance(user, str) or user[:1] in {"", "-"} or "\0" in user):
            raise CommandError(f"not the name of an account: {self.user!r}")
        if self.pty and (self.stdout is not None or self.stderr is not None):
            raise CommandError("pty=True writes to the terminal: it excludes stdout= and stderr=")
        if isinstance(self.stdin, str):
            raise CommandError("stdin is bytes, a Path or a stream; a str could be either text or a file's name")
        if isinstance(self.stdin, _LIKE_BYTES):
            self.stdin = bytes(cast("bytes", self.stdin))
        elif self.stdin is not None and not isinstance(self.stdin, bytes | os.PathLike | AsyncIterable):
            raise CommandError(f"stdin is bytes, a Path or an async stream of bytes, not {type(self.stdin).__name__}")

    @property
    def is_plain(self) -> bool:
        """Whether it is words and nothing else, as far as the shell that runs it is concerned."""
        return (
            self.script is None and self.stdin is None and self.cwd is None and self.env is None
            and self.env_only is None and self.stdout is None and self.stderr is None
        )  # fmt: skip

    def __str__(self) -> str:
        """The command in shell notation, shortened, for people."""
        if self.name is not None:
            return self.name
        if self.script is not None:
            text = self.script[: 4 * _READABLE].decode("utf-8", "replace")
        else:
            text = shlex.join(word[:_READABLE].decode("utf-8", "replace") for word in self.argv[:_READABLE])
        return text if len(text) <= _READABLE else text[:_READABLE] + "…"

    def __repr__(self) -> str:
        return f"<Command {self!s}>"


def _exact(word: Word, what: str) -> bytes:
    data = to_bytes(word)
    if b"\0" in data:
        raise CommandError(f"{what} holds a NUL byte, which no program can be given")
    if not data and what in _NEVER_EMPTY:
        raise CommandError(f"{what} is empty")
    return data


def _words(what: Words) -> tuple[bytes, ...]:
    if isinstance(what, _NO_COMMANDS):
        raise CommandError("a command is a list of words or a str (a script), not bytes")
    try:
        words = tuple(
            [word.encode("utf-8", "surrogateescape") if type(word) is str else to_bytes(word) for word in what]
        )
    except TypeError:
        raise CommandError(f"a command is a list of words or a str (a script), not {type(what).__name__}") from None
    except UnicodeEncodeError as error:
        raise _not_encodable(error) from None
    if not words or not words[0]:
        raise CommandError("a command needs a first word: the program to run")
    for word in words:
        if b"\0" in word:
            raise CommandError(f"a word holds a NUL byte, which no program can be given: {word[:40]!r}")
    return words


def _environment(env: Mapping[str, str]) -> dict[bytes, bytes]:
    if not isinstance(env, Mapping):
        raise CommandError(f"the environment is a mapping of names to values, not {type(env).__name__}")
    checked: dict[bytes, bytes] = {}
    for name, value in env.items():
        key = to_bytes(name)
        if not key or b"=" in key or b"\0" in key:
            raise CommandError(f"not a name for an environment variable: {name!r}")
        checked[key] = _exact(value, f"the environment variable {name!r}")
    return checked


class SpillFile:
    """An unnamed temporary file: gone with the last reference to it, and with this process."""

    __slots__ = ("_fd", "size")

    def __init__(self) -> None:
        self._fd = -1  # should there be none
        self._fd = _unnamed_file()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append all of the bytes.

        Raises:
            OSError: the disk is full, or the like.
        """
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self.size)
            self.size += written
            view = view[written:]

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; short only at the end."""
        pieces = []
        while size > 0 and (piece := os.pread(self._fd, size, offset)):
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Free the space, whoever still holds the file; it cannot be used any more."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def _unnamed_file() -> int:
    """A file that never had a name where the system can, as what has one for a moment is left by ``kill -9``."""
    import tempfile

    # Not gettempdir(), whose first call tries directories by files with names.
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    directory = tempfile.tempdir or next(filter(None, named), "/tmp")  # noqa: S108 - a file without a name
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (AttributeError, OSError) as error:  # an older kernel, another system, a directory of no use
        if getattr(error, "errno", None) in _FULL:
            raise
        with tempfile.TemporaryFile(buffering=0) as file:
            return os.dup(file.fileno())


class Output:
    """The captured bytes of one stream: in memory, or beyond the limit in an unnamed temporary file."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | SpillFile = b"") -> None:
        self._data = data

    @property
    def spilled(self) -> bool:
        """Whether the bytes are in a file rather than in memory."""
        return not isinstance(self._data, bytes)

    def __len__(self) -> int:
        return len(self._data) if isinstance(self._data, bytes) else self._data.size

    def read(self) -> bytes:
        """All the bytes, in memory."""
        return self._data if isinstance(self._data, bytes) else self._data.read(0, self._data.size)

    def chunks(self, size: int = 1024 * 1024) -> Iterator[bytes]:
        """The bytes in pieces of at most ``size``, for output larger than memory."""
        if isinstance(self._data, bytes):
            for start in range(0, len(self._data), size):
                yield self._data[start : start + size]
            return
        offset = 0
        while piece := self._data.read(offset, size):
            yield piece
            offset += len(piece)


class Result:
    """What came of a command: its status and its exact bytes.

    Attributes:
        returncode: the exit status; a death by signal N is ``128 + N``, as shells report it.
        location: the name of the location where it ran.
        shell: the id of the shell (or process) that ran it.
        started: seconds since the epoch when it was handed to the shell.
        ended: seconds since the epoch when its status had arrived.
    """

    __slots__ = ("_command", "_stderr", "_stdout", "ended", "location", "returncode", "shell", "started")

    def __init__(
        self,
        returncode: int,
        stdout: bytes | Output = b"",
        stderr: bytes | Output = b"",
        *,
        started: float = 0.0,
        ended: float = 0.0,
        location: str = "",
        shell: str = "",
        command: str | Command = "",
    ) -> None:
        self.returncode = returncode
        self._stdout = stdout
        self._stderr = stderr
        self.started = started
        self.ended = ended
        self.location = location
        self.shell = shell
        self._command = command

    @property
    def command(self) -> str:
        """The command, in words for people."""
        return str(self._command)

    @property
    def stdout(self) -> bytes:
        """Exactly what the command wrote to standard output (read back into memory if it had spilled)."""
        return self._stdout if type(self._stdout) is bytes else self.output("stdout").read()

    @property
    def stderr(self) -> bytes:
        """Exactly what the command wrote to standard error (read back into memory if it had spilled)."""
        return self._stderr if type(self._stderr) is bytes else self.output("stderr").read()

    def output(self, stream: str = "stdout") -> Output:
        """The captured stream as an :class:`Output`, which can be read in pieces when it is large."""
        value = self._stdout if stream == "stdout" else self._stderr
        return value if isinstance(value, Output) else Output(value)

    @property
    def signal(self) -> signals.Signals | None:
        """The signal that ended the command, as far as a shell tells: statuses of 129 and more name one."""
        try:
            return signals.Signals(self.returncode - 128) if self.returncode > 128 else None
        except ValueError:
            return None

    @property
    def ok(self) -> bool:
        """Whether the status is 0."""
        return self.returncode == 0

    @property
    def text(self) -> str:
        """Standard output as UTF-8 text, unstripped; bytes that are not UTF-8 become surrogate escapes."""
        return self.stdout.decode("utf-8", "surrogateescape")

    @property
    def duration(self) -> float:
        """Seconds from being handed to the shell to its status."""
        return self.ended - self.started

    def check(self) -> Result:
        """This result, if the status is 0.

        Raises:
            CommandFailed: for any other status, with the end of standard error in its message.
        """
        if self.returncode == 0:
            return self
        tail = self.stderr[-500:].decode("utf-8", "replace").strip()
        reason = (
            f"status {self.returncode}" if self.signal is None else f"{self.signal.name} (status {self.returncode})"
        )
        raise CommandFailed(f"the command failed with {reason}" + (f": {tail}" if tail else ""), self)

    def __repr__(self) -> str:
        return f"<Result {self.returncode} of {self.command!r} at {self.location!r}>"
