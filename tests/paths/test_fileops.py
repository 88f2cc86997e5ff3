"""Operations on files, asked for and scripted, against what the system itself says."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat

import pytest

from warmshell import WarmshellError
from warmshell.fileops import FileError, FileOperations
from warmshell.fileops.scripted import ScriptedFiles

ODD = b"a 'b'\n\xff*$(touch gone)`x`\\"
NAMES = [ODD, b"-rf", b"--help", b"\n", b" ", b"~", b"*", b"$HOME", b"a\nb", b"trailing\n", b"'", b'"', b"!", b"(",
         b"=x", b".hidden", b"..more", b"#", b"\xc3\xa9", b"x" * 255]  # fmt: skip


def at(tree, *names):
    return os.path.join(os.fsencode(tree), *names)


def put(path, data=b""):
    with open(path, "wb") as file:
        file.write(data)


async def refused(number, operation):
    with pytest.raises(OSError) as caught:
        await operation
    assert isinstance(caught.value, FileError | WarmshellError)
    assert caught.value.errno == number, caught.value
    return caught.value


async def listed(files, path):
    return [entry async for entry in files.entries(path)]


def test_each_kind_has_its_own(files, kind):
    assert isinstance(files, ScriptedFiles) == kind.endswith("scripts")


async def test_facts(files: FileOperations, tree):
    path = at(tree, ODD)
    put(path, b"12345")
    os.chmod(path, 0o4640)
    os.utime(path, ns=(10**18, 10**18 + 123456789))
    os.symlink(ODD, at(tree, b"link"))
    os.link(path, at(tree, b"hard"))
    os.mkfifo(at(tree, b"fifo"))
    facts, found = await files.stat(path), os.stat(path)
    assert (facts.kind, facts.mode, facts.size, facts.links) == ("file", 0o4640, 5, 2)
    assert (facts.st_mode, facts.st_ino, facts.st_dev) == (found.st_mode, found.st_ino, found.st_dev)
    assert (facts.st_uid, facts.st_gid) == (found.st_uid, found.st_gid)
    assert facts.mtime_ns in (found.st_mtime_ns, found.st_mtime_ns // 10**9 * 10**9)
    assert (await files.stat(at(tree, b"link"))).is_file
    assert (await files.stat(at(tree, b"link"), follow=False)).is_symlink
    assert (await files.stat(at(tree))).is_dir
    assert (await files.stat(at(tree, b"fifo"))).kind == "fifo"
    assert (await files.stat(b"/dev/null")).kind == "character"


async def test_whether_it_is_there(files: FileOperations, tree):
    put(at(tree, b"file"))
    os.symlink("nowhere", at(tree, b"dangling"))
    os.symlink("loop", at(tree, b"loop"))
    for path, there in ((at(tree, b"file"), True), (at(tree), True), (at(tree, b"no"), False),
                        (at(tree, b"file", b"x"), False), (at(tree, b"dangling"), False),
                        (at(tree, b"loop"), False)):  # fmt: skip
        assert await files.exists(path) is there, path
    assert await files.exists(at(tree, b"dangling"), follow=False)
    assert await files.exists(at(tree, b"loop"), follow=False)
    assert not await files.exists(at(tree, b"no"), follow=False)
    assert not await files.executable(at(tree, b"file"))
    os.chmod(at(tree, b"file"), 0o755)
    assert await files.executable(at(tree, b"file"))
    assert not await files.executable(at(tree, b"no"))


async def test_listing(files: FileOperations, tree):
    for name in NAMES:
        put(at(tree, name), name)
    os.mkdir(at(tree, b"dir"))
    os.symlink(b"-rf", at(tree, b"link"))
    entries = await listed(files, at(tree))
    assert [entry.name for entry in entries] == sorted(os.listdir(at(tree)))
    for entry in entries:
        found = os.lstat(at(tree, entry.name))
        assert (entry.facts.st_mode, entry.facts.st_size, entry.facts.st_ino) == (
            found.st_mode, found.st_size, found.st_ino,
        )  # fmt: skip
    first = await files.list(at(tree), limit=5)
    rest = await files.list(at(tree), after=first.next)
    assert [*first.entries, *rest.entries] == entries
    assert await listed(files, at(tree, b"dir")) == []
    await refused(errno.ENOENT, files.list(at(tree, b"no")))
    await refused(errno.ENOTDIR, files.list(at(tree, b"-rf")))


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
async def test_odd_names(files: FileOperations, tree, name):
    path = at(tree, name)
    await files.write(path, b"data", exclusive=True)
    assert os.listdir(at(tree)) == [name]
    assert await files.read(path) == b"data"
    assert (await files.stat(path)).size == 4
    assert await files.exists(path)
    assert await files.checksum(path, "md5") == hashlib.md5(b"data").hexdigest()
    assert os.path.samefile(await files.realpath(path), path)
    await files.chmod(path, 0o600)
    await files.touch(path)
    await files.truncate(path, 2)
    await files.utime(path, 10**18, 10**18)
    await files.rename(path, at(tree, b"other"))
    await files.link(path, at(tree, b"other"))
    await files.remove(at(tree, b"other"))
    assert os.listdir(at(tree)) == [name]
    assert (os.stat(path).st_mode & 0o7777, os.stat(path).st_mtime) == (0o600, 10**9)
    await files.remove(path)
    await files.symlink(path, name)
    assert await files.readlink(path) == name
    await files.rmtree(path)
    await files.mkdir(path)
    await files.mkdir(at(tree, name, name))
    assert [entry.name async for entry in files.entries(path)] == [name]
    assert [found async for found in files.glob(b"**/*", path)] == [name]
    await files.rmdir(at(tree, name, name))
    await files.rmtree(path)
    assert os.listdir(at(tree)) == []


async def test_relative_names(open_node, tree, kind):
    put(at(tree, b"-n"), b"x")
    async with open_node(cwd=str(tree)) as node:
        files = node.files
        assert await files.read(b"-n") == b"x"
        assert [entry.name for entry in (await files.list(b".")).entries] == [b"-n"]
        await files.mkdir(b"-p/-q", parents=True)
        await files.symlink(b"link", b"-p")
        await files.rename(b"-n", b"link/-n")
        assert [name async for name in files.glob(b"**/*")] == [b"-p", b"-p/-n", b"-p/-q", b"link"]
        assert await files.realpath(b"link/-n") == os.path.realpath(at(tree, b"-p/-n"))
        assert await files.checksum(b"-p/-n", "sha1") == hashlib.sha1(b"x").hexdigest()
        await files.rmtree(b"-p")
    assert os.listdir(tree) == ["link"]


async def test_why_not(files: FileOperations, tree):
    put(at(tree, b"file"))
    os.makedirs(at(tree, b"full", b"inner"))
    file, full, no = at(tree, b"file"), at(tree, b"full"), at(tree, b"no", b"x")
    below = at(tree, b"file", b"x")
    await refused(errno.ENOENT, files.stat(no))
    await refused(errno.ENOTDIR, files.stat(below))
    await refused(errno.EEXIST, files.mkdir(full))
    await refused(errno.EEXIST, files.mkdir(file, parents=True))
    await refused(errno.EEXIST, files.mkdir(file, exist_ok=True))
    await refused(errno.ENOENT, files.mkdir(at(tree, b"no", b"x", b"y")))
    await refused(errno.ENOTDIR, files.mkdir(below, parents=True))
    await refused(errno.ENOTEMPTY, files.rmdir(full))
    await refused(errno.ENOENT, files.rmdir(no))
    await refused(errno.EISDIR, files.remove(full))
    await refused(errno.ENOENT, files.remove(no))
    await refused(errno.ENOENT, files.rmtree(no))
    await refused(errno.EISDIR, files.read(full))
    await refused(errno.ENOENT, files.read(no))
    await refused(errno.EISDIR, files.write(full, b"x"))
    await refused(errno.ENOENT, files.write(no, b"x"))
    await refused(errno.ENOENT, files.write(no, b"x", truncate=True))
    await refused(errno.EEXIST, files.write(file, b"x", exclusive=True))
    await refused(errno.ENOENT, files.write(at(tree, b"no"), b"x", create=False))
    await refused(errno.ENOENT, files.truncate(no, 1))
    await refused(errno.EISDIR, files.checksum(full))
    await refused(errno.ENOENT, files.checksum(no))
    await refused(errno.EINVAL, files.readlink(file))
    await refused(errno.ENOENT, files.readlink(no))
    await refused(errno.ENOENT, files.chmod(no, 0o600))
    await refused(errno.ENOENT, files.utime(no, 0, 0))
    await refused(errno.ENOENT, files.touch(no))
    await refused(errno.EEXIST, files.touch(file, exist_ok=False))
    await refused(errno.EEXIST, files.symlink(file, b"x"))
    await refused(errno.EEXIST, files.link(file, full))
    await refused(errno.ENOENT, files.link(at(tree, b"new"), no))
    await refused(errno.ENOENT, files.rename(no, file))
    await refused(errno.EISDIR, files.rename(file, full))
    await refused(errno.ENOTDIR, files.rename(full, file))
    await refused(errno.ENOENT, files.space(no))
    error = await refused(errno.ENOENT, files.rename(no, file))
    assert isinstance(error, FileNotFoundError)
    assert (error.filename, error.filename2) == (os.fsdecode(no), os.fsdecode(file))
    assert files.location in str(error)
    assert repr(os.fsdecode(no)) in str(error)
    await files.remove(no, missing_ok=True)
    await files.rmtree(no, missing_ok=True)
    await files.mkdir(full, exist_ok=True)
    await files.mkdir(at(tree, b"new", b"x", b"y"), parents=True)
    assert sorted(os.listdir(tree)) == ["file", "full", "new"]


async def test_names_that_cannot_be(files: FileOperations, tree):
    for bad in (b"", b"a\0b"):
        for operation in (files.stat(bad), files.exists(bad), files.rmtree(bad), files.symlink(at(tree, b"x"), bad)):
            with pytest.raises(ValueError, match="name"):
                await operation
    for wrong in (b"/", b".", b"..", at(tree, b"."), at(tree, b".."), at(tree) + b"/./", b"//"):
        await refused(errno.EINVAL, files.rmtree(wrong))
    await refused(errno.ENAMETOOLONG, files.stat(at(tree, b"x" * 256)))
    await refused(errno.ENAMETOOLONG, files.mkdir(at(tree, b"x" * 256)))
    assert tree.exists()


async def test_removing_a_link_spares_what_it_leads_to(files: FileOperations, tree):
    os.mkdir(at(tree, b"kept"))
    put(at(tree, b"kept", b"file"))
    for end in (b"", b"/"):
        os.symlink(b"kept", at(tree, b"link"))
        await files.rmtree(at(tree, b"link") + end)
        assert not os.path.lexists(at(tree, b"link"))
    os.mkdir(at(tree, b"dir"))
    os.symlink(b"../kept", at(tree, b"dir", b"link"))
    await files.rmtree(at(tree, b"dir"))
    assert os.listdir(at(tree, b"kept")) == [b"file"]


async def test_renaming_replaces(files: FileOperations, tree):
    os.makedirs(at(tree, b"dir"))
    for name in (b"a", b"b", b"dir/in"):
        put(at(tree, name), name)
    await files.rename(at(tree, b"a"), at(tree, b"b"))
    os.symlink(b"dir", at(tree, b"link"))
    await files.rename(at(tree, b"b"), at(tree, b"link"))
    assert (sorted(os.listdir(tree)), os.listdir(at(tree, b"dir"))) == (["dir", "link"], [b"in"])
    assert not os.path.islink(at(tree, b"link"))
    os.link(at(tree, b"dir", b"in"), at(tree, b"same"))
    await files.rename(at(tree, b"same"), at(tree, b"dir", b"in"))
    await files.rename(at(tree, b"dir"), at(tree, b"dir"))
    assert os.path.exists(at(tree, b"same"))
    os.mkdir(at(tree, b"empty"))
    await files.rename(at(tree, b"dir"), at(tree, b"empty"))
    assert os.listdir(at(tree, b"empty")) == [b"in"]


async def test_where_links_lead(files: FileOperations, tree):
    base = os.path.realpath(at(tree))
    os.makedirs(at(tree, b"a", b"b\n"))
    put(at(tree, b"a", b"f\n"))
    os.symlink(b"a", at(tree, b"rel"))
    os.symlink(at(tree, b"rel", b"f\n"), at(tree, b"abs"))
    os.symlink(b"no/where", at(tree, b"dangling"))
    os.symlink(b"../a\n", at(tree, b"a", b"up"))
    for name in (b".", b"a/b\n", b"rel/f\n", b"abs", b"dangling", b"no", b"no/x/y\n", b"rel/../a", b"a/up",
                 b"rel/b\n/..", b"a//b\n/", b"./a/./f\n", b"rel/no/../x", b"/", b"/no", b"//", b"/.."):  # fmt: skip
        path = at(tree, name)
        assert await files.realpath(path) == os.path.realpath(path), name
    assert (await files.realpath(at(tree))) == base


async def test_contents(files: FileOperations, tree):
    data = os.urandom(300_000)
    path = at(tree, b"data")
    await files.write(path, data[:100], mode=0o600)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    await files.write(path, data[100:70_000], 100)
    await files.write(path, data[70_000:200_001], 70_000, create=False)
    await files.write(path, data[200_001:], 200_001)
    with open(path, "rb") as file:
        assert file.read() == data
    for offset, length in (
        (0, 10),
        (65536, 65536),
        (65535, 2),
        (299_990, 100),
        (300_000, 5),
        (400_000, 5),
        (7, 0),
        (1, 299_999),
    ):
        assert await files.read(path, offset, length) == data[offset : offset + length], (offset, length)
    assert b"".join([piece async for piece in files.stream(path)]) == data
    assert b"".join([piece async for piece in files.stream(path, 65_537, 100_000)]) == data[65_537:165_537]
    assert b"".join([piece async for piece in files.stream(path, 0, 0)]) == b""
    await files.write(path, b"new", truncate=True)
    assert await files.read(path) == b"new"
    await files.write(path, b"X", 1)
    assert await files.read(path) == b"nXw"
    await files.write(path, b"end", 2, truncate=True)
    assert await files.read(path) == b"\0\0end"
    await files.truncate(path, 10)
    assert await files.read(path) == b"\0\0end" + bytes(5)
    await files.truncate(path, 0)
    assert await files.read(path) == b""
    await files.sync(path)


async def test_much_in_bounded_pieces(files: FileOperations, tree):
    size = 20_000_000
    path, piece = at(tree, b"large"), os.urandom(1_000_000)

    async def pieces():
        for _ in range(size // len(piece)):
            yield piece

    await files.write(path, b"")
    assert await files.write_stream(path, pieces()) == size
    digest = hashlib.sha256(piece * (size // len(piece))).hexdigest()
    assert await files.checksum(path) == digest
    seen, longest = hashlib.sha256(), 0
    async for data in files.stream(path):
        seen.update(data)
        longest = max(longest, len(data))
    assert (seen.hexdigest(), longest <= 1024 * 1024) == (digest, True)
    async for _ in files.stream(path):
        break
    await refused(errno.ENOENT, anext(files.stream(at(tree, b"no"))))
    await refused(errno.ENOENT, files.write_stream(at(tree, b"no"), pieces()))


async def test_checksums(files: FileOperations, tree):
    put(at(tree, b"x"), b"abc")
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        assert await files.checksum(at(tree, b"x"), algorithm) == hashlib.new(algorithm, b"abc").hexdigest()
    with pytest.raises(ValueError, match="none"):
        await files.checksum(at(tree, b"x"), "none; touch y")
    os.mkfifo(at(tree, b"fifo"))
    await refused(errno.EINVAL, files.checksum(at(tree, b"fifo")))


async def test_modes_and_times(files: FileOperations, tree):
    await files.mkdir(at(tree, b"d"), 0o700)
    await files.touch(at(tree, b"f"), 0o640)
    os.symlink(b"f", at(tree, b"l"))
    assert stat.S_IMODE(os.stat(at(tree, b"d")).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(at(tree, b"f")).st_mode) == 0o640
    await files.chmod(at(tree, b"d"), 0o2755)
    assert stat.S_IMODE(os.stat(at(tree, b"d")).st_mode) == 0o2755
    await files.chmod(at(tree, b"d"), 0o755)
    assert stat.S_IMODE(os.stat(at(tree, b"d")).st_mode) == 0o755
    await files.utime(at(tree, b"f"), 10**18, 2 * 10**18)
    await files.utime(at(tree, b"l"), 10**18, 3 * 10**18, follow=False)
    assert (os.stat(at(tree, b"f")).st_atime, os.stat(at(tree, b"f")).st_mtime) == (10**9, 2 * 10**9)
    assert os.lstat(at(tree, b"l")).st_mtime == 3 * 10**9
    space = await files.space(at(tree))
    assert 0 < space.free <= space.total


async def test_many_at_once(files: FileOperations, tree, kind):
    for number in range(0, 1000, 2):
        put(at(tree, b"%d" % number))
    found = await asyncio.gather(*[files.exists(at(tree, b"%d" % number)) for number in range(1000)])
    assert found == [True, False] * 500


async def test_much_at_once(files: FileOperations, tree, kind):
    count = 80 if kind in ("local", "ssh") else 8
    data = {at(tree, b"%d" % number): os.urandom(256 * 1024) for number in range(count)}
    await asyncio.gather(*[files.store(path, contents) for path, contents in data.items()])
    read = await asyncio.gather(*[files.read(path) for path in data])
    assert read == list(data.values())
    assert len(os.listdir(tree)) == count


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
async def test_forbidden(open_node, tree, kind, monkeypatch):
    if kind.startswith("ssh"):
        pytest.skip("these hosts let root in")
    os.chmod(tree, 0o700)
    put(at(tree, b"x"))
    files = ScriptedFiles(As(open_node(), "nobody")) if kind != "local" else None
    if files is None or kind.startswith("busybox"):
        pytest.skip("threads of this process are root, and busybox has no sudo")
    async with files._place.node:
        for operation in (files.stat, files.exists, files.read, files.list, files.remove, files.checksum, files.mkdir):
            await refused(errno.EACCES, operation(at(tree, b"x")))
        await refused(errno.EACCES, files.list(at(tree)))
    assert os.path.exists(at(tree, b"x"))


class As:
    """A location whose commands run as another account."""

    def __init__(self, node, user):
        self.node, self.user, self.name = node, user, node.name

    async def run(self, what, **options):
        return await self.node.run(what, user=self.user, **options)
