"""What is measured: cases, the contenders of a case, targets; and what came of it, as plain data for JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from warmshell.cli.plot import Kind

Unit = Literal["command", "gigabyte", "batch", "bytes", "cpu", "failures"]
"""What one value is: seconds per command, per GB or per batch of commands, bytes, CPU seconds, or the share of commands
that failed. Less is better in all."""

Metric = Literal["value", "cpu", "memory", "served"]


@dataclass(frozen=True)
class Reading:
    """What a contender measured by itself, where the clock around the block would be wrong."""

    value: float
    cpu: float | None = None
    memory: float | None = None


Block = Callable[[int], Awaitable[Reading | None]]
"""Does a number of operations; says ``None`` for "time me", or what it measured itself."""


@dataclass(frozen=True)
class Contender:
    """One way of doing what a case is about.

    Attributes:
        name: what the table shows.
        kind: whether it is ours, a peer, or a floor that nobody can be below.
        make: opens what it needs and yields the block that does the work.
        missing: the reason why it cannot run here, or ``None``.
        share: the share of the case's operations that it does in a round, for what is far slower.
    """

    name: str
    kind: Kind
    make: Callable[[], AbstractAsyncContextManager[Block]]
    missing: str | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Target:
    """A bound on a ratio of two contenders (``over`` / ``under``), or on one figure (no ``under``)."""

    text: str
    over: str
    under: str | None
    relation: Literal[">=", "<="]
    bound: float
    metric: Metric = "value"
    floor: str | None = None  # what the ratio would be for this contender in the place of ours

    def holds(self, value: float) -> bool:
        """Whether a figure keeps the bound."""
        return value >= self.bound if self.relation == ">=" else value <= self.bound


@dataclass(frozen=True)
class Case:
    """One comparison: every contender in every round, one after the other."""

    name: str
    theme: str
    title: str
    text: str
    contenders: Callable[[], list[Contender]]
    unit: Unit
    count: int
    quick: int
    rounds: int
    targets: Sequence[Target]
    ours: str
    points: bool  # the contenders are points of a line: their names are its x values
    each: bool = False  # every operation is timed by itself, and a round's figure is their median


CASES: dict[str, Case] = {}


def case(
    name: str,
    *,
    theme: str,
    title: str,
    text: str = "",
    unit: Unit = "command",
    count: int,
    quick: int | None = None,
    rounds: int = 7,
    targets: Sequence[Target] = (),
    ours: str = "Warmshell",
    points: bool = False,
    each: bool = False,
) -> Callable[[Callable[[], list[Contender]]], Callable[[], list[Contender]]]:
    """Registers a function that returns the contenders of a case."""

    def register(contenders: Callable[[], list[Contender]]) -> Callable[[], list[Contender]]:
        if name in CASES:
            raise ValueError(f"two cases are named {name}")
        smaller = max(1, count // 5) if quick is None else quick
        CASES[name] = Case(
            name, theme, title, text, contenders, unit, count, smaller, rounds, targets, ours, points, each
        )
        return contenders

    return register


@dataclass
class Sample:
    """One round of one contender, per operation.

    Attributes:
        served: CPU without that of the client, where a server does the work; all of it elsewhere.
    """

    value: float
    cpu: float | None = None
    memory: float | None = None
    served: float | None = None


@dataclass
class Outcome:
    """All rounds of one contender; a sample is ``None`` for a round that it did not take part in."""

    name: str
    kind: Kind
    missing: str | None = None
    error: str | None = None
    samples: list[Sample] = field(default_factory=list)

    def figures(self, metric: Metric = "value") -> list[float]:
        """One figure a round."""
        return [figure for sample in self.samples if (figure := getattr(sample, metric)) is not None]

    def middle(self, metric: Metric = "value") -> float | None:
        """The median over the rounds."""
        figures = self.figures(metric)
        return median(figures) if figures else None

    @property
    def cpu(self) -> float | None:
        """Mean CPU seconds per operation: the kernel counts in ticks, so that only the sum is exact."""
        return _mean(self.figures("cpu"))

    @property
    def client(self) -> float | None:
        """That part of it that is the client's; ``None`` where no server does the work."""
        cpu, served = self.cpu, _mean(self.figures("served"))
        return None if cpu is None or served is None or served >= cpu else cpu - served


def _mean(figures: list[float]) -> float | None:
    return sum(figures) / len(figures) if figures else None


@dataclass
class Verdict:
    """A target, what was measured for it, and whether it was reached (``None``: it could not be measured)."""

    text: str
    relation: str
    bound: float
    metric: str
    is_ratio: bool
    value: float | None
    low: float | None
    high: float | None
    floor: str | None
    floor_value: float | None
    reached: bool | None


@dataclass
class Report:
    """All outcomes of one case."""

    name: str
    theme: str
    title: str
    text: str
    unit: Unit
    count: int
    rounds: int
    ours: str
    points: bool
    outcomes: list[Outcome]
    verdicts: list[Verdict]
    others: list[float] = field(default_factory=list)  # share of all CPUs that other work took in each round

    def outcome(self, name: str) -> Outcome | None:
        """The outcome of the contender of that name."""
        return next((outcome for outcome in self.outcomes if outcome.name == name), None)

    def data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def restore(data: dict[str, Any]) -> Report:
    """The report that :meth:`Report.data` was made from."""
    outcomes = [
        Outcome(**{**outcome, "samples": [Sample(**sample) for sample in outcome["samples"]]})
        for outcome in data["outcomes"]
    ]
    verdicts = [Verdict(**verdict) for verdict in data["verdicts"]]
    return Report(**{**data, "outcomes": outcomes, "verdicts": verdicts})


def ratios(over: Outcome, under: Outcome, metric: Metric = "value") -> list[float]:
    """The ratio in each round, so that a slow minute of the machine touches both sides of it."""
    pairs = zip(over.figures(metric), under.figures(metric), strict=False)
    return [a / b for a, b in pairs if b > 0]


def judge(target: Target, report: Report) -> Verdict:
    """Holds a target against what was measured."""
    figures = _figures(report, target.over, target.under, target.metric)
    value = median(figures) if figures else None
    # Ours is what is to be small: below in a ratio that is to be large, above in one that is to be small.
    sides = (target.over, target.floor) if target.relation == ">=" else (target.floor, target.under)
    floor = _figures(report, *sides, target.metric) if target.floor else []
    return Verdict(
        text=target.text,
        relation=target.relation,
        bound=target.bound,
        metric=target.metric,
        is_ratio=target.under is not None,
        value=value,
        low=min(figures, default=None),
        high=max(figures, default=None),
        floor=target.floor,
        floor_value=median(floor) if floor else None,
        reached=None if value is None else target.holds(value),
    )


def _figures(report: Report, over: str | None, under: str | None, metric: Metric) -> list[float]:
    above = report.outcome(over or "")
    if above is None:
        return []
    if under is None:
        return above.figures(metric)
    below = report.outcome(under)
    return [] if below is None else ratios(above, below, metric)
