"""What :meth:`Connector.run` makes of its arguments: files for the three streams, and templates of services."""

from __future__ import annotations

import os
import re
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmshell.command import Command, Result, Word, Words, to_bytes
from warmshell.errors import CommandError, InputError, LocationError
from warmshell.protocol.quoting import quote, quote_all
from warmshell.shell.diagnose import is_missing, program_not_found

if TYPE_CHECKING:
    from warmshell.location import Location

Target = Word | int | None

_NO_INPUT = 125
_NO_PROGRAM = 127
_NOTHING = b"/dev/null"


@dataclass(frozen=True, slots=True)
class Streams:
    """Where the streams of a command lead at its location.

    Attributes:
        stdin: the file that it reads, or ``None``.
        stdout: the file that gets its output; ``None``: the result.
        stderr: the file that gets its messages; ``None``: the result.
        merged: whether its messages go where its output goes.
    """

    stdin: bytes | None
    stdout: bytes | None
    stderr: bytes | None
    merged: bool

    @classmethod
    def of(cls, stdin: Target, stdout: Target, stderr: Target, *, capture: bool) -> Streams:
        """The streams as the arguments of a ``run`` give them.

        Raises:
            CommandError: a number that means nothing here.
        """
        rest = None if capture else _NOTHING
        return cls(
            None if stdin in (None, DEVNULL) else _file(stdin, "stdin"),
            rest if stdout in (None, STDOUT) else _NOTHING if stdout == DEVNULL else _file(stdout, "stdout"),
            rest if stderr in (None, STDOUT) else _NOTHING if stderr == DEVNULL else _file(stderr, "stderr"),
            stderr == STDOUT,
        )


def _file(given: Target, what: str) -> bytes:
    if given is None or isinstance(given, int):
        raise CommandError(f"{what}= is the name of a file at the location, not {given!r}")
    return to_bytes(given)


async def run_job(
    node: Location, what: Words | str, streams: Streams, *, env: Mapping[str, str] | None, cwd: Word | None,
    timeout: float | None, name: str | None,  # noqa: ASYNC109
) -> Result:  # fmt: skip
    """Run a command with files of its location for its streams.

    Raises:
        InputError: the file for its input cannot be read; nothing was run.
    """
    command = Command(
        _redirected(what, streams), cwd=cwd, env=env, timeout=timeout, stdout=streams.stdout,
        stderr=None if streams.merged else streams.stderr, name=name or str(Command(what)),
    )  # fmt: skip
    result = await node.run(command)
    if result.returncode == _NO_PROGRAM and command.script is None and command.argv != Command(what).argv:
        plain = Command(what, cwd=cwd, env=env, name=name)
        if await is_missing(node, plain):
            raise program_not_found(plain, node.name)
    if streams.stdin is not None and result.returncode == _NO_INPUT:
        readable = await node.run(["test", "-r", streams.stdin], cwd=cwd)
        if not readable.ok:
            raise InputError(
                f"standard input cannot be read from {os.fsdecode(streams.stdin)!r}", command=str(command),
                location=node.name,
            )  # fmt: skip
    return result


def _redirected(what: Words | str, streams: Streams) -> Words | str:
    """The command with its input from a file, and its messages where its output goes, as far as that is asked for."""
    if streams.stdin is None and not streams.merged:
        return what
    merge = b" 2>&1" if streams.merged else b""
    source = b"" if streams.stdin is None else b" <" + quote(_path(streams.stdin))
    redirect = b"command exec%s%s||exit %d;" % (source, merge, _NO_INPUT)
    if isinstance(what, str):
        return (redirect + b"\n" + what.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    return [b"sh", b"-c", redirect + b'exec "$@"', b"sh", *what]


def _path(name: bytes) -> bytes:
    return name if name.startswith(b"/") else b"./" + name


# -- templates ---------------------------------------------------------------------------------------------------------

_PLACE = re.compile(r"\{\{\s*(streamflow_command|streamflow_environment|streamflow_workdir)\s*\}\}")
_SYNTAX = re.compile(r"\{\{|\{%|\{#")


def job_command(
    template: str | None, command: Words | str, environment: Mapping[str, str] | None, workdir: Word | None
) -> Words | str:
    """A job as the template of its service wants it.

    In the template, ``{{streamflow_command}}`` is the command as shell text, ``{{streamflow_environment}}`` the exports
    of its variables, ``{{streamflow_workdir}}`` its directory. More than these names needs Jinja2.

    Raises:
        LocationError: the template cannot be understood.
    """
    if template is None:
        return command
    words = ["sh", "-c", command] if isinstance(command, str) else command
    text = quote_all([to_bytes(word) for word in words])
    exports = [b"export %s=%s" % (to_bytes(k), quote(to_bytes(v))) for k, v in (environment or {}).items()]
    values = {
        "streamflow_command": text,
        "streamflow_environment": b" && ".join(exports),
        "streamflow_workdir": b"" if workdir is None else quote(to_bytes(workdir)),
    }
    return render(template, {name: value.decode("utf-8", "surrogateescape") for name, value in values.items()})


def render(template: str, values: Mapping[str, str]) -> str:
    """The template with the values in their places.

    Raises:
        LocationError: it needs Jinja2, which is not installed, or is no template.
    """
    if not _SYNTAX.search(_PLACE.sub("", template)):
        return _PLACE.sub(lambda found: values[found[1]], template)
    try:
        from jinja2 import Template, TemplateError  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise LocationError("the template needs more than names in braces", hint="install jinja2") from None
    try:
        return str(Template(template, keep_trailing_newline=True).render(values))
    except TemplateError as error:
        raise LocationError(f"the template cannot be understood: {error}") from error
