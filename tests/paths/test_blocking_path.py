"""The blocking face of paths: the same names, the same answers."""

from __future__ import annotations

import inspect
import os

import pytest

import warmshell
import warmshell.blocking
from warmshell.path.blocking import RemotePath


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def test_it_has_all_the_names():
    awaited = {name for name, _ in inspect.getmembers(warmshell.RemotePath) if not name.startswith("_")}
    assert awaited - {name for name, _ in inspect.getmembers(RemotePath)} == set()


def test_paths_without_await(tree):
    with warmshell.blocking.connect("local:") as here:
        root = here.path(str(tree))
        (root / "a" / "b").mkdir(parents=True)
        assert (root / "a/x.txt").write_text("größe") == 7
        assert (root / "a/x.txt").read_text() == "größe"
        (root / "a/y.txt").write_bytes(b"one\ntwo\n")
        assert [path.name for path in root.glob("**/*.txt")] == ["x.txt", "y.txt"]
        assert list(root.rglob("x*")) == [root / "a/x.txt"]
        assert list((root / "a").iterdir()) == [root / "a/b", root / "a/x.txt", root / "a/y.txt"]
        assert next(root.rglob("*")) == root / "a"
        seen = []
        for where, directories, others in root.walk():
            seen.append((where.name, list(directories), others))
            directories.clear()
        assert seen == [("tree", ["a"], [])]
        link = root / "link"
        link.symlink_to(root / "a/x.txt")
        assert link.readlink() == link.resolve() == root / "a/x.txt"
        (root / "hard").hardlink_to(root / "a/x.txt")
        assert (root / "hard").stat().links == 2
        assert (link.is_symlink(), link.is_file(), root.is_dir(), link.is_executable()) == (True, True, True, False)
        assert (link.size(), link.lstat().kind, link.checksum("md5")) == (7, "symlink", link.resolve().checksum("md5"))
        with (root / "a/y.txt").open() as file:
            assert file.readline() == b"one\n"
            assert file.tell() == file.seek(4) == 4
            assert list(file) == [b"two\n"]
            buffer = bytearray(3)
            file.seek(0)
            assert (file.readinto(buffer), bytes(buffer), file.read()) == (3, b"one", b"\ntwo\n")
        assert file.closed
        with pytest.raises(ZeroDivisionError), (root / "new").open("wb") as file:
            file.write(b"never")
            1 / 0  # noqa: B018
        assert not (root / "new").exists()
        file = (root / "new").open("wb")
        file.write(b"x")
        file.flush()
        file.close()
        (root / "new").chmod(0o600)
        assert (root / "new").rename(root / "newer") == root / "newer"
        (root / "newer").touch()
        (root / "newer").copy(root / "copied")
        assert (tree / "copied").read_bytes() == b"x"
        (root / "newer").unlink()
        (root / "a/b").rmdir()
        (root / "a").rmtree()
        assert sorted(os.listdir(tree)) == ["copied", "hard", "link"]
        with pytest.raises(FileNotFoundError):
            (root / "a").stat()
        left = root.rglob("*")
        next(left)
    del left
    with pytest.raises(warmshell.ClosedError):
        root.exists()
