"""Why a command could not be run: asked only after it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmshell.command import Command
from warmshell.errors import (
    CommandTooLong,
    OutputError,
    ProgramNotFound,
    WorkdirError,
    WorkdirNotADirectory,
    WorkdirNotFound,
)
from warmshell.protocol.dialect import is_shadowed
from warmshell.protocol.quoting import quote

if TYPE_CHECKING:
    from warmshell.location import Location
    from warmshell.shell.lane import NoDirectory


async def is_missing(location: Location, command: Command) -> bool:
    """Whether no program has the name that the command's first word gives."""
    name = command.argv[0]
    if is_shadowed(name):
        return True  # "command -v" would find the builtin; the program was looked for and not found
    probe = Command("command -v -- " + quote(name).decode("utf-8", "surrogateescape") + " >/dev/null")
    probe.cwd, probe.env, probe.env_only, probe.user = command.cwd, command.env, command.env_only, command.user
    return not (await location.run(probe)).ok


async def why_no_directory(location: Location, command: Command, problem: NoDirectory) -> WorkdirError:
    """The precise error for a working directory that could not be entered."""
    path = quote(command.cwd or b"").decode("utf-8", "surrogateescape")
    found = await location.run(f"if test -d {path}; then exit 1; elif test -e {path}; then exit 2; else exit 3; fi")
    kinds: dict[int, tuple[type[WorkdirError], str, int]] = {
        2: (WorkdirNotADirectory, "it is not a directory", 20),
        3: (WorkdirNotFound, "there is no such directory", 2),
    }
    kind, why, errno = kinds.get(found.returncode, (WorkdirError, "permission denied", 13))
    return kind(f"{problem.message}: {why}", command=problem.command, location=location.name, errno=errno)


def too_long_for(what: str, command: Command, location: str, why: object) -> CommandTooLong:
    """The error for a command that something on its way cannot hold."""
    return CommandTooLong(
        f"the command is too long for {what}: {why}", command=str(command), location=location,
        hint="pass the data on standard input or in a file, or split the command", errno=7,
    )  # fmt: skip


def no_target(command: Command, location: str, said: bytes) -> OutputError:
    """The error for a ``stdout=`` or ``stderr=`` that cannot be opened."""
    return OutputError(
        "the file for the command's output cannot be written; nothing was run: "
        + said.decode("utf-8", "replace").strip(),
        command=str(command), location=location,
    )  # fmt: skip


def program_not_found(command: Command, location: str) -> ProgramNotFound:
    """The error for a first word that names no program."""
    name = command.argv[0].decode("utf-8", "replace") if command.argv else "sh"
    return ProgramNotFound(
        f"no program {name!r} was found", command=str(command), location=location,
        hint="install it there, correct its name, or extend PATH", errno=2,
    )  # fmt: skip
