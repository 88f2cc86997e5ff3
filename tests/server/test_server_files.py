"""Operations on files on the control channel."""

from __future__ import annotations

import hashlib
import os

import pytest

from .far import Far, Refused

ODD = b"a 'b'\n\xff*"


def name(path):
    return os.fsencode(path).decode("latin-1")


def entries(far, path, **options):
    """All of a listing, page by page."""
    found, after = [], None
    while True:
        answer = far.ask("list", path=name(path), after=after, **options)
        found += answer["entries"]
        after = answer["next"]
        if after is None:
            return found


def test_facts(far, tmp_path):
    path = os.path.join(bytes(tmp_path), ODD)
    with open(path, "wb") as file:
        file.write(b"12345")
    os.chmod(path, 0o640)
    os.symlink(ODD, tmp_path / "link")
    facts = far.ask("stat_path", path=name(path))
    found = os.stat(path)
    assert (facts["kind"], facts["size"], facts["mode"]) == ("file", 5, 0o640)
    assert (facts["mtime_ns"], facts["inode"], facts["uid"]) == (found.st_mtime_ns, found.st_ino, found.st_uid)
    assert far.ask("stat_path", path=name(tmp_path / "link"), follow=False)["kind"] == "symlink"
    assert far.ask("stat_path", path=name(tmp_path / "link"))["kind"] == "file"
    assert far.ask("stat_path", path=name(tmp_path))["kind"] == "directory"
    assert far.ask("readlink", path=name(tmp_path / "link")) == ODD.decode("latin-1")
    assert far.ask("realpath", path=name(tmp_path / "link")) == name(path)
    assert [far.ask("exists", path=p) for p in (name(path), name(path) + "x", name(path) + "/x")] == [
        True,
        False,
        False,
    ]


def test_why_not(far, tmp_path):
    (tmp_path / "file").touch()
    for op, options, errno in (
        ("stat_path", {"path": "/no/such"}, 2),
        ("list", {"path": name(tmp_path / "file")}, 20),
        ("mkdir", {"path": name(tmp_path)}, 17),
        ("mkdir", {"path": name(tmp_path / "file"), "parents": True}, 17),
        ("mkdir", {"path": name(tmp_path / "file" / "x" / "y"), "parents": True}, 20),
        ("rmdir", {"path": name(tmp_path)}, 39),
        ("read", {"path": name(tmp_path)}, 21),
        ("write", {"path": name(tmp_path / "file"), "data": b"", "exclusive": True}, 17),
        ("write", {"path": "/no/such/file", "data": b""}, 2),
        ("checksum", {"path": "/no/such"}, 2),
        ("rmtree", {"path": "/no/such"}, 2),
        ("remove", {"path": "/no/such"}, 2),
        ("readlink", {"path": name(tmp_path)}, 22),
        ("which", {"name": "no-such-program"}, 2),
    ):
        with pytest.raises(Refused) as caught:
            far.ask(op, **options)
        assert caught.value.errno == errno, (op, options)
    for bad in ({"path": ""}, {"path": "a\0b"}, {"path": "\u1234"}, {"path": 5}, {}):
        with pytest.raises(Refused):
            far.ask("stat_path", **bad)
    with pytest.raises(Refused):
        far.ask("checksum", path=name(tmp_path / "file"), algorithm="none")
    assert far.ask("ping", echo=1) == 1


def test_listing_page_by_page(far, tmp_path):
    names = {b"%03d" % n for n in range(50)} | {ODD, b".hidden"}
    for each in names:
        with open(os.path.join(bytes(tmp_path), each), "wb"):
            pass
    listed = entries(far, tmp_path, limit=7)
    assert [entry["name"].encode("latin-1") for entry in listed] == sorted(names)
    assert {entry["kind"] for entry in listed} == {"file"}
    assert entries(far, tmp_path) == listed


def test_glob(far, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for each in ("x.txt", "a/y.txt", "a/b/z.txt", "a/b/no.dat", "[q].txt"):
        (tmp_path / each).touch()
    ask = lambda pattern: far.ask("glob", path=name(tmp_path), pattern=pattern)["names"]  # noqa: E731
    assert ask("*.txt") == ["[q].txt", "x.txt"]
    assert ask("**/*.txt") == ["[q].txt", "a/b/z.txt", "a/y.txt", "x.txt"]
    assert ask("a/?.txt") == ["a/y.txt"]
    assert ask("none*") == []
    with pytest.raises(Refused):
        ask("/x.*")
    first = far.ask("glob", path=name(tmp_path), pattern="**/*.txt", limit=3)
    rest = far.ask("glob", path=name(tmp_path), pattern="**/*.txt", limit=3, after=first["next"])
    assert [*first["names"], *rest["names"]] == ask("**/*.txt")


def test_contents(far, tmp_path):
    data = os.urandom(2_500_000)
    path = name(tmp_path / "data")
    for offset in range(0, len(data), 1_000_000):
        piece = data[offset : offset + 1_000_000]
        written = far.ask("write", path=path, offset=offset, data=piece, mode=0o600)
        assert written == len(data[offset : offset + 1_000_000])
    assert (tmp_path / "data").read_bytes() == data
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o600
    read, end = b"", False
    while not end:
        answer = far.ask("read", path=path, offset=len(read))
        read += answer["data"]
        end = answer["end"]
        assert answer["size"] == len(data)
    assert read == data
    answer = far.ask("read", path=path, offset=10, length=5)
    assert (answer["data"], answer["end"]) == (data[10:15], False)
    for algorithm in ("sha1", "md5", "sha256"):
        expected = {"digest": hashlib.new(algorithm, data).hexdigest(), "size": len(data)}
        assert far.ask("checksum", path=path, algorithm=algorithm) == expected
    far.ask("truncate", path=path, size=3)
    far.ask("write", path=path, data=b"x")
    assert (tmp_path / "data").read_bytes() == b"x" + data[1:3]
    far.ask("write", path=path, data=b"y", truncate=True)
    assert (tmp_path / "data").read_bytes() == b"y"


def test_what_never_ends_does_not_hold_up_the_others(far, tmp_path):
    """A few of them would take all threads, for good."""
    os.mkfifo(tmp_path / "fifo")
    for op, more in (("read", {}), ("checksum", {}), ("write", {"data": b""}), ("truncate", {"size": 1})):
        with pytest.raises(Refused):
            far.ask(op, path=name(tmp_path / "fifo"), **more)
    for path, errno in ((name(tmp_path), 21), ("/dev/zero", 22)):
        with pytest.raises(Refused) as caught:
            far.ask("checksum", path=path)
        assert caught.value.errno == errno


def test_names_are_changed(far, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("x")
    far.ask("rename", path=name(a), target=name(b))
    assert (a.exists(), b.read_text()) == (False, "x")
    far.ask("symlink", path=name(a), target="b")
    far.ask("link", path=name(tmp_path / "c"), target=name(b))
    assert (os.readlink(a), b.stat().st_nlink) == ("b", 2)
    far.ask("chmod", path=name(b), mode=0o400)
    far.ask("utime", path=name(b), atime_ns=1, mtime_ns=2)
    assert (b.stat().st_mode & 0o777, b.stat().st_mtime_ns) == (0o400, 2)
    assert far.ask("remove", path=name(a)) is True
    assert far.ask("remove", path=name(a), missing_ok=True) is False
    assert b.exists()


def test_directories(far, tmp_path):
    deep = tmp_path / "x" / "y" / "z"
    far.ask("mkdir", path=name(deep), parents=True)
    far.ask("mkdir", path=name(deep), parents=True, exist_ok=True)
    assert deep.is_dir()
    far.ask("rmdir", path=name(deep))
    assert not deep.exists()


def test_rmtree_follows_no_link(far, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    tree = tmp_path / "tree"
    for n in range(3):
        (tree / str(n) / "deeper").mkdir(parents=True)
        (tree / str(n) / "deeper" / "file").touch()
        (tree / str(n) / "link").symlink_to(kept)
    assert far.ask("rmtree", path=name(tree)) == 13
    assert not tree.exists()
    (tmp_path / "link").symlink_to(kept)
    far.ask("rmtree", path=name(tmp_path / "link"))
    assert (kept / "file").exists()
    assert far.ask("rmtree", path=name(tree), missing_ok=True) == 0


def test_rmtree_of_a_deep_tree(far, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # deeper than any recursion goes, and than a name may be long
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    assert far.ask("rmtree", path=name(tmp_path / "d")) == 1500
    assert not (tmp_path / "d").exists()


@pytest.fixture
def endless(tmp_path):
    """A file that takes long to read, and no space."""
    path = tmp_path / "endless"
    path.touch()
    os.truncate(path, 1 << 40)
    yield path
    os.truncate(path, 0)


def test_long_operations_hold_up_nobody(far, endless):
    """All threads but one are busy."""
    lane = far.subshell()
    waiting = [far.request("checksum", path=name(endless)) for _ in range(7)]
    assert far.run(lane, ["echo", "on"]).stdout == b"on\n"
    assert far.ask("stat_path", path="/")["kind"] == "directory"
    os.truncate(endless, 0)
    for number in waiting:
        assert far.answer(number)["size"] < 1 << 40


def test_too_many_operations_are_refused(far, endless):
    requests = [far.request("checksum", path=name(endless)) for _ in range(1100)]
    with pytest.raises(Refused) as caught:
        far.answer(requests[-1])
    assert caught.value.kind == "TooMany"
    assert far.ask("ping", echo=1) == 1


def test_files_may_be_asked_for_as_soon_as_it_has_started():
    with Far(cwd="/usr") as far:
        assert "bin" in [entry["name"] for entry in far.ask("list", path=".")["entries"]]
        assert far.ask("which", name="sh").endswith("/sh")
        assert far.ask("space", path="/")["total"] > 0
