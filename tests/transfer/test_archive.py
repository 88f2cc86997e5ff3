"""The archive scanner: what it passes on, what it refuses, however the bytes are cut."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.protocol.archive import BLOCK, ZERO, ArchiveScanner, BadArchive, sealed, trailer

NAMES = st.lists(
    st.binary(min_size=1, max_size=90).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"_")).filter(
        lambda b: b not in (b".", b"..")
    ),
    min_size=1, max_size=4,
).map(b"/".join)  # fmt: skip
CUTS = st.lists(st.integers(1, 3000), min_size=1, max_size=30)


def scan(data: bytes, cuts: list[int], **options) -> tuple[bytes, ArchiveScanner]:
    """All that is passed on, and the scanner, for an archive that arrives in pieces of these sizes, again and again."""
    scanner = ArchiveScanner(options.pop("tops", None), **options)
    passed: list[bytes] = []
    at = turn = 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        passed += scanner.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    scanner.finish()
    return b"".join(passed), scanner


def listed(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def member(name: bytes, kind: bytes = tarfile.REGTYPE, body: bytes = b"", **more) -> bytes:
    info = tarfile.TarInfo(os.fsdecode(name))
    info.type, info.size = kind, len(body)
    for key, value in more.items():
        setattr(info, key, value)
    head = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return head + body + bytes(-len(body) % BLOCK)


END = 2 * ZERO


@given(
    st.lists(st.tuples(NAMES, st.sampled_from("fdlp"), st.binary(max_size=3000)), max_size=8, unique_by=lambda m: m[0]),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    CUTS,
)
def test_what_tarfile_writes_is_passed_on(members, kind, cuts):
    """All bytes up to the end; members and sizes are counted."""
    buffer = io.BytesIO()
    files = size = 0
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for number, (name, what, body) in enumerate(members):
            info = tarfile.TarInfo(f"{number}/" + os.fsdecode(name))
            info.mtime = 1.5 if kind == tarfile.PAX_FORMAT else 1
            info.type = {"f": b"0", "d": b"5", "l": b"2", "p": b"6"}[what]
            info.linkname = "../" + "x" * len(body) if what == "l" else ""
            info.size = len(body) if what == "f" else 0
            archive.addfile(info, io.BytesIO(body))
            files += what != "d"
            size += info.size
    data = buffer.getvalue()
    passed, scanner = scan(data, cuts)
    assert (scanner.files, scanner.size) == (files, size)
    assert data.startswith(passed)
    assert not data[len(passed) :].strip(b"\0")
    names = [info.name for info in listed(passed + trailer(b"whole"))]
    assert names[-1:] == ["whole"]
    assert len(names) == len(members) + 1


@given(st.binary(max_size=4000), CUTS)
def test_no_bytes_do_anything_but_pass_or_raise(data, cuts):
    with pytest.raises(BadArchive):
        scan(data, cuts)


@given(st.integers(0, 6000), st.integers(0, 255))
def test_a_changed_byte_is_noticed_or_does_no_harm(at, value):
    """Whatever is changed in headers, what is passed on still holds nothing outside."""
    data = bytearray(member(b"a/b", body=b"x" * 700) + member(b"a/l", b"2", linkname="/etc") + member(b"a/c") + END)
    data[at % len(data)] = value
    try:
        passed, _ = scan(bytes(data), [100], tops=[b"a"])
    except BadArchive:
        return
    for info in listed(passed + END):
        assert info.name == "a" or info.name.startswith("a/")


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "top"
    (top / "empty").mkdir(parents=True)
    (top / "sub" / ("long " * 40)).mkdir(parents=True)
    (top / "sub" / ("long " * 40) / ("n" * 255)).write_bytes(b"deep")
    (top / "file").write_bytes(b"one")
    os.link(top / "file", top / "again")
    os.symlink("file", top / "link")
    os.symlink("/" + "far/" * 60, top / "far")
    os.mkfifo(top / "fifo")
    (top / os.fsdecode(b"\xff\n name")).write_bytes(b"odd")
    for name in ("s\\parse", "sparse2"):
        with open(top / name, "wb") as file:
            for start in range(40):
                file.seek(start * 100_000)
                file.write(b"data")
            file.truncate(5_000_000)
    yield top
    shutil.rmtree(tmp_path / "top")


PROGRAMS = {
    "gnu": ["tar", "--format=gnu"],
    "gnu sparse": ["tar", "--format=gnu", "--sparse"],
    "pax": ["tar", "--format=posix", "--pax-option=delete=atime,delete=ctime"],
    "pax sparse": ["tar", "--format=posix", "--sparse"],
    "pax sparse 0.1": ["tar", "--format=posix", "--sparse", "--sparse-version=0.1"],
    "pax sparse 0.0": ["tar", "--format=posix", "--sparse", "--sparse-version=0.0"],
    "busybox": ["busybox", "tar"],
}


@pytest.mark.parametrize("words", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("cut", [1023, 1 << 20])
def test_what_tar_programs_write_is_passed_on(tree, words, cut):
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    made = subprocess.run([*words, "-c", "-f", "-", "./top"], cwd=tree.parent, capture_output=True, check=True)
    passed, scanner = scan(made.stdout, [cut], tops=[b"top"])
    assert made.stdout.startswith(passed)
    assert not made.stdout[len(passed) :].strip(b"\0")
    assert scanner.files == len([path for path in tree.rglob("*") if path.is_symlink() or not path.is_dir()])


# -- hostile ---------------------------------------------------------------------------------------------------------


def pax(**records: bytes) -> bytes:
    body = b""
    for key, value in records.items():
        text = b" %s=%s\n" % (key.replace("__", ".").encode(), value)
        length = len(text) + 2
        body += b"%d%s" % (length if len(str(length)) == 2 else length + 1, text)
    return member(b"PaxHeaders/x", b"x", body)


def damaged(block: bytes, at: int, value: bytes) -> bytes:
    return sealed((block[:at] + value + block[at + len(value) :])[:BLOCK]) + block[BLOCK:]


FILE = member(b"a/f")
HOSTILE = {
    "absolute": member(b"/etc/passwd"),
    "absolute by pax": pax(path=b"/etc/passwd") + FILE,
    "absolute by a long name": member(b"././@LongLink", b"L", b"/etc/passwd\0") + FILE,
    "up": member(b"a/../../x"),
    "up at the end": member(b"a/.."),
    "up by pax": pax(path=b"a/../../x") + FILE,
    "up by the name of a sparse file": pax(GNU__sparse__name=b"../x", path=b"a/x") + FILE,
    "another top": member(b"b"),
    "the top's parent": member(b"./", b"5"),
    "below a link": member(b"a/l", b"2", linkname="/etc") + member(b"a/l/passwd"),
    "far below a link": member(b"a/l", b"2", linkname="/etc") + FILE + member(b"a/./l//x/y/z"),
    "below a link to a link": member(b"a/l", b"2", linkname="..") + member(b"a/h", b"1", linkname="a/l")
    + member(b"a/h/x"),
    "through a link, by the same name": member(b"a/l", b"2", linkname="/etc/passwd") + member(b"a/l", body=b"x"),
    "a directory that becomes a link": member(b"a/d", b"5") + member(b"a/d", b"2", linkname="/"),
    "a link that becomes a directory": member(b"a/d", b"2", linkname="/") + member(b"a/d", b"5"),
    "a hard link out": member(b"a/h", b"1", linkname="/etc/passwd"),
    "a hard link up": member(b"a/h", b"1", linkname="a/../../x"),
    "a hard link to another top": member(b"a/h", b"1", linkname="b"),
    "a hard link by way of a link": member(b"a/l", b"2", linkname="/etc") + member(b"a/h", b"1", linkname="a/l/passwd"),
    "a hard link by pax": pax(linkpath=b"/etc/passwd") + member(b"a/h", b"1", linkname="a/f"),
    "a hard link with contents": damaged(member(b"a/h", b"1", linkname="a/f"), 124, b"00000001000\0"),
    "a device": member(b"a/null", b"3", devmajor=1, devminor=3),
    "a disk": member(b"a/sda", b"4", devmajor=8),
    "an unknown kind": member(b"a/x", b"V"),
    "a global header": member(b"a/g", b"g", b"20 path=/etc/passwd\n"),
    "a file called a directory": damaged(FILE, 0, b"a/f/"),
    "an old file": damaged(FILE, 156, b"\0"),
    "a wrong checksum": FILE[:148] + b"0000001\0" + FILE[156:],
    "no magic": damaged(FILE, 257, bytes(8)),
    "a prefix where there is none": damaged(FILE, 345, b"/etc"),
    "a size that is none": damaged(FILE, 124, b"00000000-1\0\0"),
    "a size below zero": damaged(FILE, 124, b"\xff" * 12),
    "a size beyond all": damaged(FILE, 124, b"\x80" + b"\xff" * 11),
    "two paths": pax(path=b"a/x") + pax(path=b"a/y") + FILE,
    "a path twice": member(b"x", b"x", b"12 path=a/x\n12 path=a/y\n") + FILE,
    "a NUL in a path": pax(path=b"a/x\0y") + FILE,
    "a NUL in a long name": member(b"././@LongLink", b"L", b"a/x\0y\0") + FILE,
    "a record without end": member(b"x", b"x", b"99 path=a/x\n") + FILE,
    "a record of no length": member(b"x", b"x", b"0 path=a/x\n") + FILE,
    "a long name and pax": member(b"././@LongLink", b"L", b"a/x\0") + pax(path=b"a/y") + FILE,
    "an endless header": damaged(member(b"x", b"x"), 124, b"77777777777\0"),
    "a link to nothing": member(b"a/l", b"2"),
    "text": b"x" * BLOCK,
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("cut", [1, 512, 1 << 20])
def test_a_hostile_archive_is_refused(data, cut):
    with pytest.raises(BadArchive):
        scan(member(b"a", b"5") + data + member(b"a/z") + END, [cut], tops=[b"a"])


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_nothing_of_a_hostile_member_is_passed_on(data):
    """What was passed on before, taken for a whole archive, has nothing hostile in it."""
    scanner, passed = ArchiveScanner([b"a"]), b""
    data = member(b"a", b"5") + data + member(b"a/z") + END
    with pytest.raises(BadArchive):
        for at in range(0, len(data), 100):
            passed += b"".join(scanner.feed(data[at : at + 100]))
    for info in listed(passed[: len(passed) - len(passed) % BLOCK] + END):
        assert info.name == "a" or info.name.startswith("a/"), info
        assert info.type in b"0125S"


@pytest.mark.parametrize("cut", [1, 300, 512, 1 << 20])
def test_set_id_bits_are_taken_away(cut):
    data = member(b"a", b"5", mode=0o6775) + member(b"a/f", mode=0o6755, body=b"x") + member(b"a/g", mode=0o644) + END
    passed, _ = scan(data, [cut])
    modes = [info.mode for info in listed(passed + END)]
    assert modes == [0o2775, 0o755, 0o644]
    kept, _ = scan(data, [cut], set_id=True)
    assert [info.mode for info in listed(kept + END)] == [0o6775, 0o6755, 0o644]


def test_what_simple_programs_do_not_know_is_refused_for_them():
    with pytest.raises(BadArchive):
        scan(pax(path=b"a/x") + FILE + END, [512], pax=False)
    with pytest.raises(BadArchive):
        scan(damaged(FILE, 156, b"S") + END, [512], pax=False)


@pytest.mark.parametrize("size", [0, 1, 512, 1023, 2000])
def test_an_archive_that_is_cut_short_is_none(size):
    with pytest.raises(BadArchive, match=r"cut short|no archive"):
        scan((member(b"a", body=b"x" * 2000) + END)[:size], [512])


def test_a_header_for_nothing_is_no_archive():
    with pytest.raises(BadArchive, match="ends behind"):
        scan(FILE + pax(path=b"a/y") + END, [512])


def test_what_follows_the_end_is_not_passed_on():
    passed, _ = scan(FILE + END + member(b"/etc/passwd"), [700])
    assert passed == FILE


def test_the_time_is_linear_in_the_size():
    """Bodies are skipped, headers in single bytes cost no more than their number."""

    def seconds(count: int) -> float:
        data = b"".join(member(b"d/%d" % n, body=b"x" * 100) for n in range(count)) + END
        start = time.process_time()
        scan(data, [7])
        return time.process_time() - start

    seconds(100)
    assert min(seconds(4000) for _ in range(2)) < 40 * min(seconds(400) for _ in range(3))
