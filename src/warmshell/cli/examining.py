"""What ``warm doctor`` does: asks every location, tries its shells, shows the findings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from warmshell.cli.checks import PROBE, SHELLS, Check, judge, parse
from warmshell.cli.output import write_out
from warmshell.connector import connect
from warmshell.errors import LocationError, WarmshellError
from warmshell.location import Location

_FRAMINGS = ("pipes", "markers")
_PATIENCE = 20.0
_MARKS = {"ok": "ok", "note": "note", "missing": "MISSING"}


async def examine(urls: Sequence[str], *, as_json: bool) -> int:
    """Examine every location; 1 when something essential is missing anywhere."""
    missing = False
    for url in urls:
        async with connect(url) as place:
            answers = parse((await place.run(PROBE, timeout=_PATIENCE)).text)
            name = place.name
        shells = [shell for shell in SHELLS if f"path {shell}" in answers]
        framings = {shell: await _framings(url, shell) for shell in shells}
        checks = [*_ours(), *judge(answers, framings)]
        missing |= any(check.state == "missing" for check in checks)
        _show(name, checks, as_json=as_json)
    return int(missing)


def _ours() -> list[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    return [Check("Python of warm", f"{version}, {sys.executable}")]


async def _framings(url: str, shell: str) -> tuple[str, ...]:
    """The framings that work in a shell; a location without a choice of framing has the markers."""
    works = []
    for framing in _FRAMINGS:
        try:
            place = connect(url, shell=shell, framing=framing)
        except LocationError:
            if framing == "markers" and await _works(connect(url, shell=shell)):
                works.append(framing)
            continue
        if await _works(place):
            works.append(framing)
    return tuple(works)


async def _works(place: Location) -> bool:
    try:
        async with place:
            result = await place.run("printf out; printf err >&2; exit 3", timeout=_PATIENCE)
    except (WarmshellError, OSError):
        return False
    return (result.returncode, result.stdout, result.stderr) == (3, b"out", b"err")


def _show(name: str, checks: Sequence[Check], *, as_json: bool) -> None:
    if as_json:
        _say(json.dumps({"location": name, "checks": [check.fields() for check in checks]}))
    elif os.isatty(1):
        _show_table(name, checks)
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            advice = f"  -> {check.advice}" if check.advice else ""
            _say(f"{name}  {_MARKS[check.state]:7}  {check.name:{width}}  {check.found or '-'}{advice}")


def _say(line: str) -> None:
    write_out(1, f"{line}\n".encode("utf-8", "surrogateescape"))


def _show_table(name: str, checks: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "note": "yellow", "missing": "bold red"}
    table = Table(title=f"{name}", title_justify="left")
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for check in checks:
        state = Text(_MARKS[check.state], style=styles[check.state])
        table.add_row(state, check.name, Text(check.found or "-"), Text(check.advice))
    Console().print(table)
