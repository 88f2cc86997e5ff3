"""``warm sh``: a shell that is warm already."""

from __future__ import annotations

import os

import click

_HELP = """Run sh text by a shell that has been started already.

Every call runs in a fork of that shell, with your streams, directory, variables and umask. It pays where starting the
shell is slow (bash with heavy start-up files: BASH_ENV, --shell 'bash -l'); a dash starts in less than a millisecond,
which nothing can improve on. What a warm shell would not do exactly as a new one ($$, $0, words behind the script, a
script from a file) is run by a new one.

\b
  warm sh -c 'ls *.csv | wc -l'
  warm sh --launcher ~/bin/warm-bash --shell 'bash -l'     # then: make SHELL=~/bin/warm-bash
"""


@click.command(
    help=_HELP,
    context_settings={
        "help_option_names": ["-h", "--help"], "allow_interspersed_args": False, "ignore_unknown_options": True,
    },
)  # fmt: skip
@click.option("--shell", default="bash", metavar="SHELL", help="The shell, with options for its start-up [bash].")
@click.option("--launcher", metavar="FILE", help="Write a program that does this, quickly, instead: C, or else Python.")
@click.option("--no-compiler", is_flag=True, help="Write one in Python even where there is a C compiler.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-c SCRIPT | WORD…]")
def sh(shell: str, launcher: str | None, no_compiler: bool, words: tuple[str, ...]) -> int:
    """The command object; its help is above."""
    if launcher is None:
        from warmshell.coprocess.driver.client import call_shell

        call_shell(os.fsencode(shell), [os.fsencode(word) for word in words])
    from warmshell.coprocess.driver.launcher import write

    click.echo(f"{launcher}: a warm {shell}, in {write(launcher, shell, compile_it=not no_compiler)}")
    return 0
