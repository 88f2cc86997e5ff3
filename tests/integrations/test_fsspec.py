"""Locations as fsspec's file systems: fsspec's own suites, and what they do not look at."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (warmshell[fsspec])")

from fsspec.asyn import get_loop, sync  # noqa: E402
from fsspec.tests import abstract  # noqa: E402

from integrations.places import KINDS, options_of  # noqa: E402
from warmshell.integrations.fsspec import WarmshellFileSystem  # noqa: E402


@pytest.fixture(scope="module")
def fsspec_threads() -> None:
    """fsspec's threads are there for the whole program, and so before anybody counts threads."""
    threads = min(32, (os.cpu_count() or 1) + 4)
    barrier = threading.Barrier(threads)

    async def start() -> None:
        await asyncio.gather(*[asyncio.to_thread(barrier.wait) for _ in range(threads)])

    sync(get_loop(), start)


@pytest.fixture(scope="module", params=KINDS)
def storage(request: pytest.FixtureRequest) -> dict[str, Any]:
    return options_of(request.param, request)


@pytest.fixture(scope="module")
def connected(storage: dict[str, Any], fsspec_threads: None) -> Iterator[WarmshellFileSystem]:
    """One connection for many tests."""
    made = WarmshellFileSystem(**storage, auto_mkdir=True, skip_instance_cache=True)
    assert made.exists("/")
    yield made
    made.close()


@pytest.fixture
def fs(storage: dict[str, Any], fsspec_threads: None) -> Iterator[WarmshellFileSystem]:
    """A connection for one test."""
    made = WarmshellFileSystem(**storage, auto_mkdir=True, skip_instance_cache=True)
    yield made
    made.close()


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, connected):
        return connected

    @pytest.fixture
    def fs_path(self, tmp_path):
        path = tmp_path / "far"
        path.mkdir()
        return str(path)


class TestCopy(Fixtures, abstract.AbstractCopyTests):
    pass


class TestGet(Fixtures, abstract.AbstractGetTests):
    pass


class TestPut(Fixtures, abstract.AbstractPutTests):
    pass


class TestOpen(Fixtures, abstract.AbstractOpenTests):
    pass


class TestPipe(Fixtures, abstract.AbstractPipeTests):
    pass


def test_finding(fs, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("x.csv", "a/y.csv", "a/b/z.txt", ".hid"):
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dangling").symlink_to("no")
    root = str(tmp_path)
    near = fsspec.filesystem("file")
    assert fs.find(root) == near.find(root)
    assert fs.find(root, maxdepth=1, withdirs=True) == near.find(root, maxdepth=1, withdirs=True)
    assert fs.find(f"{root}/x.csv") == [f"{root}/x.csv"]
    assert fs.glob(f"{root}/**/*.csv") == near.glob(f"{root}/**/*.csv")
    assert sorted(fs.ls(root, detail=False)) == sorted(near.ls(root, detail=False))
    assert {e["name"]: e["type"] for e in fs.ls(root)} == {e["name"]: e["type"] for e in near.ls(root, detail=True)} | {
        f"{root}/dangling": "link",
        f"{root}/link": "link",
    }
    assert fs.du(f"{root}/a") == 10
    info = fs.info(f"{root}/x.csv")
    assert (info["size"], info["type"], info["mtime"]) == (
        5,
        "file",
        pytest.approx(os.stat(f"{root}/x.csv").st_mtime, 1),
    )
    assert fs.info(f"{root}/link")["type"] == "directory"
    assert fs.info(f"{root}/link")["destination"] == "a"
    assert fs.isdir(f"{root}/link")
    assert fs.isfile(f"{root}/x.csv")
    assert fs.exists(f"{root}/x.csv")
    assert not fs.exists(f"{root}/none")
    assert not fs.exists(f"{root}/dangling")
    assert fs.ls(f"{root}/x.csv", detail=False) == [f"{root}/x.csv"]
    assert fs.modified(f"{root}/x.csv").year > 2000
    assert fs.checksum_of(f"{root}/x.csv", "md5") == "827ccb0eea8a706c4c34a16891f84e7b"
    with pytest.raises(FileNotFoundError):
        fs.ls(f"{root}/none")


def test_contents(fs, tmp_path):
    path, data = f"{tmp_path}/a b\n'*", os.urandom(700_000)
    fs.pipe_file(path, data)
    assert fs.cat_file(path) == data
    assert fs.cat_file(path, 10, 20) == data[10:20]
    assert fs.cat_file(path, -5) == data[-5:]
    assert fs.cat_file(path, -10, -5) == data[-10:-5]
    assert fs.cat_file(path, 5, 5) == b""
    assert fs.cat_ranges([path] * 3, [0, 100, 200], [10, 110, 210]) == [data[:10], data[100:110], data[200:210]]
    assert fs.tail(path, 100) == data[-100:]
    with fs.open(path, "rb", block_size=100_000) as file:
        assert file.read(10) == data[:10]
        file.seek(-10, 2)
        assert file.read() == data[-10:]
    with fs.open(path, "wb", block_size=100_000) as file:
        for at in range(0, len(data), 70_000):
            file.write(data[at : at + 70_000])
        assert fs.cat_file(path) == data
    assert fs.cat_file(path) == data
    with fs.open(path, "ab") as file:
        assert file.tell() == len(data)
        file.write(b"more")
    assert fs.cat_file(path) == data + b"more"
    with pytest.raises(ZeroDivisionError), fs.open(path, "wb", block_size=10) as file:
        file.write(b"never seen, though longer than a block")
        1 / 0  # noqa: B018
    assert fs.cat_file(path) == data + b"more"
    with fs.open(path, "w", encoding="utf-8", newline="") as file:
        file.write("größe\n")
    with fs.open(path, "r", encoding="utf-8") as file:
        assert list(file) == ["größe\n"]
    with fs.open(path, "wb"):
        pass
    assert fs.size(path) == 0
    assert os.listdir(tmp_path) == ["a b\n'*"]
    with pytest.raises(FileNotFoundError):
        fs.open(f"{tmp_path}/none")
    with pytest.raises(IsADirectoryError):
        fs.open(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        fs.cat_file(f"{tmp_path}/none", 5, 5)


def test_transactions(fs, tmp_path):
    with fs.transaction:
        with fs.open(f"{tmp_path}/a", "wb") as file:
            file.write(b"a")
        assert not fs.exists(f"{tmp_path}/a")
    assert fs.cat_file(f"{tmp_path}/a") == b"a"
    with pytest.raises(ZeroDivisionError), fs.transaction:
        with fs.open(f"{tmp_path}/b", "wb") as file:
            file.write(b"b")
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == ["a"]


def test_removing_and_moving(fs, tmp_path):
    root = str(tmp_path)
    for name in ("rm a", "rm", "d/e"):
        fs.makedirs(f"{root}/{name}")
        fs.touch(f"{root}/{name}/in")
    fs.rm(f"{root}/rm a", recursive=True)
    assert sorted(os.listdir(root)) == ["d", "rm"]
    fs.mv(f"{root}/rm/in", f"{root}/out")
    fs.rmdir(f"{root}/rm")
    fs.rm(f"{root}/d", recursive=True, maxdepth=3)
    assert os.listdir(root) == ["out"]
    fs.chmod(f"{root}/out", 0o600)
    assert os.stat(f"{root}/out").st_mode & 0o777 == 0o600
    fs.pipe_file(f"{root}/out", b"data")
    fs.touch(f"{root}/out", truncate=False)
    assert fs.cat_file(f"{root}/out") == b"data"
    fs.touch(f"{root}/out")
    assert fs.cat_file(f"{root}/out") == b""
    fs.rm_file(f"{root}/out")
    with pytest.raises(FileNotFoundError):
        fs.rm(f"{root}/out")
    with pytest.raises(FileExistsError):
        fs.makedirs(root)
    fs.makedirs(root, exist_ok=True)
    strict = WarmshellFileSystem(fs.location, fs._connection._options, skip_instance_cache=True)
    with pytest.raises(FileNotFoundError):
        strict.pipe_file(f"{root}/new/file", b"")
    strict.close()


def test_several_at_once(fs, tmp_path):
    names = {f"{tmp_path}/{number}": b"%d" % number for number in range(200)}
    fs.pipe(names)
    assert fs.cat(list(names)) == names
    fs.rm(list(names))
    assert os.listdir(tmp_path) == []


def test_urls(tmp_path, fsspec_threads):
    strip, wanted = WarmshellFileSystem._strip_protocol, WarmshellFileSystem._get_kwargs_from_urls
    for url, path, options in (
        ("warmshell://alice@node1:22/data/x", "/data/x", {"location": "ssh://alice@node1:22"}),
        ("warmshell:///data/", "/data", {}),
        ("warmshell://node1", "/", {"location": "ssh://node1"}),
        ("/data/x", "/data/x", {}),
        ("data", "data", {}),
        ("", "/", {}),
    ):
        assert (strip(url), wanted(url)) == (path, options), url
    assert strip(["/a/", "warmshell:///b"]) == ["/a", "/b"]
    far = WarmshellFileSystem("ssh://node1:22", skip_instance_cache=True)
    assert far.unstrip_protocol("/x") == "warmshell://node1:22/x"
    assert WarmshellFileSystem(skip_instance_cache=True).unstrip_protocol("/x") == "warmshell:///x"
    (tmp_path / "x").write_text("1")
    with fsspec.open(f"warmshell://{tmp_path}/x", skip_instance_cache=True) as file:
        assert file.read() == b"1"
        file.fs.close()


def test_a_pickled_one_connects_anew(fs, tmp_path):
    fs.pipe_file(f"{tmp_path}/x", b"1")
    again = pickle.loads(pickle.dumps(fs))
    assert again.cat_file(f"{tmp_path}/x") == b"1"
    again.close()
    again.close()
    assert again.cat_file(f"{tmp_path}/x") == b"1"
    again.close()


def test_pandas_reads_and_writes(storage, fsspec_threads, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"sample": ["a", "b"], "size": [1, 2]})
    url = f"warmshell://{tmp_path}/table.csv"
    frame.to_csv(url, index=False, storage_options=storage)
    assert (tmp_path / "table.csv").read_text() == "sample,size\na,1\nb,2\n"
    assert pandas.read_csv(url, storage_options=storage).equals(frame)
    fsspec.filesystem("warmshell", **storage).close()  # the very one that pandas used


PROGRAM = """
import fsspec, os, threading
fs = fsspec.filesystem("warmshell")
print(fs.cat_file(os.path.abspath("x")), fs is fsspec.filesystem("warmshell"))
"""


def test_the_program_ends_though_nobody_closed_it(tmp_path):
    (tmp_path / "x").write_text("1")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("b'1' True\n", "", 0)
