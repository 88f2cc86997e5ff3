"""``warm coprocess serve | check | library``: coprocesses by FCLI."""

from __future__ import annotations

import os
from typing import Any

import click

_CONTEXT = {"help_option_names": ["-h", "--help"], "allow_interspersed_args": False}

_SERVE = """Offer a tool that speaks FCLI as a persistent worker of Bazel.

Requests are read from standard input, responses written to standard output. A tool that is no coprocess is run anew
for each request.

\b
  warm coprocess serve --bazel -- ./tool --persistent_worker
"""

_CHECK = """Test a coprocess, in whatever language it is written.

WORD… are the words of an invocation that always says the same. Exit status 1: something is wrong.

\b
  warm coprocess check -- ./tool
  warm coprocess check --words 2 -- python3 tool.py --version
"""


@click.command(help=_SERVE, context_settings=_CONTEXT)
@click.option("--bazel", "form", flag_value="proto", help="Bazel's worker protocol, by protocol buffers.")
@click.option("--bazel-json", "form", flag_value="json", help="The same by lines of JSON.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="The most processes of the tool at once.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] TOOL…")
def serve(form: str | None, jobs: int | None, words: tuple[str, ...]) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import exact, run_async
    from warmshell.coprocess.bazel_serve import BazelServer

    if form is None:
        raise click.UsageError("say what to offer: --bazel or --bazel-json")
    tool = [exact(word) for word in words if word != "--persistent_worker"]
    return run_async(BazelServer(tool, form, jobs).run())


@click.command(help=_CHECK, context_settings=_CONTEXT)
@click.option("--words", "count", type=click.IntRange(1), default=1, help="How many words start the tool [1].")
@click.option("--input", "text", default="", help="What the invocation reads.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] TOOL [WORD]…")
def check(count: int, text: str, words: tuple[str, ...]) -> int:
    """The command object; its help is above."""
    from warmshell.cli.common import exact, run_async

    given = [exact(word) for word in words]
    return run_async(_checked(given[:count], given[count:], os.fsencode(text)))


async def _checked(tool: list[str], words: list[str], stdin: bytes) -> int:
    from warmshell.coprocess.check import Checker

    failed = 0
    async for finding in Checker(tool, words, stdin).run():
        if finding.skipped is not None:
            line = f"skipped  {finding.name}: {finding.skipped}"
        elif finding.problem is not None:
            failed += 1
            line = f"WRONG    {finding.name}: {finding.problem}"
        else:
            line = f"right    {finding.name}"
        click.echo(line)
    return 1 if failed else 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def library(**_: Any) -> int:
    """Print where warmshell.sh is, the library for POSIX shells: . "$(warm coprocess library)"."""
    from warmshell.coprocess.driver.shells import LIBRARY

    click.echo(LIBRARY)
    return 0
