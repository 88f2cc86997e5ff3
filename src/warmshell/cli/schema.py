"""``warm schema`` and ``warm validate``: what may stand in a deployment file, and whether one is right."""

from __future__ import annotations

import click

_SETTINGS = {"help_option_names": ["-h", "--help"]}

_SCHEMA = """Print the JSON Schema of deployment files, for editors.

\b
  warm schema >warmshell.schema.json
  # yaml-language-server: $schema=warmshell.schema.json     (the first line of warmshell.yaml)
"""

_VALIDATE = """Say what is wrong with deployment files: a sentence each, with file, line and column.

The exit status is 1 when something is. Nothing is deployed or connected.
"""


@click.command(help=_SCHEMA, context_settings=_SETTINGS)
def schema() -> int:
    """The command object; its help is above."""
    import json

    from warmshell.cli.output import write_out
    from warmshell.deployment.file import file_schema

    write_out(1, (json.dumps(file_schema(), indent=2) + "\n").encode())
    return 0


@click.command(help=_VALIDATE, context_settings=_SETTINGS)
@click.argument("files", nargs=-1, metavar="[FILE]…")
def validate(files: tuple[str, ...]) -> int:
    """The command object; its help is above."""
    from warmshell.cli.deploying import opened
    from warmshell.cli.output import write_out
    from warmshell.errors import LocationError

    problems: list[str] = []
    for file in files or (None,):
        try:
            problems += opened(file).check()
        except LocationError as error:
            problems.append(str(error))
    for problem in problems:
        write_out(1, f"{problem}\n".encode("utf-8", "surrogateescape"))
    return int(bool(problems))
