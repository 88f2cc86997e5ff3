"""``warm map``: a command for every value of an input, many at a time."""

from __future__ import annotations

from typing import Any

import click

_HELP = """Run a command for every value of an input, many at a time, over warm shells.

COMMAND is sh text with replacement strings; its words are joined by blanks. Values come from standard input, one a
line, from files (-a, ::::) or from the command line (:::). They are quoted: the shell never sees them as syntax.

\b
  warm map gzip -k {} ::: *.log
  find . -name '*.png' -print0 | warm map -0 -j 8 convert {} {.}.jpg
  warm map -k 'echo {1} {2}' ::: a b ::: 1 2
\b
  {}    the value              {.}   without its extension    {#}  number of the job
  {/}   its last component     {//}  its directory            {%}  slot it runs in
  {/.}  both                   {2} {2.} {-1} …  the n-th argument; ::: crosses sources, :::+ links them

The exit status is the number of failed jobs (101: more than 100), 2 when something was wrong and nothing was run.
"""


@click.command(
    name="map",
    help=_HELP,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
)
@click.option("-j", "--jobs", metavar="N", help="Jobs at once at every location: a number, or 200% of its cpus [100%].")
@click.option("--on", "locations", multiple=True, metavar="LOCATION", help="Where to run [local:]; may be repeated.")
@click.option(
    "-a",
    "--arg-file",
    "files",
    multiple=True,
    metavar="FILE",
    help="Read values from a file (- is standard input).",
)
@click.option("-0", "--null", is_flag=True, help="Values end in NUL instead of newline.")
@click.option("-N", "-n", "--max-args", "per_job", type=int, metavar="N", help="N values for every job.")
@click.option("-X", "--fill", is_flag=True, help="As many values for every job as fit.")
@click.option("-k", "--keep-order", is_flag=True, help="Show output in the order of the input.")
@click.option("--tag", is_flag=True, help="Put the arguments and a tab before every line of output.")
@click.option("--dry-run", is_flag=True, help="Print the commands instead of running them.")
@click.option("--env", "settings", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass ours on.")
@click.option("--cwd", metavar="DIR", help="The directory to run in, at the location.")
@click.option("--shell", metavar="SHELL", help="The shell that reads COMMAND [sh].")
@click.option("--timeout", metavar="TIME", help="End a job after this time (seconds, or 1.5m, 2h).")
@click.option(
    "--retries",
    type=int,
    default=1,
    metavar="N",
    help="Run a failing job up to N times (0: until it succeeds).",
)
@click.option(
    "--halt",
    metavar="WHEN",
    default="never",
    help="now or soon, with a reason: now,fail=1 soon,fail=30% now,success=1.",
)
@click.option("--joblog", metavar="FILE", help="Write a line for every job that ended (GNU parallel's format).")
@click.option("--resume", is_flag=True, help="Leave out the jobs that the joblog has.")
@click.option("--resume-failed", is_flag=True, help="The same, but run the failed ones again.")
@click.option("--results", metavar="DIR", help="Write the output of every job to files below DIR instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for every job.")
@click.option("--progress/--no-progress", default=None, help="Show progress on standard error [on a terminal].")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]… [::: VALUE…]…")
def map_(**options: Any) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import run_async
    from warmshell.cli.mapping import mapped, settings_from

    settings = settings_from(**options)
    return run_async(mapped(settings))
