"""``warm run``: one command, with its own status and its own streams."""

from __future__ import annotations

from typing import Any

import click

_HELP = """Run one command, here or elsewhere, with its own exit status and streams.

Standard input is passed on as it comes, output is shown as it comes. A death by signal N is exit status 128+N; 124
says that the time was over; 2 that something was wrong and nothing was run.

\b
  warm run -- ls -l
  warm run --cwd /data --env LANG=C -c 'wc -l *.csv | sort -n'
  tar c . | warm run --on local: -- tar t
  warm run --detach --on ssh://node1 -- make -j8      # prints an id; then: warm attach ID
"""


@click.command(
    help=_HELP,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
)
@click.option("--on", "location", metavar="LOCATION", help="Where to run [local:].")
@click.option("-c", "--script", metavar="SCRIPT", help="Run sh text; the words become its $1, $2 …")
@click.option("--timeout", metavar="TIME", help="End the command after this time (seconds, or 1.5m, 2h).")
@click.option("--cwd", metavar="DIR", help="The directory to run in, at the location.")
@click.option("--env", "settings", multiple=True, metavar="NAME=VALUE", help="Set a variable; may be repeated.")
@click.option("--user", metavar="USER", help="Run as another account, by sudo or doas.")
@click.option("--pty", is_flag=True, help="Run on a terminal of its own.")
@click.option("--shell", default="sh", metavar="SHELL", help="The shell that reads SCRIPT [sh].")
@click.option("--detach", is_flag=True, help="Leave it to go on without us; print the id of its session.")
@click.option("--lease", metavar="TIME", help="With --detach: end it when nobody was there for so long [never].")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] WORD…")
def run(**options: Any) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import run_async
    from warmshell.cli.running import ran, request_from

    return run_async(ran(request_from(**options)))
