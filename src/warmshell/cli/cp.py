"""``warm cp``: files and directories between any two locations."""

from __future__ import annotations

from typing import Any

import click

_HELP = """Copy files and directories between any two locations, with the names of cp -r.

A file, or a new directory, appears under its final name only when it is whole. SRC and DST are paths of this machine,
HOST:PATH, or LOCATION:PATH with the URL of a location or its name in the deployment file. Several sources need a
directory as their destination; with --to, all words are sources, and each --to is a destination: they are served by
one reading.

\b
  warm cp -r results node1:/data/
  warm cp ssh://alice@node1:2222:/data/x.bam .
  warm cp -r model --to node1:/scratch --to node2:/scratch
"""


@click.command(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-r", "-R", "--recursive", is_flag=True, help="Copy directories, too; links stay links.")
@click.option("-L", "--dereference", is_flag=True, help="With -r: follow links.")
@click.option("--to", "targets", multiple=True, metavar="DST", help="A destination; may be repeated.")
@click.option("--read-only", is_flag=True, help="At the same location, make a symbolic link to the source.")
@click.option("--owner", is_flag=True, help="Keep owners and set-user-id bits, as far as the account may.")
@click.option("--compress", is_flag=True, help="Pack what goes to and from other machines, where both have zstd.")
@click.option(
    "--resume", is_flag=True, help="Keep what has arrived of a file that is interrupted, and go on from there."
)
@click.option("--direct", is_flag=True, help="From host to host, not by way of this machine.")
@click.option("--progress/--no-progress", default=None, help="Show how far it is [on a terminal].")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="SRC… DST")
def cp(**options: Any) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import run_async
    from warmshell.cli.copying import copied, request_from

    return run_async(copied(request_from(**options)))
