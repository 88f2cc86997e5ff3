"""Small SVG plots: dots with their range, bars from zero, and lines. Standard library only.

A figure is a card of its own colour with rows of panels, so that it reads on white pages and on dark ones;
where a viewer prefers dark, the card turns dark as a whole. What is ours, what is a peer and what is a floor
differ by shape as well as by colour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["warm", "peer", "floor"]

WIDTH = 800.0
_MARGIN = 24.0
_GAP = 28.0
_ROW = 26.0  # height of one row of dots or bars
_TITLE = 34.0  # height of a panel's title
_AXIS = 44.0  # height of tick labels and the axis title
_PLOT = 150.0  # height of the drawing area of a line panel
_CHARACTER = 0.56  # width of an average character, as a share of the font size
_DASHES = {"warm": "", "peer": ' stroke-dasharray="7 4"', "floor": ' stroke-dasharray="2 4"'}

_STYLE = """
text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; }
.card { fill: #ffffff; stroke: #d5d9de; } .text { fill: #1f2328; } .muted { fill: #59636e; }
.grid { stroke: #e4e7eb; } .axis { stroke: #9aa3ad; } .range { stroke: #1f2328; }
.warm { fill: #e8590c; stroke: #e8590c; } .peer { fill: #3566b0; stroke: #3566b0; }
.floor { fill: #ffffff; stroke: #2b8a3e; } .line { fill: none; }
@media (prefers-color-scheme: dark) {
.card { fill: #15191f; stroke: #343b45; } .text { fill: #e8eaed; } .muted { fill: #a3adb8; }
.grid { stroke: #2a313a; } .axis { stroke: #6b7580; } .range { stroke: #e8eaed; }
.warm { fill: #ff8a3d; stroke: #ff8a3d; } .peer { fill: #7fa9ea; stroke: #7fa9ea; }
.floor { fill: #15191f; stroke: #63c174; } .line { fill: none; }
}
"""


@dataclass(frozen=True)
class Row:
    """One measured thing: its value, the range it was seen in, and the words shown beside it."""

    label: str
    value: float
    low: float
    high: float
    kind: Kind
    shown: str


@dataclass(frozen=True)
class Series:
    """One line through points of growing x."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: Kind


class Panel(Protocol):
    """One drawing of a figure."""

    def height(self) -> float:
        """How much vertical room it takes."""
        ...

    def draw(self, x: float, y: float, width: float) -> list[str]:
        """Its SVG elements, with the upper left corner at x, y."""
        ...

    def kinds(self) -> set[Kind]:
        """The kinds of things it shows, for the legend."""
        ...


@dataclass(frozen=True)
class Scale:
    """From values to positions on the page, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value; what lies outside is moved to the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values for the axis."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)


def scale_for(values: Sequence[float], start: float, end: float, *, log: bool) -> Scale:
    """A scale that holds all values; a linear one begins at zero."""
    usable = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if log:
        low, high = (min(usable), max(usable)) if usable else (1.0, 10.0)
        return Scale(low / 1.3, high * 1.3, start, end, log=True)
    high = max(usable, default=1.0)
    return Scale(0.0, high * 1.04 if high > 0 else 1.0, start, end)


def _linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = math.log10(high / low)
    factors: tuple[int, ...] = (1,) if decades > 2.2 else (1, 3) if decades > 1.4 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]


def short(value: float) -> str:
    """A number in at most three significant digits, with thousands as k, millions as M."""
    for bound, factor, suffix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= bound * 0.9995:
            return _digits(value / factor) + suffix
    return _digits(value)


def _digits(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    places = min(6, max(0, 2 - math.floor(math.log10(abs(value)))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def text_width(text: str, size: float) -> float:
    """About how wide a text is drawn."""
    return len(text) * size * _CHARACTER


def _text(x: float, y: float, text: str, *, size: float = 12, anchor: str = "start", style: str = "text") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}" class="{style}">'
        f"{escape(text)}</text>"
    )


def _bold(x: float, y: float, text: str, size: float) -> str:
    return _text(x, y, text, size=size).replace("<text ", '<text font-weight="600" ', 1)


def _line(start: tuple[float, float], end: tuple[float, float], style: str, *, width: float = 1) -> str:
    (x1, y1), (x2, y2) = start, end
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} class="{style}" stroke-width="{width:g}"/>'


def _marker(x: float, y: float, kind: Kind) -> str:
    if kind == "warm":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" class="warm"/>'
    if kind == "peer":
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" class="peer"/>'
    points = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 6:.1f},{y:.1f}"
    return f'<polygon points="{points}" class="floor" stroke-width="2"/>'


def _bar(start: float, end: float, middle: float, kind: Kind) -> str:
    place = f'x="{start:.1f}" y="{middle - 8:.1f}" width="{end - start:.1f}" height="16"'
    return f'<rect {place} rx="2" class="{kind}"/>'


def _x_axis(scale: Scale, top: float, bottom: float, label: str) -> list[str]:
    parts = []
    for tick in scale.ticks():
        parts.append(_line((scale(tick), top), (scale(tick), bottom), "grid"))
        parts.append(_text(scale(tick), bottom + 16, short(tick), size=11, anchor="middle", style="muted"))
    parts.append(_line((scale.start, bottom), (scale.end, bottom), "axis"))
    middle = (scale.start + scale.end) / 2
    parts.append(_text(middle, bottom + 34, label, size=11, anchor="middle", style="muted"))
    return parts


@dataclass(frozen=True)
class Dots:
    """Rows of one value each on a logarithmic axis, with a bar over the range that was seen."""

    title: str
    rows: Sequence[Row]
    axis: str

    def height(self) -> float:
        """How much vertical room it takes."""
        return _TITLE + _ROW * len(self.rows) + _AXIS

    def kinds(self) -> set[Kind]:
        """The kinds of things it shows."""
        return {row.kind for row in self.rows}

    def draw(self, x: float, y: float, width: float) -> list[str]:
        """Its SVG elements."""
        label, shown = _columns(self.rows)
        values = [value for row in self.rows for value in (row.low, row.value, row.high)]
        scale = scale_for(values, x + label, x + width - shown, log=True)
        top, bottom = y + _TITLE - 6, y + _TITLE + _ROW * len(self.rows)
        parts = [_bold(x, y + 15, self.title, 14), *_x_axis(scale, top, bottom, self.axis)]
        for index, row in enumerate(self.rows):
            middle = y + _TITLE + _ROW * (index + 0.5)
            parts += _row_words(row, x, scale, middle, width)
            parts.append(_line((scale(row.low), middle), (scale(row.high), middle), row.kind, width=3))
            parts.append(_marker(scale(row.value), middle, row.kind))
        return parts


@dataclass(frozen=True)
class Bars:
    """Rows of one value each as bars from zero, on a linear axis; ``group`` rows stand together each time."""

    title: str
    rows: Sequence[Row]
    axis: str
    group: int = 1

    def height(self) -> float:
        """How much vertical room it takes."""
        return self._place(len(self.rows)) + _AXIS

    def kinds(self) -> set[Kind]:
        """The kinds of things it shows."""
        return {row.kind for row in self.rows}

    def draw(self, x: float, y: float, width: float) -> list[str]:
        """Its SVG elements."""
        label, shown = _columns(self.rows)
        scale = scale_for([row.high for row in self.rows], x + label, x + width - shown, log=False)
        bottom = y + self._place(len(self.rows))
        parts = [_bold(x, y + 15, self.title, 14), *_x_axis(scale, y + _TITLE - 6, bottom, self.axis)]
        for index, row in enumerate(self.rows):
            middle = y + self._place(index) + self._step() / 2
            parts += _row_words(row, x, scale, middle, width)
            parts.append(_bar(scale.start, scale(row.value), middle, row.kind))
            if row.high > row.low:
                ends = (scale(row.low), middle), (scale(row.high), middle)
                parts.append(_line(*ends, "range", width=1.5))
        return parts

    def _step(self) -> float:
        return _ROW if self.group == 1 else _ROW * 0.75

    def _place(self, index: int) -> float:
        """Where a row begins, below the top of the panel."""
        return _TITLE + index * self._step() + (0 if self.group == 1 else index // self.group * 8)


def _columns(rows: Sequence[Row]) -> tuple[float, float]:
    """The width of the labels at the left and of the values at the right."""
    sizes = {"warm": 13.4, "peer": 12, "floor": 12}  # ours are bold, and wider for it
    label = max((text_width(row.label, sizes[row.kind]) for row in rows), default=0) + 14
    shown = max((text_width(row.shown, 12) for row in rows), default=0) + 16
    return label, shown


def _row_words(row: Row, x: float, scale: Scale, middle: float, width: float) -> list[str]:
    label = _text(scale.start - 10, middle + 4, row.label, anchor="end")
    if row.kind == "warm":
        label = label.replace("<text ", '<text font-weight="600" ', 1)
    return [label, _text(x + width, middle + 4, row.shown, anchor="end", style="muted")]


@dataclass(frozen=True)
class Lines:
    """Lines through points: costs over a growing size, or the share of commands done within a time."""

    title: str
    series: Sequence[Series]
    x_axis: str
    y_axis: str
    log_x: bool = True
    log_y: bool = False
    dots: bool = False

    def height(self) -> float:
        """How much vertical room it takes."""
        return _TITLE + 14 + _PLOT + _AXIS

    def kinds(self) -> set[Kind]:
        """The kinds of things it shows."""
        return {series.kind for series in self.series}

    def draw(self, x: float, y: float, width: float) -> list[str]:
        """Its SVG elements."""
        top, bottom = y + _TITLE + 14, y + _TITLE + 14 + _PLOT
        points = [point for series in self.series for point in series.points]
        x_scale = scale_for([point[0] for point in points], x + 46, x + width - 8, log=self.log_x)
        y_scale = scale_for([point[1] for point in points], bottom, top, log=self.log_y)
        parts = [_bold(x, y + 15, self.title, 14), _text(x, y + 35, self.y_axis, size=11, style="muted")]
        for tick in y_scale.ticks():
            parts.append(_line((x_scale.start, y_scale(tick)), (x_scale.end, y_scale(tick)), "grid"))
            parts.append(_text(x + 40, y_scale(tick) + 4, short(tick), size=11, anchor="end", style="muted"))
        parts += _x_axis(x_scale, top, bottom, self.x_axis)
        for series in self.series:
            parts += self._curve(series, x_scale, y_scale)
        return parts

    def _curve(self, series: Series, x_scale: Scale, y_scale: Scale) -> list[str]:
        places = [(x_scale(x), y_scale(y)) for x, y in series.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        look = f'class="{series.kind} line" stroke-width="2.5"{_DASHES[series.kind]}'
        curve = f'<polyline points="{path}" {look}><title>{escape(series.name)}</title></polyline>'
        return [curve, *(_marker(x, y, series.kind) for x, y in places if self.dots)]


def figure(title: str, subtitle: str, rows: Sequence[Sequence[Panel]], *, legend: dict[Kind, str]) -> str:
    """A whole SVG document: rows of panels, under a title and a legend.

    Args:
        title: what is shown.
        subtitle: where and how it was measured.
        rows: what to draw; the panels of a row stand side by side and share its width.
        legend: the words for each kind; kinds that no panel shows are left out.
    """
    parts = [_bold(_MARGIN, 40, title, 18), _text(_MARGIN, 60, subtitle, size=12, style="muted")]
    shown: set[Kind] = {kind for row in rows for panel in row for kind in panel.kinds()}
    parts += _legend({kind: words for kind, words in legend.items() if kind in shown}, 84)
    y = 112.0
    for row in rows:
        width = (WIDTH - 2 * _MARGIN - (len(row) - 1) * _GAP) / len(row)
        for column, panel in enumerate(row):
            parts += panel.draw(_MARGIN + column * (width + _GAP), y, width)
        y += max(panel.height() for panel in row) + _GAP * 0.6
    return _document(title, parts, y)


def _document(title: str, parts: Sequence[str], height: float) -> str:
    size = f'width="{WIDTH:.0f}" height="{height:.0f}" viewBox="0 0 {WIDTH:.0f} {height:.0f}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    card = f'<rect x="0.5" y="0.5" width="{WIDTH - 1:.0f}" height="{height - 1:.0f}" rx="8" class="card"/>'
    head = f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    return "\n".join([opening, head, card, *parts, "</svg>", ""])


def _legend(words: dict[Kind, str], y: float) -> list[str]:
    parts, x = [], _MARGIN + 6
    for kind, text in words.items():
        parts.append(_marker(x, y - 4, kind))
        parts.append(_text(x + 12, y, text, size=12))
        x += 12 + text_width(text, 12) + 30
    return parts
