"""``warm coprocess``: a group whose commands are imported when they run."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = {
    "serve": ("fcli", "Offer a tool as a persistent worker of Bazel."),
    "check": ("fcli", "Test a coprocess, in whatever language it is written."),
    "library": ("fcli", "Print where the library for POSIX shells is."),
    "ls": ("servers", "List the fork servers of Python tools."),
    "stop": ("servers", "Tell fork servers to end."),
    "stats": ("servers", "What the fork servers hold and have done, as JSON lines."),
}
"""Name, module ``warmshell.cli.coprocess_MODULE``, and help."""


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"warmshell.cli.coprocess_{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.command(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def coprocess() -> None:
    """Tools kept running, and fed one invocation after another."""
