"""Names of destinations, row by row: what ``cp -r`` does, every copy does."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import warmshell
from warmshell.transfer.api import At
from warmshell.transfer.destination import Path as Parts
from warmshell.transfer.destination import Seen, plan

SOURCES = {
    "file": lambda at: (at / "S").write_text("new"),
    "directory": lambda at: ((at / "S").mkdir(), (at / "S" / "in").write_text("new")),
    "symlink": lambda at: (at / "S").symlink_to("nowhere"),
    "symlink to a directory": lambda at: ((at / "real").mkdir(), (at / "S").symlink_to("real")),
}


def _within(make):
    return lambda at: ((at / "T").mkdir(), make(at))


TARGETS = {
    "missing": lambda at: None,
    "file": lambda at: (at / "T").write_text("old"),
    "directory": lambda at: (at / "T").mkdir(),
    "symlink to a file": lambda at: ((at / "tf").write_text("old"), (at / "T").symlink_to("tf")),
    "symlink to a directory": lambda at: ((at / "td").mkdir(), (at / "T").symlink_to("td")),
    "symlink to nothing": lambda at: (at / "T").symlink_to("none"),
    "directory with a file of that name": _within(lambda at: (at / "T" / "S").write_text("old")),
    "directory with a directory": _within(lambda at: ((at / "T" / "S").mkdir(), (at / "T" / "S" / "old").touch())),
    "directory with a symlink to a file": _within(
        lambda at: ((at / "tf").write_text("old"), (at / "T" / "S").symlink_to("../tf"))
    ),
    "directory with a symlink to a directory": _within(
        lambda at: ((at / "td").mkdir(), (at / "T" / "S").symlink_to("../td"))
    ),
    "directory with a symlink to nothing": _within(lambda at: (at / "T" / "S").symlink_to("../none")),
}
ROWS = list(itertools.product(SOURCES, TARGETS, ["", "/"]))


def scene(at: Path, source: str, target: str) -> Path:
    at.mkdir()
    SOURCES[source](at)
    TARGETS[target](at)
    return at


def state(at: Path) -> dict[str, str]:
    found = {}
    for path in sorted(at.rglob("*")):
        kind = "link " + os.readlink(path) if path.is_symlink() else "directory" if path.is_dir() else path.read_text()
        found[str(path.relative_to(at))] = kind
    return found


def expected(at: Path, source: str, target: str, slash: str) -> tuple[bool, dict[str, str]]:
    """What the real ``cp -r`` makes of it."""
    scene(at, source, target)
    done = subprocess.run(["cp", "-r", "S", f"T{slash}"], cwd=at, capture_output=True, check=False)
    return done.returncode == 0, state(at)


@pytest.mark.parametrize("pair", [
    ("local", "local"), ("local", "ssh-server"), ("ssh-server", "local"), ("ssh-markers", "ssh-second"),
    ("ssh-markers", "ssh-markers"),
], ids="->".join)  # fmt: skip
async def test_every_row_is_what_cp_does(connect, tmp_path, pair):
    wrong = {}
    async with connect(pair[0]) as one, connect(pair[1]) as other:
        for number, (source, target, slash) in enumerate(ROWS):
            ok, after = expected(tmp_path / f"cp{number}", source, target, slash)
            at = scene(tmp_path / f"w{number}", source, target)
            try:
                await warmshell.copy(At(one, at / "S"), At(other, f"{at}/T{slash}"))
                done = True
            except warmshell.CopyError:
                done = False
            if (done, state(at)) != (ok, after):
                wrong[source, target + slash] = (done, state(at), ok, after)
    assert not wrong
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("target", ["missing", "file", "directory", "directory with a file of that name"])
async def test_several_need_a_directory(connect, tmp_path, target):
    at = scene(tmp_path / "w", "file", target)
    (at / "other").write_text("second")
    before = state(at)
    async with connect("ssh-server") as node:
        many = node.put([at / "S", at / "other"], at / "T")
        if target.startswith("directory"):
            await many
            assert (at / "T" / "S").read_text() == "new"
            assert (at / "T" / "other").read_text() == "second"
        else:
            with pytest.raises(warmshell.CopyError, match="need a directory"):
                await many
            assert state(at) == before
    shutil.rmtree(tmp_path)


async def test_several_of_one_name_are_refused(connect, tmp_path):
    at = scene(tmp_path / "w", "directory", "directory")
    (at / "in").write_text("other")
    async with connect("local") as node:
        with pytest.raises(warmshell.CopyError, match="same name"):
            await node.put([at / "in", at / "S" / "in"], at / "T")
        with pytest.raises(warmshell.CopyError, match="twice"):
            await warmshell.copy(at / "in", [At(node, at / "T"), At(node, at / "T")])
    shutil.rmtree(tmp_path)


async def test_relative_paths_start_where_the_location_does(connect, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "-f").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    async with warmshell.connect("local:", cwd=str(tmp_path)) as node:
        await node.put("-f", "-there")
        await node.put("-f", ".")
        (tmp_path / "other").mkdir()
        await node.put([b"./-f"], b"other/.")
    assert (tmp_path / "-there").read_text() == (tmp_path / "other" / "-f").read_text() == "x"
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("source", ["none", "none/", "file/", "", "a\0b"])
async def test_a_source_that_is_not_there(tmp_path, source):
    (tmp_path / "file").write_text("x")
    async with warmshell.connect("local:", cwd=str(tmp_path)) as node:
        with pytest.raises((FileNotFoundError, warmshell.CopyError)):
            await node.get(source, tmp_path / "to")
    assert sorted(os.listdir(tmp_path)) == ["file"]
    shutil.rmtree(tmp_path)


PATHS = {
    b"a": (b".", b"a", False), b"a/": (b".", b"a", True), b"/a": (b"/", b"a", False), b"a/b//": (b"./a", b"b", True),
    b"/": (b"/", b"", True), b"//": (b"/", b"", True), b".": (b".", b"", True), b"..": (b"./..", b"", True),
    b"a/.": (b"./a/.", b"", True), b"/a/..": (b"/a/..", b"", True), b"-a/-b": (b"./-a", b"-b", False),
    b"./a": (b".", b"a", False), b"/a/b": (b"/a", b"b", False),
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_the_parts_of_a_path(path):
    parts = Parts.of(path)
    assert (parts.directory, parts.base, parts.slash) == PATHS[path]


def test_what_takes_more_is_put_together_inside_of_it():
    """It may be a file system of its own, or the only place that may be written."""
    found = plan(
        [(b"S", "directory")], Parts.of(b"/T"), Seen("directory", "directory"), [Seen("directory", "directory")]
    )
    assert found.directory == b"/T/S"
    assert found.targets == [b"/T/S"]
