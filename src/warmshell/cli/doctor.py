"""``warm doctor``: what this machine or a location offers, and what is missing."""

from __future__ import annotations

import click

_HELP = """Show what this machine, or every LOCATION given, offers to Warmshell, and what is missing.

The exit status is 1 when something essential is missing, 2 when a location cannot be reached.
"""


@click.command(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="One JSON object for every location, a line each.")
@click.argument("locations", nargs=-1, metavar="[LOCATION]…")
def doctor(locations: tuple[str, ...], *, as_json: bool) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import DEFAULT_LOCATION, run_async
    from warmshell.cli.examining import examine

    return run_async(examine(locations or (DEFAULT_LOCATION,), as_json=as_json))
