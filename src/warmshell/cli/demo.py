"""``warm demo``: the same commands with a process each and warm, compared byte by byte and by the clock."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sysconfig
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmshell.cli.plot import Bars, Kind, Lines, Row, Series, figure, short
from warmshell.cli.usage import CpuMeter

if TYPE_CHECKING:
    from warmshell.pool import Pool

Said = tuple[int, bytes, bytes]
"""What a command said: its status, stdout and stderr."""

Run = Callable[["Step", str], Awaitable[Said]]

_BLOCK = 200  # files that one way does before the other has its turn, so that both see the same machine
_QUICK = 200  # files of a quick demo
WAYS = ("process", "warm")
_KINDS: dict[str, Kind] = {"process": "peer", "warm": "warm"}


@dataclass(frozen=True)
class Step:
    """One command that is run for every file.

    Attributes:
        name: what the table shows.
        words: its words, the file's name to follow; empty for a script.
        script: a sh script with ``{}`` for the quoted name of the file; empty for words.
    """

    name: str
    words: tuple[str, ...] = ()
    script: str = ""

    def what(self, path: str) -> list[str] | str:
        """What the warm side is given: words, or a script."""
        return self.script.replace("{}", shlex.quote(path)) if self.script else [*self.words, path]

    def argv(self, path: str) -> list[str]:
        """What a process of its own is given."""
        what = self.what(path)
        return ["sh", "-c", what] if isinstance(what, str) else what


@dataclass
class Tally:
    """What one way of running a step has cost so far."""

    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Commands per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float:
        """The latency that this share of the commands did not exceed, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass
class Outcome:
    """Everything that came of a demo."""

    files: int
    size: int
    jobs: int
    opening: float
    tallies: dict[str, dict[str, Tally]]

    def ratio(self, step: str) -> float:
        """How many times faster warm was."""
        process, warm = (self.tallies[step][way].seconds for way in WAYS)
        return process / warm if warm else 0.0


class DemoError(Exception):
    """The two ways did not say the same."""


@click.command(
    short_help="Real commands on real files, with a process each and warm.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--files", "limit", type=click.IntRange(min=1), help="Use at most N files, spread over all of them.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Commands at once (default: the number of CPUs).")
@click.option("--quick", is_flag=True, help=f"A demo of seconds: {_QUICK} files.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Where the plot and the figures go.",
)
def demo(limit: int | None, jobs: int | None, quick: bool, output: Path) -> None:
    """Run a few commands for every file of Python's own standard library, twice.

    Once with a new process per command and once warm, with as many commands at once. Both must say the same
    bytes for every file. Short programs gain little: starting them is the kernel's work, warm or not. What a
    shell can do by itself (test, echo) gains much.
    """
    files = library(limit or (_QUICK if quick else None))
    steps = _steps()
    _prepare(output)
    try:
        outcome = _perform(steps, files, jobs or _cpus())
    except DemoError as error:
        click.echo(f"warm: {error}", err=True)
        raise click.exceptions.Exit(1) from None
    _show(outcome)
    plot = _write(outcome, output)
    click.echo(f"Same bytes for every file and command. Plot: {plot}")


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def library(limit: int | None) -> list[str]:
    """The files of the running Python's standard library; evenly spread ones when there is a limit."""
    files = []
    for folder, below, names in os.walk(sysconfig.get_path("stdlib")):
        below[:] = sorted(set(below) - {"site-packages", "dist-packages", "__pycache__"})
        paths = (Path(folder, name) for name in sorted(names))
        files += [str(path) for path in paths if path.is_file() and os.access(path, os.R_OK)]
    if limit is None or limit >= len(files):
        return files
    return [files[index * len(files) // limit] for index in range(limit)]


def _steps() -> list[Step]:
    digest = "sha256sum" if shutil.which("sha256sum") else "cksum"
    if missing := [name for name in (digest, "wc", "gzip", "test", "echo") if shutil.which(name) is None]:
        raise click.UsageError(f"the demo needs {', '.join(missing)}, which this machine does not have")
    return [
        Step(f"{digest} FILE", (digest,)),
        Step("wc FILE", ("wc",)),
        Step(f"gzip | gunzip | {digest}", script=f"gzip -c {{}} | gzip -dc | {digest}"),
        Step("test -s FILE", ("test", "-s")),
        Step("echo FILE", ("echo",)),
    ]


def _prepare(output: Path) -> None:
    """Makes the folder before anything is run: a minute of work is not to end with a path that cannot be."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"cannot write to {output}: {error.strerror}") from None
    if not os.access(output, os.W_OK | os.X_OK):
        raise click.UsageError(f"cannot write to {output}: no permission")


# --- running


def _perform(steps: Sequence[Step], files: Sequence[str], jobs: int) -> Outcome:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from warmshell.cli.common import run_async

    found: list[Outcome] = []
    console = Console(stderr=True)
    size = _read_once(files)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(WAYS) * len(steps) * len(files))

        def advance(step: Step, count: int) -> None:
            progress.update(task, advance=count, description=step.name)

        async def main() -> int:
            found.append(await compare(steps, files, jobs, size, advance))
            return 0

        if status := run_async(main()):
            click.echo("interrupted: nothing was written", err=True)
            raise click.exceptions.Exit(status)
    return found[0]


def _read_once(files: Sequence[str]) -> int:
    """Brings all files into the cache of the system, so that the disk takes no side; their bytes."""
    return sum(len(Path(path).read_bytes()) for path in files)


async def compare(
    steps: Sequence[Step], files: Sequence[str], jobs: int, size: int, advance: Callable[[Step, int], None]
) -> Outcome:
    """Runs every step for every file in both ways, block by block in turn, and holds them against each other.

    Raises:
        DemoError: when the two ways differ in a status or a byte.
    """
    from warmshell import Pool, connect

    start = time.perf_counter()
    async with connect("local:", shells=jobs) as node, Pool([node], size=jobs) as pool:
        await pool.run(["true"])
        outcome = Outcome(len(files), size, jobs, time.perf_counter() - start, {})
        runs: dict[str, Run] = {"process": _process, "warm": _warm(pool)}
        digests: dict[str, dict[str, bytes]] = {}
        for step in steps:
            tallies = outcome.tallies[step.name] = {way: Tally() for way in WAYS}
            for number, first in enumerate(range(0, len(files), _BLOCK)):
                block = files[first : first + _BLOCK]
                order = WAYS if number % 2 == 0 else WAYS[::-1]
                said = {}
                for way in order:
                    said[way] = await _drive(runs[way], step, block, jobs, tallies[way])
                    advance(step, len(block))
                _same(step, block, said)
                digests.setdefault(step.name, {}).update(_first_words(block, said["warm"]))
    _verified(steps, digests)
    return outcome


def _warm(pool: Pool) -> Run:
    async def run(step: Step, path: str) -> Said:
        result = await pool.run(step.what(path))
        return result.returncode, result.stdout, result.stderr

    return run


async def _process(step: Step, path: str) -> Said:
    """The standard library's way: a new process for every command."""
    import asyncio

    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*step.argv(path), stdin=null, stdout=pipe, stderr=pipe)
    try:
        stdout, stderr = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):  # it may have ended just now
            process.kill()
        await process.wait()
        raise
    return process.returncode or 0, stdout, stderr


async def _drive(run: Run, step: Step, block: Sequence[str], jobs: int, tally: Tally) -> list[Said]:
    """One block in one way, ``jobs`` commands at once."""
    import asyncio

    said: dict[int, Said] = {}
    numbers = iter(range(len(block)))

    async def worker() -> None:
        for number in numbers:
            start = time.perf_counter()
            said[number] = await run(step, block[number])
            tally.latencies.append(time.perf_counter() - start)

    meter, start = CpuMeter(), time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(jobs):
                group.create_task(worker())
    except ExceptionGroup as errors:  # the first says what went wrong; it is shown as one sentence
        raise errors.exceptions[0] from None
    tally.seconds += time.perf_counter() - start
    tally.cpu += meter.read()
    return [said[number] for number in range(len(block))]


def _same(step: Step, block: Sequence[str], said: dict[str, list[Said]]) -> None:
    for path, process, warm in zip(block, said["process"], said["warm"], strict=True):
        if process != warm:
            text = f"{step.name} differs for {path}: a process of its own gave {process!r}, warm gave {warm!r}"
            raise DemoError(text)


def _first_words(block: Sequence[str], said: Sequence[Said]) -> dict[str, bytes]:
    """The first word that each command wrote, less the mark by which GNU tools announce an escaped name."""
    words = ((path, stdout.split(maxsplit=1)) for path, (_, stdout, _) in zip(block, said, strict=True))
    return {path: found[0].removeprefix(b"\\") for path, found in words if found}


def _verified(steps: Sequence[Step], digests: dict[str, dict[str, bytes]]) -> None:
    """What was packed and unpacked must have the checksum of the file itself."""
    plain = next((step.name for step in steps if step.words and "sum" in step.words[0]), "")
    packed = next((step.name for step in steps if step.script), "")
    for path, digest in digests.get(packed, {}).items():
        if digests.get(plain, {}).get(path, digest) != digest:
            raise DemoError(f"{path} is not the same after gzip and back")


# --- showing


def _show(outcome: Outcome) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2, title_justify="left", pad_edge=False)
    table.title = f"{outcome.files:,} files, {outcome.size / 1e6:.0f} MB, {outcome.jobs} commands at once"
    for name in ("command", "way"):
        table.add_column(name, no_wrap=True)
    for name in ("runs", "seconds", "runs/s", "median", "p95", "CPU s", "faster"):
        table.add_column(name, justify="right", no_wrap=True)
    for step, tallies in outcome.tallies.items():
        table.add_row(step, *_cells("process", tallies["process"]), "")
        ratio = f"[bold]{outcome.ratio(step):.1f} x[/bold]"
        table.add_row("", *_cells("warm", tallies["warm"]), ratio, end_section=True)
    totals = {way: _total(outcome, way) for way in WAYS}
    table.add_row("all", *_cells("process", totals["process"]), "")
    ratio = f"[bold]{totals['process'].seconds / max(totals['warm'].seconds, 1e-9):.1f} x[/bold]"
    table.add_row("", *_cells("warm", totals["warm"]), ratio)
    console.print(table)
    click.echo(f"Opening the warm shells took {outcome.opening * 1e3:.0f} ms, once; it is not in the figures above.")


def _total(outcome: Outcome, way: str) -> Tally:
    parts = [tallies[way] for tallies in outcome.tallies.values()]
    latencies = [latency for part in parts for latency in part.latencies]
    return Tally(sum(part.seconds for part in parts), sum(part.cpu for part in parts), latencies)


def _cells(way: str, tally: Tally) -> list[str]:
    median, late = (f"{tally.quantile(share) * 1e3:.2f} ms" for share in (0.5, 0.95))
    counts = [f"{len(tally.latencies):,}", f"{tally.seconds:.2f}", f"{tally.rate:,.0f}"]
    return [way, *counts, median, late, f"{tally.cpu:.2f}"]


def _write(outcome: Outcome, output: Path) -> Path:
    """The plot, and the figures as JSON."""
    import json

    plot = output / "demo.svg"
    plot.write_text(_picture(outcome), encoding="utf-8")
    (output / "demo.json").write_text(json.dumps(_figures(outcome), indent=1) + "\n", encoding="utf-8")
    return plot


def _figures(outcome: Outcome) -> dict[str, Any]:
    steps = {
        step: {
            way: {
                "runs": len(tally.latencies),
                "seconds": tally.seconds,
                "cpu": tally.cpu,
                "median": tally.quantile(0.5),
                "p95": tally.quantile(0.95),
            }
            for way, tally in tallies.items()
        }
        for step, tallies in outcome.tallies.items()
    }
    return {"files": outcome.files, "bytes": outcome.size, "jobs": outcome.jobs, "steps": steps}


def _picture(outcome: Outcome) -> str:
    lines = [
        Lines(step, _curves(tallies), "milliseconds, logarithmic", "% of commands done within")
        for step, tallies in outcome.tallies.items()
    ]
    rate = Bars("Throughput", _bars(outcome, cpu=False), "commands per second; more is better", group=2)
    cpu = Bars("CPU", _bars(outcome, cpu=True), "ms of CPU per command; less is better", group=2)
    subtitle = (
        f"{outcome.files:,} files of Python's standard library, {outcome.jobs} commands at once, "
        f"{os.cpu_count()} CPUs; the same bytes both ways"
    )
    return figure(
        "The same commands, with a process each and warm",
        subtitle,
        [[rate], lines[:2], lines[2:4], [*lines[4:], cpu]],
        legend={"warm": "warm", "peer": "a process per command"},
    )


def _curves(tallies: dict[str, Tally]) -> list[Series]:
    shares = [index / 100 for index in range(1, 100)]
    return [
        Series(way, [(tallies[way].quantile(share) * 1e3, share * 100) for share in shares], kind)
        for way, kind in _KINDS.items()
    ]


def _bars(outcome: Outcome, *, cpu: bool) -> list[Row]:
    rows = []
    for step, tallies in outcome.tallies.items():
        for way, kind in _KINDS.items():
            tally = tallies[way]
            value = tally.cpu * 1e3 / max(1, len(tally.latencies)) if cpu else tally.rate
            shown = f"{short(value)} ms" if cpu else f"{value:,.0f}/s"
            rows.append(Row(step if way == "process" else "", value, value, value, kind, shown))
    return rows
