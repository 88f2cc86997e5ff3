"""Paths of locations, against pathlib on the very same files."""

from __future__ import annotations

import asyncio
import os
import pathlib
import stat

import pytest

import warmshell
from warmshell.path import RemotePath

MAGIC = [
    "*", "**", "**/*", "*.txt", "**/*.txt", "a/*", "a/**", "a/**/*.txt", "**/b/**", "*/*", "*/*/*", "dang", "*ang",
    "ld/1.txt", "l*/*.txt", "**/..", "a/**/../*", "a/../d/*", "a/", "*/", "**/", "a/**/", "?", "??", "[a-e]", "[!a]",
    "[[]q*", "d/[[]q].txt", "**/**/*.txt", "lf", "lf/", "nothing/*", "a/b/c/3.txt", "a/1.txt/x", "self", "e/f/self",
    "**/self", "*/f/*", ".*", "**/.*", "**/x/*", "bad?", "é/?.txt", "./a/*", "a//b", "**/ld/*", "ld/**", "ld/**/*",
    "[]-]*", "a b*", "*\n*", "-*", "[*]", "*/[*]", "\\*", "$(x)", "'*'",
]  # fmt: skip


@pytest.fixture
def full(tree: pathlib.Path) -> pathlib.Path:
    """A tree with everything that patterns may stumble over."""
    for name in ("a/b/c", "a/.h/x", "d", "e/f", "é", "-n"):
        (tree / name).mkdir(parents=True)
    for name in ("a/1.txt", "a/b/2.txt", "a/b/c/3.txt", ".hid", "a/.h/x/4.txt", "d/[q].txt", "é/ü.txt", "a b\n.txt",
                 "*", "d/*", "-n/-rf", "]", "\\*", "$(x)", "'q'", "..more"):  # fmt: skip
        (tree / name).touch()
    (tree / "a/loop").symlink_to("..")
    (tree / "ld").symlink_to("a")
    (tree / "dang").symlink_to("nope")
    (tree / "e/f/self").symlink_to("self")
    (tree / "lf").symlink_to("a/1.txt")
    (tree / os.fsdecode(b"bad\xff")).touch()
    return tree


def path_of(node: warmshell.Location, path: os.PathLike[str]) -> RemotePath:
    return node.path(os.fsencode(path))


async def test_globs_are_those_of_pathlib(node, full):
    root = path_of(node, full)
    for pattern in MAGIC:
        for method in ("glob", "rglob"):
            wanted = sorted({os.fsencode(found) for found in getattr(full, method)(pattern)})
            found = await getattr(root, method)(pattern)
            assert sorted(map(bytes, found)) == wanted, (method, pattern)
            assert len(set(found)) == len(found), (method, pattern)
            parts = [bytes(path).split(b"/") for path in found]
            assert parts == sorted(parts), (method, pattern)


async def test_patterns_that_are_none(node, tree):
    path = path_of(node, tree)
    for bad, kind in (("", ValueError), ("a**", ValueError), ("/a", NotImplementedError)):
        with pytest.raises(kind):
            await path.glob(bad)
        with pytest.raises(kind):
            pathlib.Path(tree).glob(bad).__next__()
    assert await (path / "missing").glob("**/*") == []


async def test_walks(node, full):
    def ours(path):
        return bytes(path)

    def of_os(**options):
        for where, directories, others in os.walk(os.fsencode(full), **options):
            links = [name for name in directories if os.path.islink(os.path.join(where, name))]
            if not options.get("followlinks"):
                directories = [name for name in directories if name not in links]  # noqa: PLW2901
                others = [*others, *links]  # noqa: PLW2901 - as in Path.walk
            yield where, sorted(directories), sorted(others)

    root = path_of(node, full)
    for top_down in (True, False):
        found = [(ours(p), list(map(os.fsencode, d)), list(map(os.fsencode, f)))
                 async for p, d, f in root.walk(top_down=top_down)]  # fmt: skip
        assert sorted(found) == sorted(of_os(topdown=top_down))
        position = {where: at for at, (where, _, _) in enumerate(found)}
        for where, at in position.items():
            above = position.get(os.path.dirname(where))
            assert above is None or (above < at) == top_down
    (full / "a" / "loop").unlink()
    followed = {ours(p) async for p, _, _ in root.walk(follow_symlinks=True)}
    assert ours(root / "ld" / "b") in followed
    assert followed == {where for where, _, _ in os.walk(os.fsencode(full), followlinks=True)}


async def test_walks_can_be_pruned_and_nested(node, full):
    seen = []
    async for where, directories, _ in path_of(node, full).walk():
        seen.append(where)
        directories[:] = [name for name in directories if name == "a"]
        inner = [w.name async for w, _, _ in where.walk()]
        assert inner[0] == where.name
    assert [path.name for path in seen] == [full.name, "a"]
    errors: list[OSError] = []
    assert [w async for w, _, _ in path_of(node, full / "no").walk(on_error=errors.append)] == []
    assert isinstance(errors[0], FileNotFoundError)


async def test_the_parts_of_a_path(node, tree):
    path, pure = node.path("/x", "y.tar.gz"), pathlib.PurePosixPath("/x/y.tar.gz")
    for name in ("name", "stem", "suffix", "suffixes", "parts", "anchor"):
        assert getattr(path, name) == getattr(pure, name)
    assert str(path) == str(pure)
    assert bytes(path) == bytes(pure)
    assert path.as_posix() == "/x/y.tar.gz"
    assert path.parent == node.path("/x")
    assert path.parents == (node.path("/x"), node.path("/"))
    assert path.with_name("z") == node.path("/x/z")
    assert path.with_stem("z") == node.path("/x/z.gz")
    assert path.with_suffix(".z") == node.path("/x/y.tar.z")
    assert path / "a" / b"\xff" == node.path(b"/x/y.tar.gz/a/\xff")
    assert path / "/z" == node.path("/z")
    assert path.joinpath("a", "b") == path / "a/b"
    assert path.relative_to("/x") == path.relative_to(node.path("/x")) == pathlib.PurePosixPath("y.tar.gz")
    assert path.is_relative_to("/x")
    assert not path.is_relative_to(node.path("/y"))
    assert path.match("*.gz")
    assert path.is_absolute()
    assert not node.path("x").is_absolute()
    assert {path, node.path("/x/y.tar.gz")} == {path}
    assert sorted([node.path("b"), node.path("a")]) == [node.path("a"), node.path("b")]
    assert path != pure
    assert path.location is node
    assert node.name in repr(path)
    with pytest.raises(TypeError, match="no path of this machine"):
        open(path)  # noqa: SIM115 - it does not open
    with pytest.raises(TypeError, match="no path of this machine"):
        os.fspath(path)
    with pytest.raises(TypeError):
        path / path
    with pytest.raises(TypeError):
        path / 5


async def test_paths_of_two_locations_are_never_the_same(node, tree):
    async with warmshell.connect("local:") as other:
        here, there = node.path("/x"), other.path("/x")
        assert here != there
        with pytest.raises(TypeError):
            here < there  # noqa: B015
        with pytest.raises(ValueError, match="location"):
            here.relative_to(there)
        for operation in (here.rename(there), here.symlink_to(there), here.hardlink_to(there)):
            with pytest.raises(ValueError, match="another location"):
                await operation


async def test_questions(node, full):
    root = path_of(node, full)
    (full / "a/1.txt").chmod(0o755)
    for name in ("a", "a/1.txt", "lf", "ld", "dang", "e/f/self", "no", "a/1.txt/x", "*"):
        here, there = full / name, root / name
        for question in ("exists", "is_file", "is_dir", "is_symlink"):
            assert await getattr(there, question)() == getattr(here, question)(), (name, question)
        assert await there.is_executable() == os.access(here, os.X_OK), name
    assert await (root / "dang").exists(follow_symlinks=False)
    assert (await (root / "lf").lstat()).is_symlink
    (full / "a/1.txt").write_bytes(b"12345")
    assert await (root / "lf").size() == 5
    assert (await (root / "lf").stat()).st_mode == (full / "lf").stat().st_mode
    assert await (root / "ld").readlink() == node.path("a")
    assert await (root / "ld" / ".." / "lf").resolve() == path_of(node, (full / "a/1.txt").resolve())
    assert await (root / "no" / "x").resolve() == path_of(node, full.resolve() / "no/x")
    with pytest.raises(FileNotFoundError):
        await (root / "no").resolve(strict=True)
    assert [path.name for path in await root.iterdir()] == sorted(os.listdir(full), key=os.fsencode)
    assert await (root / "lf").checksum("sha1") == "8cb2237d0679ca88db6464eac60da96345513964"


async def test_contents(node, tree):
    path = path_of(node, tree) / "file"
    assert await path.write_text("größe\r\n ") == 10
    assert (tree / "file").read_bytes() == "größe\r\n ".encode()
    assert await path.read_text() == "größe\r\n "
    (tree / "file").chmod(0o640)
    data = os.urandom(1_500_000)
    inode = (tree / "file").stat().st_ino
    assert await path.write_bytes(data) == len(data)
    assert await path.read_bytes() == data
    assert stat.S_IMODE((tree / "file").stat().st_mode) == 0o640
    assert (tree / "file").stat().st_ino != inode
    assert await path.write_bytes(b"") == 0
    assert stat.S_IMODE((tree / "file").stat().st_mode) == 0o640
    assert (tree / "file").read_bytes() == b""
    umask = os.umask(0o022)
    os.umask(umask)
    for name, size in (("small", 10), ("large", 300_000)):
        await (path.parent / name).write_bytes(bytes(size))
        found = (tree / name).stat()
        assert found.st_size == size
        if node.name == "local":
            assert stat.S_IMODE(found.st_mode) == 0o666 & ~umask
    assert sorted(os.listdir(tree)) == ["file", "large", "small"]


@pytest.mark.parametrize("size", [10, 300_000])
async def test_writing_where_something_is(node, tree, size):
    root, data = path_of(node, tree), os.urandom(size)
    (tree / "dir").mkdir()
    (tree / "dir" / "real").write_bytes(b"old")
    (tree / "link").symlink_to("dir/real")
    (tree / "dangling").symlink_to("dir/new")
    (tree / "loop").symlink_to("loop")
    await (root / "link").write_bytes(data)
    await (root / "dangling").write_bytes(data)
    assert (tree / "dir/real").read_bytes() == (tree / "dir/new").read_bytes() == data
    assert (tree / "link").is_symlink()
    with pytest.raises(IsADirectoryError):
        await (root / "dir").write_bytes(data)
    with pytest.raises(FileNotFoundError):
        await (root / "no" / "x").write_bytes(data)
    with pytest.raises(NotADirectoryError):
        await (root / "link" / "x").write_bytes(data)
    with pytest.raises(OSError, match="loop"):
        await (root / "loop").write_bytes(data)
    await node.path("/dev/null").write_bytes(data)
    assert (await node.path("/dev/null").stat()).kind == "character"
    assert sorted(os.listdir(tree / "dir")) == ["new", "real"]
    assert sorted(os.listdir(tree)) == ["dangling", "dir", "link", "loop"]


async def test_making_changing_removing(node, tree):
    root = path_of(node, tree)
    await (root / "a/b").mkdir(parents=True, mode=0o700)
    assert stat.S_IMODE((tree / "a/b").stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        await (root / "a/b").mkdir()
    await (root / "a/b").mkdir(exist_ok=True)
    await (root / "a/f").touch(0o600)
    with pytest.raises(FileExistsError):
        await (root / "a/f").touch(exist_ok=False)
    await (root / "a/f").chmod(0o640)
    assert stat.S_IMODE((tree / "a/f").stat().st_mode) == 0o640
    await (root / "s").symlink_to("a/f")
    await (root / "t").symlink_to(root / "a")
    await (root / "h").hardlink_to(root / "a" / "f")
    assert os.readlink(tree / "s") == "a/f"
    assert os.readlink(tree / "t") == str(tree / "a")
    assert (tree / "h").stat().st_nlink == 2
    assert await (root / "h").rename(root / "i") == root / "i"
    assert await (root / "i").replace(str(tree / "s")) == root / "s"
    assert not (tree / "s").is_symlink()
    await (root / "s").unlink()
    await (root / "s").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        await (root / "s").unlink()
    with pytest.raises(OSError, match="not empty"):
        await (root / "a").rmdir()
    await (root / "a/b").rmdir()
    await (root / "t").rmtree()
    assert os.listdir(tree / "a") == ["f"]
    await (root / "a").rmtree()
    await (root / "a").rmtree(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        await (root / "a").rmtree()
    assert os.listdir(tree) == []


async def test_the_bug_that_cannot_be(node, tree):
    """rmtree('rm a') of another tool removed its neighbour 'rm'."""
    root = path_of(node, tree)
    for name in ("rm a", "rm", "a", "$(rm)", "*", "-r", "x;rm"):
        (tree / name).mkdir()
        (tree / name / "in").touch()
    for name in ("rm a", "$(rm)", "*", "x;rm", "-r"):
        await (root / name).rmtree()
    assert sorted(os.listdir(tree)) == ["a", "rm"]


async def test_copies(node, tree):
    root = path_of(node, tree)
    (tree / "a b").write_bytes(b"data")
    await (root / "a b").copy(root / "c'd")
    assert (tree / "c'd").read_bytes() == b"data"
    async with warmshell.connect("local:") as here:
        await (root / "a b").copy(path_of(here, tree / "other"))
    assert sorted(os.listdir(tree)) == ["a b", "c'd", "other"]


async def test_names_without_bytes(node, tree):
    with pytest.raises(ValueError, match="name"):
        await (path_of(node, tree) / "\ud800").exists()
    with pytest.raises(ValueError, match="name"):
        await (path_of(node, tree) / "a\0b").exists()


async def test_open_to_read(node, tree):
    data = os.urandom(2_000_000) + b"\nline one\nline two"
    (tree / "f").write_bytes(data)
    path = path_of(node, tree) / "f"
    async with path.open() as file:
        assert (file.name, file.mode, file.closed) == (str(path), "rb", False)
        assert await file.read(10) == data[:10]
        assert file.tell() == 10
        assert await file.read(0) == b""
        assert await file.read(600_000) == data[10:600_010]
        assert await file.seek(-8, os.SEEK_END) == len(data) - 8
        assert await file.read() == b"line two"
        assert await file.read() == await file.read(5) == b""
        assert await file.seek(5) == 5
        assert await file.seek(5, os.SEEK_CUR) == 10
        buffer = bytearray(100)
        assert await file.readinto(buffer) == 100
        assert bytes(buffer) == data[10:110]
        await file.seek(2_000_001)
        assert await file.readline() == b"line one\n"
        assert await file.readline(3) == b"lin"
        await file.seek(0)
        assert [line async for line in file] == data.splitlines(keepends=True) or b"\r" in data
        await file.seek(len(data) + 100)
        assert await file.read(1) == b""
        await file.seek(0)
        assert await file.read() == data
        with pytest.raises(ValueError, match="before"):
            await file.seek(-1)
        with pytest.raises(OSError, match="writable"):
            await file.write(b"")
    assert file.closed
    with pytest.raises(warmshell.ClosedError):
        await file.read()
    file = await path.open()
    assert await file.read(3) == data[:3]
    await file.aclose()
    await file.aclose()
    for bad, kind in (("no", FileNotFoundError), (".", IsADirectoryError)):
        with pytest.raises(kind):
            await (path.parent / bad).open()
    with pytest.raises(ValueError, match="mode"):
        path.open("r")  # type: ignore[arg-type]


async def test_open_to_write(node, tree):
    data = os.urandom(5_000_000)
    path = path_of(node, tree) / "f"
    async with path.open("wb") as file:
        for at in range(0, len(data), 700_000):
            await file.write(data[at : at + 700_000])
        await file.flush()
        assert file.tell() == len(data)
        assert not (tree / "f").exists()
    assert (tree / "f").read_bytes() == data
    with pytest.raises(ZeroDivisionError):
        async with path.open("wb") as file:
            await file.write(b"never")
            await file.flush()
            1 / 0  # noqa: B018
    assert (tree / "f").read_bytes() == data
    async with path.open("ab") as file:
        await file.write(b"more")
    assert (tree / "f").read_bytes() == data + b"more"
    with pytest.raises(FileExistsError):
        await path.open("xb")
    async with (path.parent / "new").open("xb") as file:
        await file.write(b"new")
    assert (tree / "new").read_bytes() == b"new"
    with pytest.raises(FileExistsError):
        async with (path.parent / "late").open("xb") as file:
            (tree / "late").write_bytes(b"first")
    assert (tree / "late").read_bytes() == b"first"
    async with (path.parent / "empty").open("wb"):
        pass
    assert (tree / "empty").read_bytes() == b""
    assert sorted(os.listdir(tree)) == ["empty", "f", "late", "new"]


async def test_a_cancelled_write_leaves_nothing(node, tree):
    path, data = path_of(node, tree) / "f", os.urandom(3_000_000)
    (tree / "f").write_bytes(b"old")
    for turns in range(1, 30, 3):
        task = asyncio.ensure_future(path.write_bytes(data))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task])
        whole = not done.pop().cancelled()
        assert (tree / "f").read_bytes() == (data if whole else b"old")
        assert os.listdir(tree) == ["f"]
