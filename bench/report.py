"""From reports to what people read: Markdown tables and one plot for each theme."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from bench import machine as machines
from bench.model import Outcome, Report, Unit, Verdict, ratios
from warmshell.cli.plot import Bars, Dots, Kind, Lines, Panel, Row, Series, figure, short

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEGEND: dict[Kind, str] = {"warm": "Warmshell", "peer": "peers", "floor": "floors"}
_TITLES = {
    "latency": "Latency: one command after the other",
    "throughput": "Throughput: four commands at once",
    "output": "Much output",
    "scale": "Scale: many shells, long queues",
    "startup": "Starting",
    "ssh": "Commands at a host by SSH",
    "containers": "Commands in containers",
    "coprocess": "Python tools, cold and warm",
    "transfer": "Files at a host by SSH",
}
_HEADS = {"ssh": ": SSH", "containers": ": containers", "coprocess": ": Python tools and coprocesses"}
_AXES: dict[Unit, str] = {
    "command": "milliseconds per command, logarithmic; less is better",
    "gigabyte": "MB per second; more is better",
    "batch": "milliseconds for all of them, logarithmic; less is better",
    "bytes": "kB; less is better",
    "cpu": "milliseconds of CPU; less is better",
    "failures": "commands of 100 that failed; less is better",
}


def seconds(value: float) -> str:
    """A duration in the unit that fits it."""
    if value < 1e-3:
        return f"{short(value * 1e6)} µs"
    return f"{short(value * 1e3)} ms" if value < 1 else f"{short(value)} s"


def size(value: float) -> str:
    """A number of bytes in the unit that fits it."""
    return f"{short(value / 1e3)} kB" if value < 1e6 else f"{short(value / 1e6)} MB"


def shown(value: float, unit: Unit) -> str:
    """A value with its unit."""
    if unit == "failures":
        return f"{short(value * 100)} %"
    return size(value) if unit == "bytes" else seconds(value)


def rate(value: float, unit: Unit) -> str:
    """What a value means per second."""
    return f"{short(1e3 / value)} MB/s" if unit == "gigabyte" else f"{1 / value:,.0f}/s"


# --- Markdown


def markdown(data: dict[str, Any], reports: list[Report], plots: str, command: str = "make bench ARGS=--docs") -> str:
    """The whole page.

    Args:
        data: the facts about the machine and the run.
        reports: what was measured.
        plots: the folder of the plots, as seen from the page; each is named after its theme.
        command: what writes the page.
    """
    themes = _themes(reports)
    head = "# Benchmarks" + (_HEADS.get(themes[0], "") if len(themes) == 1 else "") + "\n"
    written = f"<!-- Written by `{command}`; do not edit. -->\n"
    parts = [head, written, _HEAD, _facts(data), "## Targets\n", targets(reports)]
    for theme in _themes(reports):
        parts.append(f"## {_TITLES.get(theme, theme)}\n")
        parts.append(f"![{_TITLES.get(theme, theme)}]({plots}{theme}.svg)\n")
        for report in reports:
            if report.theme == theme:
                parts += [f"### {report.title}\n", f"{report.text}\n" if report.text else "", table(report)]
    return "\n".join(part for part in parts if part)


_HEAD = """Every figure is the median over several rounds; in each round all contenders take their turn, one after
the other, after a warm-up. A ratio is taken within each round, then the median of the ratios is given with
their lowest and highest: a slow minute of the machine touches both sides of a ratio, so compare ratios, not
absolute times. CPU is that of the client and of everything it started, servers included. A *floor* does less
than any of the others has to do: it shows what this machine makes possible at all.
"""


_FACTS = {
    "date": "date",
    "processor": "processor",
    "cpus": "CPUs",
    "memory_gb": "memory, GB",
    "system": "system",
    "python": "Python",
    "sh": "sh is",
    "warmshell": "Warmshell",
    "commit": "commit",
    "peers": "peers",
}


_MUCH = 0.25  # share of the CPUs
_DISTURBED = """**This run was disturbed**: other work held the processors in most rounds, so that latencies are
those of a busy machine, with wide ranges. Run it again on a calm one.
"""


def _facts(data: dict[str, Any]) -> str:
    machine = data["machine"]
    rows = [f"| {words} | {machine.get(key, '')} |" for key, words in _FACTS.items()]
    others = [share for report in data["cases"] for share in report["others"]]
    if others:
        rows.append(f"| other work | median {median(others):.0%}, at most {max(others):.0%} of the CPUs in a round |")
    rows.append(f"| load before, after | {data['load'][0]}, {data['load'][1]} |")
    kind = "quick (few rounds: a first look only)" if data["quick"] else "full"
    rows.append(f"| run | {kind}, {data['seconds']:.0f} s |")
    disturbed = [_DISTURBED] if others and median(others) > _MUCH else []
    return "\n".join(["| machine | |", "|---|---|", *rows, "", *disturbed])


def targets(reports: Iterable[Report]) -> str:
    """Every target, what was measured for it and whether it was reached."""
    rows = ["| case | target | measured | what a floor would reach | reached |", "|---|---|---|---|---|"]
    for report in reports:
        for verdict in report.verdicts:
            cells = [report.name, verdict.text, _measured(verdict, report.unit), _floor(verdict), _reached(verdict)]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([*rows, ""])


def _reached(verdict: Verdict) -> str:
    if verdict.reached is None:
        return "not measured"
    if verdict.reached:
        return "**yes**"
    floor, sign = verdict.floor_value, 1 if verdict.relation == ">=" else -1
    return "**no**, nor by the floor" if floor is not None and sign * (floor - verdict.bound) < 0 else "**no**"


def _measured(verdict: Verdict, unit: Unit) -> str:
    if verdict.value is None or verdict.low is None or verdict.high is None:
        return "-"
    value, low, high = (_figure(verdict, figure, unit) for figure in (verdict.value, verdict.low, verdict.high))
    return f"{value} ({low} to {high})"


def _figure(verdict: Verdict, value: float, unit: Unit) -> str:
    if verdict.is_ratio:
        return f"{short(value)} x"
    return {"memory": size, "cpu": seconds, "served": seconds}.get(verdict.metric, lambda figure: shown(figure, unit))(
        value
    )


def _floor(verdict: Verdict) -> str:
    if verdict.floor is None or verdict.floor_value is None:
        return ""
    return f"{short(verdict.floor_value)} x ({verdict.floor.removeprefix('floor: ')})"


def table(report: Report) -> str:
    """One row for each contender of a case; who cannot run here is there too, with the reason."""
    columns = _columns(report)
    head = ["", *(name for name, _ in columns)]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    ours = report.outcome(report.ours)
    for outcome in report.outcomes:
        name = f"**{outcome.name}**" if outcome.kind == "warm" else outcome.name
        if outcome.middle() is None:
            reason = outcome.missing or f"failed: {outcome.error}"
            cells = [reason.replace("|", "/").replace("\n", " "), *("" for _ in columns[1:])]
        else:
            cells = [cell(outcome, ours) for _, cell in columns]
        rows.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join([*rows, ""])


def _columns(report: Report) -> list[tuple[str, Any]]:
    """The columns that a case has figures for: their names, and the functions that fill their cells."""
    unit = report.unit
    per = {"command": " per command", "gigabyte": " per GB"}.get(unit, "")
    columns = [
        (f"median{per}", lambda outcome, _: shown(outcome.middle(), unit)),
        ("lowest to highest", lambda outcome, _: _range(outcome, unit)),
    ]
    if unit in {"command", "gigabyte"}:
        columns.append(("rate", lambda outcome, _: rate(outcome.middle(), unit)))
    if unit in {"command", "gigabyte"} and any(outcome.figures("cpu") for outcome in report.outcomes):
        columns.append((f"CPU{per}", lambda outcome, _: "" if outcome.cpu is None else seconds(outcome.cpu)))
    if any(outcome.client is not None for outcome in report.outcomes):
        columns.append(("of it, client", lambda outcome, _: "" if outcome.client is None else seconds(outcome.client)))
    if any(outcome.figures("memory") for outcome in report.outcomes):
        columns.append(("peak memory", lambda outcome, _: size(max(outcome.figures("memory")))))
    columns.append((f"x {report.ours}", _against))
    return columns


def _range(outcome: Outcome, unit: Unit) -> str:
    figures = outcome.figures()
    return f"{shown(min(figures), unit)} to {shown(max(figures), unit)}"


def _against(outcome: Outcome, ours: Outcome | None) -> str:
    """How many times the cost of ours a contender has."""
    found = ratios(outcome, ours) if ours is not None else []
    if not found or ours is outcome:
        return ""
    return f"{short(median(found))} ({short(min(found))} to {short(max(found))})"


# --- plots


def plots(data: dict[str, Any], reports: list[Report]) -> dict[str, str]:
    """One SVG for each theme."""
    subtitle = f"{machines.line(data['machine'])} · medians, with the range over the rounds"
    return {
        theme: figure(
            _TITLES.get(theme, theme),
            subtitle,
            [[_panel(report)] for report in reports if report.theme == theme and _measured_rows(report)],
            legend=_LEGEND,
        )
        for theme in _themes(reports)
    }


def _themes(reports: Iterable[Report]) -> list[str]:
    return list(dict.fromkeys(report.theme for report in reports))


def _measured_rows(report: Report) -> list[Outcome]:
    return [outcome for outcome in report.outcomes if outcome.middle() is not None]


def _panel(report: Report) -> Panel:
    if report.points:
        return _line(report)
    rows = [_row(outcome, report.unit) for outcome in _measured_rows(report)]
    panel = Dots if report.unit in {"command", "batch"} else Bars
    return panel(report.title, rows, _AXES[report.unit])


def _row(outcome: Outcome, unit: Unit) -> Row:
    figures, middle = outcome.figures(), outcome.middle() or 0.0
    low, high = min(figures), max(figures)
    if unit == "gigabyte":
        return Row(outcome.name, 1e3 / middle, 1e3 / high, 1e3 / low, outcome.kind, rate(middle, unit))
    factor = {"bytes": 1e-3, "failures": 100.0}.get(unit, 1e3)
    return Row(outcome.name, middle * factor, low * factor, high * factor, outcome.kind, shown(middle, unit))


def _line(report: Report) -> Lines:
    points = [(float(outcome.name), (outcome.middle() or 0.0) * 1e6) for outcome in _measured_rows(report)]
    title = f"{report.title}"
    x_axis = {"shells": "shells, and commands at once", "queue": "commands asked for at once"}.get(report.name, "")
    return Lines(title, [Series(report.name, points, "warm")], x_axis, "microseconds per command", dots=True)
