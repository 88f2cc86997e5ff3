"""The group of subcommands: each is imported only when it runs, and every error is one sentence."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from warmshell import __version__
from warmshell.errors import WarmshellError

BAD_INPUT = 2
INTERRUPTED = 130

_COMMANDS = {
    "run": ("run", "Run one command, here or elsewhere, with its own status and streams."),
    "map": ("map", "Run a command for every value of an input, many at a time."),
    "cp": ("cp", "Copy files and directories between any two locations."),
    "sessions": ("sessions", "List the sessions that were left at a location."),
    "attach": ("sessions", "Show what a session that was left writes; its command's status."),
    "kill": ("sessions", "End a session that was left, and all in it."),
    "call": ("call", "Run a Python tool warm: its modules stay imported from call to call."),
    "alias": ("call", "Write launchers that run Python tools warm."),
    "sh": ("sh", "A shell that is warm already: for scripts, and for make's SHELL."),
    "coprocess": ("coprocess", "Tools kept running: list, stop, and more."),
    "deploy": ("deploy", "Deploy what a file names, and hold it."),
    "undeploy": ("deploy", "Take down what is held."),
    "status": ("deploy", "Show deployments, their locations, shells and subshells."),
    "validate": ("schema", "Say what is wrong with a deployment file, and where."),
    "schema": ("schema", "Print the JSON Schema of deployment files."),
    "ls": ("ls", "List directories, wherever they are."),
    "cat": ("cat", "Write the contents of files, wherever they are, to standard output."),
    "doctor": ("doctor", "Show what this machine or a location offers, and what is missing."),
    "demo": ("demo", "Run real commands over the standard library, cold and warm, and compare."),
}
"""Name, module below this package, and help: kept here so that ``warm --help`` imports none of them."""


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """The names, in the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command object; its module exports it under its name, or under that and an underscore."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"warmshell.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table of subcommands, from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A location is a URL such as local: (the default), or a name of a deployment. See 'warm COMMAND --help'.",
)
@click.version_option(__version__, prog_name="warm")
def warm() -> None:
    """Run commands where they belong, without paying for a new process, connection or interpreter each time."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run ``warm`` and return its exit status; errors are told here, in one sentence each."""
    try:
        return _run(argv)
    except WarmshellError as error:
        return complain(str(error))
    except OSError as error:  # from printing help: every other one has been given words where it arose
        from warmshell.cli.common import discard_output

        discard_output()
        return complain(f"cannot write to standard output: {error.strerror}")
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    try:
        status = warm.main(args=None if argv is None else list(argv), prog_name="warm", standalone_mode=False)
    except click.exceptions.Exit as leave:
        status = leave.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        status = BAD_INPUT
    except click.ClickException as error:
        status = complain(_usage(error))
    if sys.stdout is not None:
        sys.stdout.flush()
    return status if isinstance(status, int) else 0


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    return f"{message} (see {context.command_path} --help)" if context else message


def complain(sentence: str) -> int:
    """Tell the user in one line what is wrong; the exit status for bad input."""
    line = " ".join(sentence.split("\n"))
    raw = f"warm: {line}\n".encode("utf-8", "surrogateescape")
    with contextlib.suppress(OSError):  # nobody can be told
        os.write(2, raw)
    return BAD_INPUT
