"""``warm call`` and ``warm alias``: Python tools that stay imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

_CALL = """Run a Python tool with its modules imported already.

The first call starts a server for the tool, in the tool's own interpreter; each call is a fork of it, with your own
streams, directory, variables and limits. What cannot be served runs as always. TOOL is a program, or python and a
script.

\b
  warm call black --check .
  warm call --level preload aws s3 ls
"""

_ALIAS = """Write launchers that run Python tools warm, under the tools' own names.

Put the directory in front of PATH, or name the launchers by their paths. Where there is a C compiler, the launchers
use a small client in C, which starts in a millisecond; elsewhere one in Python.

\b
  warm alias --dir ~/warm black sqlfluff
  PATH=~/warm:$PATH black --check .
"""

_LEVELS = ["fork", "preload", "primed", "reuse"]
_SETTINGS = {"help_option_names": ["-h", "--help"]}


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a tool is served."""
    for option in (
        click.option("--level", type=click.Choice(_LEVELS), default="fork", help="How warm [fork]."),
        click.option("--prime", metavar="WORDS", help="What a primed tool has been run with [--version]."),
        click.option("--narrow", is_flag=True, help="One server for callers that differ in what the tool never reads."),
        click.option("--processes", type=click.IntRange(1), metavar="N", help="The most calls at a time."),
        click.option("--idle", metavar="TIME", default="15m", help="How long a server waits for a call [15m]."),
        click.option(
            "--memory", type=click.IntRange(1), default=1024, metavar="MB", help="The most for a server [1024]."
        ),
    ):
        command = option(command)
    return command


@click.command(help=_CALL, context_settings={**_SETTINGS, "allow_interspersed_args": False})
@_options
@click.option("--fcli", is_flag=True, help="TOOL is a coprocess by FCLI, in any language.")
@click.option(
    "--words", "count", type=click.IntRange(1), default=1, metavar="N", help="With --fcli: words of TOOL [1]."
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="TOOL [WORD]…")
def call(words: tuple[str, ...], *, fcli: bool, count: int, **settings: Any) -> NoReturn:
    """The command object; its help is above."""
    if fcli:
        from warmshell.cli.common import seconds
        from warmshell.coprocess.driver.client import call_fcli

        given = [os.fsencode(word) for word in words]
        call_fcli(given[:count], given[count:], idle=seconds(settings["idle"]))
    from warmshell.coprocess.forkserver import launcher

    target, rest = launcher.find(list(words))
    options = _served(settings).encode()
    launcher.c_server()
    program = os.fsencode(launcher.STANDALONE / "client.py")
    start = [os.fsencode(sys.executable), b"-I", b"-S", program, b":"]
    about = [target.script, options, b"\t".join(target.interpreter)]
    os.execv(start[0], [*start, *about, *(os.fsencode(word) for word in rest)])


@click.command(help=_ALIAS, context_settings=_SETTINGS)
@_options
@click.option(
    "--dir", "folder", metavar="DIR", default="~/.local/share/warmshell/bin", show_default=True, help="Where to."
)
@click.option("--client", type=click.Choice(["auto", "c", "python"]), default="auto", help="Which client [auto].")
@click.argument("tools", nargs=-1, required=True, metavar="TOOL…")
def alias(tools: tuple[str, ...], folder: str, client: str, **settings: Any) -> None:
    """The command object; its help is above."""
    from warmshell.coprocess.forkserver import launcher
    from warmshell.errors import CommandError, NotSupported

    if client == "c" and launcher.c_client() is None:
        raise NotSupported("the C client cannot be made here", hint="install a C compiler, or use --client python")
    options = _served(settings)
    found = [(tool, launcher.find([tool])[0]) for tool in tools]
    for tool, target in found:
        if not launcher.is_servable(target):
            raise CommandError(f"{tool} is no Python script: it would run as it always does")
    for tool, target in found:
        place = Path(folder).expanduser()
        click.echo(launcher.write(place, os.path.basename(tool), target, options, native=client != "python"))


def _served(settings: dict[str, Any]) -> Any:
    import shlex

    from warmshell.cli.common import seconds
    from warmshell.coprocess.forkserver.launcher import Options

    prime = settings["prime"]
    return Options(
        level=settings["level"],
        prime=tuple(shlex.split(prime)) if prime is not None else ("--version",),
        narrow=settings["narrow"],
        processes=settings["processes"] or 0,
        idle=seconds(settings["idle"]),
        memory=settings["memory"],
    )
