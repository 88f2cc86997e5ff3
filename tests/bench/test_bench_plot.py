"""The plots are well-formed, hold what they were given, and put it in the right place."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.cli.plot import Bars, Dots, Lines, Row, Scale, Series, figure, scale_for, short

SVG = "{http://www.w3.org/2000/svg}"
LEGEND = {"warm": "ours", "peer": "theirs", "floor": "the floor"}


def drawn(*rows):
    return ET.fromstring(figure("A title", "where", rows, legend=LEGEND))


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def row(label="a", value=1.0, low=0.5, high=2.0, kind="warm"):
    return Row(label, value, low, high, kind, f"{value} ms")


def test_words_are_escaped_and_all_there():
    root = drawn([Dots("<&>", [row("x < y & z"), row('"quoted"', kind="peer")], "ms")])
    assert {"A title", "where", "<&>", "x < y & z", '"quoted"', "1.0 ms", "ms"} <= set(texts(root))


def test_the_legend_names_only_what_is_shown():
    shown = texts(drawn([Dots("t", [row(kind="peer"), row(kind="floor")], "ms")]))
    assert "theirs" in shown
    assert "the floor" in shown
    assert "ours" not in shown


def test_dots_stand_further_right_the_larger_they_are():
    rows = [row("a", 1, 1, 1), row("b", 10, 10, 10), row("c", 100, 100, 100)]
    marks = [float(mark.get("cx")) for mark in drawn([Dots("t", rows, "ms")]).iter(f"{SVG}circle")]
    places = marks[1:]  # the first is that of the legend
    assert places == sorted(places)
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)  # equal factors, equal steps


def test_bars_are_as_long_as_their_values():
    rows = [row("a", 10, 10, 10), row("b", 5, 5, 5)]
    rects = [rect for rect in drawn([Bars("t", rows, "n")]).iter(f"{SVG}rect") if rect.get("class") == "warm"]
    long, brief = (float(rect.get("width")) for rect in rects)
    assert long == pytest.approx(2 * brief, abs=0.2)


def test_a_line_rises_where_its_values_rise():
    series = Series("s", [(1, 1), (10, 2), (100, 3)], "warm")
    points = next(drawn([Lines("t", [series], "x", "y")]).iter(f"{SVG}polyline")).get("points").split()
    xs, ys = zip(*(map(float, point.split(",")) for point in points), strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True)  # y grows downwards on the page


def test_panels_of_a_row_stand_side_by_side_and_rows_below_each_other():
    def panel(name):
        return Dots(name, [row()], "ms")

    root = drawn([panel("one"), panel("two")], [panel("three")])
    place = {e.text: (float(e.get("x")), float(e.get("y"))) for e in root.iter(f"{SVG}text")}
    assert place["one"][1] == place["two"][1] < place["three"][1]
    assert place["one"][0] == place["three"][0] < place["two"][0]
    assert float(root.get("height")) > place["three"][1]


@given(st.lists(st.floats(1e-9, 1e12), min_size=1), st.booleans())
def test_a_scale_holds_every_value_and_has_ticks_inside(values, log):
    scale = scale_for(values, 100, 300, log=log)
    assert all(100 <= scale(value) <= 300 for value in values)
    ticks = scale.ticks()
    assert ticks == sorted(ticks)
    assert all(scale.low <= tick <= scale.high * 1.000001 for tick in ticks)
    assert len(ticks) <= 30


@pytest.mark.parametrize("log", [True, False])
def test_no_values_and_zeros_still_make_a_scale(log):
    for values in ([], [0.0], [float("nan")]):
        scale = scale_for(values, 0, 10, log=log)
        assert scale.high > scale.low
        assert scale.ticks()


def test_what_lies_outside_is_moved_to_the_edge():
    assert Scale(1, 10, 0, 100, log=True)(0.0) == 0
    assert Scale(1, 10, 0, 100)(99) == 100


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0123, "0.0123"), (1.5, "1.5"), (2, "2"), (12.34, "12.3"), (999, "999"), (1234, "1234"),
     (12_340, "12.3k"), (5_000_000, "5M"), (2e9, "2G")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert short(value) == text
