"""The one family of errors: each says what was run, where, and what to do.

Every class also inherits the standard type that fits (``TimeoutError``, ``ConnectionError``, ``FileNotFoundError`` …),
so that callers who do not know Warmshell still catch what they expect. A command that ran and failed is a
:class:`~warmshell.Result`, not an error, until :meth:`~warmshell.Result.check` is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from warmshell.command import Result

Started = Literal["no", "yes", "unknown"]
"""Whether a lost command had begun: only ``"no"`` may be run again without being asked."""


class WarmshellError(Exception):
    """The root of every error that Warmshell raises on purpose.

    Attributes:
        command: what was to be run, in words a person can read, or ``None``.
        location: the name of the location, or ``None``.
        hint: what to do about it, or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        command: str | None = None,
        location: str | None = None,
        hint: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message)
        if errno is not None:
            setattr(self, "errno", errno)  # noqa: B010 - an attribute of those that are an OSError as well
        self.message = message
        self.command = command
        self.location = location
        self.hint = hint

    def __str__(self) -> str:
        text = self.message
        if self.command is not None:
            text += f" [command: {self.command}]"
        if self.location is not None:
            text += f" [at: {self.location}]"
        if self.hint is not None:
            text += f" ({self.hint})"
        return text


class CommandError(WarmshellError, ValueError):
    """A command that cannot be expressed: a NUL byte, a bad environment name, no words. Nothing was run."""


class CommandTooLong(CommandError):
    """The words or the environment exceed what the kernel passes to a program (``E2BIG``), or all of it what one frame
    to a session server holds (4 MiB). Nothing was run.
    """


class CommandFailed(WarmshellError):
    """Raised by :meth:`~warmshell.Result.check` for a status other than 0.

    Attributes:
        result: the whole result of the command.
    """

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message, command=result.command, location=result.location)
        self.result = result


class CommandTimeout(WarmshellError, TimeoutError):
    """The command did not end in time; it and all its descendants were ended.

    Attributes:
        result: what the command had written until then; its ``returncode`` tells nothing.
    """

    def __init__(self, message: str, *, result: Result) -> None:
        super().__init__(message, command=result.command, location=result.location)
        self.result = result


class ProgramNotFound(WarmshellError, FileNotFoundError):
    """The first word names no program at the location. Nothing was run."""


class WorkdirError(WarmshellError, OSError):
    """The working directory asked for could not be entered. Nothing was run."""


class WorkdirNotFound(WorkdirError, FileNotFoundError):
    """The working directory asked for does not exist. Nothing was run."""


class WorkdirNotADirectory(WorkdirError, NotADirectoryError):
    """The working directory asked for is not a directory. Nothing was run."""


class ShellLost(WarmshellError, ConnectionError):
    """The shell ended or its stream broke before the command's status arrived.

    Attributes:
        started: ``"no"`` when the command certainly did not begin (it may be run again), ``"yes"`` when it certainly
            did, ``"unknown"`` otherwise. Warmshell itself never runs a command again unless this is ``"no"``.
    """

    def __init__(
        self,
        message: str,
        *,
        started: Started,
        command: str | None = None,
        location: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, command=command, location=location, hint=hint)
        self.started: Started = started


class ConnectError(WarmshellError, ConnectionError):
    """A location could not be reached, or no shell could be started there. Nothing was run."""


class AuthenticationError(ConnectError, PermissionError):
    """The location is there, but lets this user not in. Nothing was run."""


class HostKeyError(ConnectError):
    """The location's host key is unknown or not the one that is known. Nothing was run."""


class LocationError(WarmshellError, ValueError):
    """A URL or name that means no location; or an option that its connector does not know."""


class NotSupported(WarmshellError, NotImplementedError):
    """The location cannot do this at all (no Linux ``/proc``, no ``sudo`` …). Nothing was run."""


class ClosedError(WarmshellError):
    """The object was closed before the call, or while it waited. Nothing was run."""


class BusyError(WarmshellError):
    """Two tasks used at once what only one may use, such as two readers of one stream."""


class OutputError(WarmshellError, OSError):
    """Captured output could not be kept (its spill file could not be written); the command was ended."""


class InputError(WarmshellError, OSError):
    """The bytes for a command's standard input could not be read (no such file, no permission). Nothing was run."""


class IncompleteStream(WarmshellError, EOFError):
    """A stream of a command was left before its end, or its command stopped before it had read everything."""


class CopyError(WarmshellError, OSError):
    """A copy failed, to all or to some of its destinations.

    What failed has left nothing under its name; destinations that are not in ``failures`` have the whole copy.

    Attributes:
        failures: the error of each destination that failed, by its ``LOCATION:PATH``; empty if the source is at fault.
    """

    def __init__(
        self,
        message: str,
        *,
        failures: Mapping[str, Exception] | None = None,
        location: str | None = None,
        hint: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message, location=location, hint=hint, errno=errno)
        self.failures = dict(failures or {})


class ArchiveError(CopyError):
    """What a source sent is no archive of what was asked for: cut short, malformed, or reaching outside of itself."""
