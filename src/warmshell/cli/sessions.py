"""``warm sessions``, ``warm attach``, ``warm kill``: what was left by ``warm run --detach``, found again."""

from __future__ import annotations

import click

_SETTINGS = {"help_option_names": ["-h", "--help"]}
_ON = "The location of the session [the one that is remembered here]."

_SESSIONS = """List the sessions that were left at every LOCATION: by default here, and where any is remembered.

\b
  warm sessions
  warm sessions ssh://node1 --json
"""

_ATTACH = """Show what the command of a session writes, from the first byte that nobody was shown; exit with its status.

Ctrl-C leaves it to go on, and so does the end of this program in any other way: 'warm kill ID' ends it. Whoever was
attached before is told that it is no more. A session whose command has ended, and was shown, is gone.
"""

_KILL = """End sessions with everything that runs in them: TERM, a second, KILL. What they kept is lost."""


@click.command(help=_SESSIONS, context_settings=_SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for every session, a line each.")
@click.argument("locations", nargs=-1, metavar="[LOCATION]…")
def sessions(locations: tuple[str, ...], *, as_json: bool) -> int:
    """The command object; its help is above."""
    from warmshell.cli.attaching import listed
    from warmshell.cli.common import run_async

    return run_async(listed(locations, as_json=as_json))


@click.command(help=_ATTACH, context_settings=_SETTINGS)
@click.option("--on", "location", metavar="LOCATION", help=_ON)
@click.argument("session", metavar="ID")
def attach(session: str, location: str | None) -> int:
    """The command object; its help is above."""
    from warmshell.cli.attaching import attached
    from warmshell.cli.common import run_async

    return run_async(attached(session, location))


@click.command(help=_KILL, context_settings=_SETTINGS)
@click.option("--on", "location", metavar="LOCATION", help=_ON)
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
def kill(ids: tuple[str, ...], location: str | None) -> int:
    """The command object; its help is above."""
    from warmshell.cli.attaching import killed
    from warmshell.cli.common import run_async

    return run_async(killed(ids, location))
