"""Input sources: splitting bytes into values, crossing and linking, reading no further than asked."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell import CommandError, InputError
from warmshell.cli.jobs import Shape, Task, spread, tasks
from warmshell.cli.sources import Inputs, Source, Splitter, split_arguments
from warmshell.cli.template import Template


@given(
    st.lists(st.binary(max_size=8).map(lambda raw: raw.replace(b"\n", b"").replace(b"\0", b"")), max_size=8), st.data()
)
def test_values_come_back_however_the_bytes_are_cut(values: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(value + b"\n" for value in values)
    splitter, found = Splitter(), []
    while raw:
        cut = data.draw(st.integers(1, len(raw)))
        found += splitter.feed(raw[:cut])
        raw = raw[cut:]
    assert [value.encode("utf-8", "surrogateescape") for value in found] == values
    assert splitter.end() == []


def test_the_last_value_needs_no_separator() -> None:
    splitter = Splitter()
    assert splitter.feed(b"a\nb") == ["a"]
    assert splitter.end() == ["b"]


def test_nul_separates_only_when_asked_to() -> None:
    assert Splitter(b"\0").feed(b"a\nb\0") == ["a\nb"]
    with pytest.raises(InputError, match="-0"):
        Splitter().feed(b"a\0b\n")


def test_a_value_without_end_is_refused_before_memory_is() -> None:
    splitter, piece = Splitter(), b"x" * (1 << 20)
    for _ in range(16):
        splitter.feed(piece)
    with pytest.raises(InputError, match="MiB"):
        splitter.feed(piece)


def test_separators() -> None:
    template, sources = split_arguments(["echo", "{}", ":::", "a", "b", ":::+", "c", "::::", "f", "g"])
    assert template == ["echo", "{}"]
    assert sources == [
        Source(values=("a", "b")),
        Source(values=("c",), linked=True),
        Source(path="f"),
        Source(path="g"),
    ]
    assert split_arguments(["echo"]) == (["echo"], [])
    for bad in (["x", ":::+", "a"], ["x", "::::"]):
        with pytest.raises(CommandError):
            split_arguments(bad)


async def rows(*sources: Source, **options) -> list[tuple[str, ...]]:
    with Inputs(sources, **options) as inputs:
        total = inputs.total()
        found = [row async for row in inputs.rows()]
    assert total in (None, len(found))
    return found


async def test_sources_cross_with_the_last_one_fastest(tmp_path) -> None:
    path = tmp_path / "in"
    path.write_text("1\n2\n")
    assert await rows(Source(("a", "b")), Source(path=str(path))) == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    assert await rows(Source(path=str(path)), Source(("a", "b"))) == [("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")]
    assert await rows(Source(("a", "b", "c")), Source(("x", "y"), linked=True), Source(("1", "2"))) == [
        ("a", "x", "1"), ("a", "x", "2"), ("b", "y", "1"), ("b", "y", "2"),
    ]  # fmt: skip
    assert await rows(Source(("a",)), Source(())) == []
    assert await rows(Source(())) == []


async def test_values_of_a_file_are_read_as_they_are_asked_for() -> None:
    read, write = os.pipe()
    try:
        with Inputs([Source(path=f"/dev/fd/{read}")]) as inputs:
            found = inputs.rows()
            os.write(write, b"one\n")
            assert await anext(found) == ("one",)
            os.write(write, b"two\nthr")
            assert await anext(found) == ("two",)
            os.write(write, b"ee\n")
            assert await anext(found) == ("three",)
            os.close(write)
            write = -1
            assert await anext(found, None) is None
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)


@pytest.mark.parametrize(("content", "total"), [("", 0), ("a", 1), ("a\n", 1), ("\n", 1), ("a\nb", 2)])
def test_the_values_of_a_file_are_counted(content: str, total: int, tmp_path) -> None:
    path = tmp_path / "in"
    path.write_text(content)
    with Inputs([Source(("x", "y")), Source(path=str(path))]) as inputs:
        assert inputs.total() == 2 * total


@pytest.mark.parametrize("name", ["nosuch", "."])
def test_what_cannot_be_read_is_said_at_once(name: str, tmp_path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        Inputs([Source(path=str(tmp_path / name))])


def test_standard_input_is_one_source() -> None:
    with pytest.raises(InputError, match="one input source"):
        Inputs([Source(path="-"), Source(path="-")])


async def shaped(values: list[str], **options) -> list[tuple[tuple[str, ...], ...]]:
    shape = Shape(Template.parse(["echo"]), **options)
    with Inputs([Source(tuple(values))]) as inputs:
        found = [task async for task in tasks(inputs.rows(), shape)]
    assert [task.seq for task in found] == list(range(1, len(found) + 1))
    return [task.rows for task in found]


async def test_jobs_of_n_values() -> None:
    assert await shaped(list("abcde"), per_job=2) == [(("a",), ("b",)), (("c",), ("d",)), (("e",),)]
    assert await shaped(list("ab"), per_job=0) == [(("a",),), (("b",),)]


async def test_jobs_of_as_many_values_as_fit() -> None:
    values = ["x" * 1000 + str(n) for n in range(300)]
    found = await shaped(values, fill=True, slots=2)
    assert [row[0] for job in found for row in job] == values
    sizes = [len(Shape(Template.parse(["echo"]), fill=True).script(Task(1, job), 1)) for job in found]
    assert max(sizes) <= 128 * 1024
    assert len(found) == 4, "two full ones, and the rest over two slots"


@given(st.lists(st.integers(), max_size=50), st.integers(1, 9))
def test_spreading_loses_nothing_and_uses_no_more_than_the_slots(values: list[int], slots: int) -> None:
    parts = list(spread([(str(value),) for value in values], slots))
    assert [row for part in parts for row in part] == [(str(value),) for value in values]
    assert len(parts) <= slots
