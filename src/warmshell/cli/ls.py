"""``warm ls``: what is in directories, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from warmshell.cli.filing import Form

_HELP = """List directories, wherever they are.

A word is a path of this machine, LOCATION:PATH, or HOST:PATH as for scp. Bytes in names that cannot be shown are
written as \\xNN, so that a name can do nothing to a terminal; -0 writes the exact bytes, each name ended by NUL.

\b
  warm ls -l ssh://alice@node1:/data
  warm ls --json node1: | jq .size
"""


@click.command(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-l", "--long", is_flag=True, help="Show permissions, owner, size and time too.")
@click.option("-a", "--all", "everything", is_flag=True, help="Show names that begin with a dot too.")
@click.option("-d", "--directory", is_flag=True, help="Show directories themselves, not what is in them.")
@click.option("-0", "--null", is_flag=True, help="Write exact names, each ended by NUL.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[[LOCATION:]PATH…]")
def ls(words: tuple[str, ...], long: bool, everything: bool, directory: bool, null: bool, as_json: bool) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import run_async
    from warmshell.cli.filing import listed

    if long + null + as_json > 1:
        raise click.UsageError("-l, -0 and --json exclude each other")
    form: Form = "long" if long else "null" if null else "json" if as_json else "names"
    return run_async(listed(words or (".",), form, everything=everything, directory=directory))
