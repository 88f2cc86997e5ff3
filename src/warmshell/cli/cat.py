"""``warm cat``: the exact bytes of files, wherever they are."""

from __future__ import annotations

import click

_HELP = """Write the contents of files to standard output, exactly as they are.

A word is a path of this machine, LOCATION:PATH, or HOST:PATH as for scp. Any size takes little memory.
Exit status 1 says that a file could not be read; the others were written.

\b
  warm cat ssh://alice@node1:/data/run.log | tail
  warm cat node1:results.csv node2:results.csv
"""


@click.command(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[LOCATION:]PATH…")
def cat(words: tuple[str, ...]) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import run_async
    from warmshell.cli.filing import written

    return run_async(written(words))
