"""The command line of the harness: which cases to run, and where the results go."""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import importlib
import json
import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import containers_lab, machine, ssh_lab
from bench.excerpt import renewed
from bench.harness import measure
from bench.model import CASES, Case, Report, restore
from bench.quiet import Patience
from bench.report import markdown, plots, table, targets

_ROOT = Path(__file__).parent.parent
_THEMES = ("latency", "throughput", "output", "scale", "startup")
# They need servers and many packages: only when they are named.
_ASKED_FOR = ("ssh", "transfer", "coprocess", "containers")


def main(arguments: list[str] | None = None) -> int:
    """Runs the harness; its status tells whether everything that was asked for could be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.docs and options.only not in ([], *([theme] for theme in _ASKED_FOR)):
        parser.error(f"--docs is made from a whole run: it goes with no other --only than {', '.join(_ASKED_FOR)}")
    for theme in (*_THEMES, *_ASKED_FOR):
        importlib.import_module(f"bench.{theme}")
    chosen = select(options.only)
    if not chosen:
        print(f"no case matches {' '.join(options.only)}; --list names them", file=sys.stderr)
        return 2
    if options.list:
        for one in chosen:
            print(f"{one.name:18} {one.theme:11} {one.title}")
        return 0
    _more_descriptors()
    data = _loaded(options.read) if options.read else _measured(chosen, options)
    _write(data, options.output, docs=options.docs)
    return 1 if any(outcome["error"] for report in data["cases"] for outcome in report["outcomes"]) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a case or a theme; * and ? match; repeatable",
    )
    parser.add_argument("--quick", action="store_true", help="fewer operations and rounds: a first look")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of every case")
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="where results.json, the tables and the plots go (default: bench/results/local-latest, for ssh local-ssh)",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS",
        help="how long, in all cases together, to wait for a calm machine and to repeat disturbed rounds (default: 60)",
    )  # fmt: skip
    parser.add_argument("--docs", action="store_true", help="also write the page in docs, and its plots")
    parser.add_argument("--read", type=Path, metavar="JSON", help="make the pages from an earlier results.json")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    return parser


def select(patterns: list[str]) -> list[Case]:
    """The cases whose name or theme matches; without a pattern, all but those that must be asked for."""
    if not patterns:
        return [one for one in CASES.values() if one.theme not in _ASKED_FOR]
    return [
        one
        for one in CASES.values()
        if any(fnmatch.fnmatch(word, pattern) for pattern in patterns for word in (one.name, one.theme))
    ]


def _more_descriptors() -> None:
    """256 shells with their pipes need more than the 1,024 descriptors that many systems begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16_384 if hard == resource.RLIM_INFINITY else min(hard, 16_384)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _measured(cases: list[Case], options: argparse.Namespace) -> dict[str, Any]:
    themes = {one.theme for one in cases}
    with ExitStack() as stack:
        if "containers" in themes:
            stack.enter_context(containers_lab.running())
        if themes & {"ssh", "transfer"}:
            stack.enter_context(ssh_lab.running())
        return asyncio.run(_run(cases, options))


async def _run(cases: list[Case], options: argparse.Namespace) -> dict[str, Any]:
    facts, before, start = machine.facts(), machine.load(), time.monotonic()
    if all(one.theme == "ssh" for one in cases):
        facts["peers"] = machine.ssh_peers()
    reports: list[Report] = []
    quick, patience = options.quick, 0 if options.quick else options.patience / len(cases)
    for one in cases:
        began = time.monotonic()
        reports.append(await measure(one, quick=quick, rounds=options.rounds, say=_say, patience=Patience(patience)))
        _say(f"{one.name}: {time.monotonic() - began:.1f} s\n\n{table(reports[-1])}")
    return {
        "machine": facts,
        "load": [before, machine.load()],
        "quick": quick,
        "seconds": round(time.monotonic() - start, 1),
        "cases": [report.data() for report in reports],
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _loaded(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def _write(data: dict[str, Any], output: Path | None, *, docs: bool) -> None:
    reports = [restore(report) for report in data["cases"]]
    pictures = plots(data, reports)
    name, command = "benchmarks", "make bench ARGS=--docs"
    themes = {report.theme for report in reports}
    if len(themes) == 1 and themes <= set(_ASKED_FOR):
        (theme,) = themes
        name, command = f"benchmarks-{theme}", f"make bench ARGS='--only {theme} --docs'"
    local = "local-latest" if name == "benchmarks" else name.replace("benchmarks", "local")
    output = output or _ROOT / "bench/results" / local
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    _pages(output / f"{name}.md", output, markdown(data, reports, "", command), pictures)
    if docs:
        folder = _ROOT / "docs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        _pages(_ROOT / f"docs/{name}.md", folder, markdown(data, reports, f"{name}/", command), pictures)
        for page in _ROOT.glob("docs/*.md"):
            before = page.read_text(encoding="utf-8")
            after = renewed(before, reports)
            if after != before:
                page.write_text(after, encoding="utf-8")
    print(targets(reports))
    print(f"results: {output}")


def _pages(page: Path, folder: Path, text: str, pictures: dict[str, str]) -> None:
    page.write_text(text, encoding="utf-8")
    for theme, picture in pictures.items():
        (folder / f"{theme}.svg").write_text(picture, encoding="utf-8")
