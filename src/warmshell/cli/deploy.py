"""``warm deploy``, ``warm undeploy``, ``warm status``: the deployments of a file, and who holds them."""

from __future__ import annotations

import click

_SETTINGS = {"help_option_names": ["-h", "--help"]}
_FILE = "The deployment file [$WARMSHELL_FILE, warmshell.yaml]."

_DEPLOY = """Deploy what a file names, and hold it until Ctrl-C or 'warm undeploy'.

Without NAME, all deployments of the file. As long as they are held, 'warm run --on NAME' and every program that
connects to NAME use them as they are. With -b a process in the background holds them.

\b
  warm deploy -b cluster
  warm run --on cluster -- hostname
  warm undeploy
"""

_UNDEPLOY = """Take down what 'warm deploy' holds, those that wrap others first.

Without NAME, all of it. When nothing is left, the process that held it ends.
"""

_STATUS = """Show the deployments of a file, their locations, shells and subshells, and the load there.

Only what 'warm deploy' holds is known to be deployed.
"""


@click.command(help=_DEPLOY, context_settings=_SETTINGS)
@click.option("--file", "file", metavar="FILE", help=_FILE)
@click.option("-b", "--background", is_flag=True, help="Return once it is deployed; another process holds it.")
@click.argument("names", nargs=-1, metavar="[NAME]…")
def deploy(file: str | None, names: tuple[str, ...], *, background: bool) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import run_async
    from warmshell.cli.deploying import deployed

    return run_async(deployed(file, names, background=background))


@click.command(help=_UNDEPLOY, context_settings=_SETTINGS)
@click.option("--file", "file", metavar="FILE", help=_FILE)
@click.argument("names", nargs=-1, metavar="[NAME]…")
def undeploy(file: str | None, names: tuple[str, ...]) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import run_async
    from warmshell.cli.deploying import undeployed

    return run_async(undeployed(file, names))


@click.command(help=_STATUS, context_settings=_SETTINGS)
@click.option("--file", "file", metavar="FILE", help=_FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for every deployment, a line each.")
def status(file: str | None, *, as_json: bool) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import run_async
    from warmshell.cli.deploying import shown

    return run_async(shown(file, as_json=as_json))
