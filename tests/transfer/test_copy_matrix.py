"""From every kind of location to every kind: every kind of file and name."""

from __future__ import annotations

import os
import shutil

import pytest

import warmshell
from transfer.trees import facts, left, make
from warmshell.transfer.api import At

KINDS = ["local", "ssh-server", "ssh-markers", "ssh-second", "docker"]


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    top = os.fsencode(tmp_path_factory.mktemp("trees") / "tree")
    make(top)
    yield top
    shutil.rmtree(top)


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
async def test_everything_arrives_as_it_was(connect, tree, tmp_path, source, target):
    async with connect(source) as one, connect(target) as other:
        copied = await warmshell.copy(At(one, tree), At(other, tmp_path / "copy"))
        assert facts(os.fsencode(tmp_path / "copy")) == facts(tree)
        assert list(copied.targets.values()) == [[os.fsencode(tmp_path / "copy")]]
        # Once more into what is there: merged, file by file.
        (tmp_path / "copy" / "mine").write_text("mine")
        (tmp_path / "copy" / "empty file").write_text("older")
        await warmshell.copy(At(one, tree + b"/."), At(other, tmp_path / "copy"))
        assert (tmp_path / "copy" / "mine").read_text() == "mine"
        (tmp_path / "copy" / "mine").unlink()
        names = [b"tree/" + name for name in os.listdir(tree)]
        again = facts(os.fsencode(tmp_path / "copy"))
        expected = facts(tree)
        for name, row in expected.items():  # directories that were there keep their times
            assert again[name][0] == row[0]
            if not os.path.isdir(os.path.join(tree, name)):
                assert again[name] == row
        assert again.keys() == expected.keys()
        # Some files at once, into a directory.
        (tmp_path / "some").mkdir()
        files = [At(one, tree + b"/" + name) for name in os.listdir(tree) if name != b"sparse"]
        await warmshell.copy(files, At(other, tmp_path / "some"))
        assert len(names) == len(os.listdir(tmp_path / "some")) + 1
    assert left(tmp_path) == []
    shutil.rmtree(tmp_path)


async def test_one_reading_serves_many(connect, tree, tmp_path):
    async with connect("ssh-server") as a, connect("ssh-second") as b, connect("local") as here:
        targets = [At(a, tmp_path / "1"), At(b, tmp_path / "2"), At(here, tmp_path / "3"), At(a, tmp_path / "4")]
        copied = await warmshell.copy(tree, targets)
        assert copied.files == len([1 for row in facts(tree).values() if row[0] != 0o40000])
        for number in "1234":
            assert facts(os.fsencode(tmp_path / number)) == facts(tree)
    shutil.rmtree(tmp_path)


async def test_one_that_fails_does_not_spoil_the_others(connect, tree, tmp_path):
    (tmp_path / "file").write_text("in the way")
    async with connect("ssh-server") as a, connect("ssh-second") as b:
        targets = [
            At(a, tmp_path / "good"),
            At(a, tmp_path / "none" / "x"),
            At(b, "/dev/full/x"),
            At(b, tmp_path / "file"),
        ]
        with pytest.raises(warmshell.CopyError, match="3 of 4") as caught:
            await warmshell.copy(tree, targets)
        assert sorted(caught.value.failures) == sorted(
            [f"{a.name}:{tmp_path}/none/x", f"{b.name}:/dev/full/x", f"{b.name}:{tmp_path}/file"]
        )
        assert facts(os.fsencode(tmp_path / "good")) == facts(tree)
    assert sorted(os.listdir(tmp_path)) == ["file", "good"]
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("kind", ["ssh-server", "ssh-markers"])
async def test_put_and_get(connect, tree, tmp_path, kind, compress):
    async with connect(kind) as node:
        await node.put(tree, tmp_path / "there", compress=compress)
        await node.get(tmp_path / "there", tmp_path / "back", compress=compress)
    assert facts(os.fsencode(tmp_path / "back")) == facts(tree)
    assert left(tmp_path) == []
    shutil.rmtree(tmp_path)


async def test_links_are_followed_when_asked(connect, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "link").symlink_to("../real")
    async with connect("ssh-server") as node:
        await node.put(tmp_path / "top", tmp_path / "copy", dereference=True)
        assert not (tmp_path / "copy" / "link").is_symlink()
        assert (tmp_path / "copy" / "link" / "file").read_text() == "x"
        await node.put(tmp_path / "top" / "link", tmp_path / "one")
        assert (tmp_path / "one").is_symlink()
        await node.put(f"{tmp_path}/top/link/", tmp_path / "two")
        assert not (tmp_path / "two").is_symlink()
        assert (tmp_path / "two" / "file").read_text() == "x"
        (tmp_path / "into").mkdir()
        await node.put(f"{tmp_path}/top/link/", tmp_path / "into")
        assert (tmp_path / "into" / "link" / "file").read_text() == "x"
        await node.put(f"{tmp_path}/top/link/.", tmp_path / "into")
        assert (tmp_path / "into" / "file").read_text() == "x"
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
async def test_read_only_at_the_same_location_is_a_link(connect, tmp_path, kind):
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "file").write_text("x")
    (tmp_path / "dir").mkdir()
    async with connect(kind) as node:
        await warmshell.copy(At(node, tmp_path / "top"), At(node, tmp_path / "new"), read_only=True)
        await warmshell.copy(At(node, tmp_path / "top"), At(node, tmp_path / "dir"), read_only=True)
        await warmshell.copy(At(node, tmp_path / "top" / "file"), At(node, tmp_path / "f"), read_only=True)
        await warmshell.copy(At(node, tmp_path / "top" / "file"), At(node, tmp_path / "f"), read_only=True)
    for name in ("new", "dir/top", "f"):
        assert (tmp_path / name).is_symlink()
    assert os.readlink(tmp_path / "new") == str(tmp_path / "top")
    assert (tmp_path / "dir" / "top" / "file").read_text() == "x"
    assert (tmp_path / "f").read_text() == "x"
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("target", ["top/sub/new", "top/sub", "top", "."])
@pytest.mark.parametrize("kind", ["local", "ssh-markers"])
async def test_nothing_is_copied_onto_or_into_itself(connect, tmp_path, kind, target):
    (tmp_path / "top" / "sub").mkdir(parents=True)
    (tmp_path / "top" / "file").write_text("x")
    async with connect(kind) as node:
        with pytest.raises(warmshell.CopyError, match=r"into itself|same file"):
            await warmshell.copy(At(node, tmp_path / "top"), At(node, tmp_path / target))
        with pytest.raises(warmshell.CopyError, match="same file"):
            await warmshell.copy(At(node, tmp_path / "top" / "file"), At(node, f"{tmp_path}/top/../top/"))
    assert (tmp_path / "top" / "file").read_text() == "x"
    assert sorted(os.listdir(tmp_path / "top")) == ["file", "sub"]
    shutil.rmtree(tmp_path)
