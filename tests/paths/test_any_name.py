"""Names of any bytes: an operation touches what was named, and nothing beside it."""

from __future__ import annotations

import os
import shutil

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warmshell.fileops import FileOperations

_WORDS = [b"-rf", b"--", b"--help", b"$(touch x)", b"`x`", b"\n", b" ", b"*", b"[a]", b"'", b'"', b"\\", b"a", b"rm a",
          b"rm", b"~", b"$HOME", b";", b"&", b"|", b">x", b"<", b"#", b"!", b"=", b"%s", b"\xff", b"\xc3\xa9", b"\r",
          b"\x01", b".", b"x" * 100]  # fmt: skip
_BYTES = st.binary(min_size=1, max_size=20).map(lambda data: data.replace(b"\0", b"0").replace(b"/", b"_"))
NAMES = (
    st.lists(st.one_of(st.sampled_from(_WORDS), _BYTES), min_size=1, max_size=4)
    .map(b"".join)
    .filter(lambda name: name not in (b".", b"..") and len(name) <= 255)
)


def fresh(tree) -> bytes:
    """An empty directory, as every example needs one."""
    path = os.path.join(os.fsencode(tree), b"here")
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path)
    return path


anything = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)  # fmt: skip


@anything
@given(names=st.lists(NAMES, min_size=2, max_size=5, unique=True))
async def test_only_what_was_named_is_removed(files: FileOperations, tree, names):
    where = fresh(tree)
    for number, name in enumerate(names):
        path = os.path.join(where, name)
        if number % 3 == 0:
            await files.mkdir(path)
            await files.write(os.path.join(path, names[0]), b"x")
        elif number % 3 == 1:
            await files.store(path, name)
        else:
            await files.symlink(path, names[0])
    assert sorted(os.listdir(where)) == sorted(names)
    assert [entry.name async for entry in files.entries(where)] == sorted(names)
    assert [name async for name in files.glob(b"*", where)] == sorted(names)
    left = sorted(names)
    for name in names:
        await files.rmtree(os.path.join(where, name))
        left.remove(name)
        assert sorted(os.listdir(where)) == left
    assert os.listdir(tree) == ["here"]


@anything
@given(name=NAMES, other=NAMES, data=st.binary(max_size=100))
async def test_what_was_named_is_what_is_meant(files: FileOperations, tree, name, other, data):
    where = fresh(tree)
    path, moved = os.path.join(where, name), os.path.join(where, other)
    await files.write(path, data, exclusive=True)
    assert os.listdir(where) == [name]
    assert await files.read(path) == data
    assert (await files.stat(path)).size == len(data)
    assert await files.realpath(path) == os.path.realpath(path)
    await files.rename(path, moved)
    assert os.listdir(where) == [other]
    assert await files.exists(moved)
    assert await files.exists(path) == (name == other)
    await files.remove(moved)
    await files.symlink(moved, name)
    assert await files.readlink(moved) == os.readlink(moved) == name
    await files.remove(moved)
    assert os.listdir(where) == []


@anything
@given(parts=st.lists(NAMES, min_size=2, max_size=4))
async def test_relative_names_of_any_depth(files: FileOperations, tree, parts):
    where = fresh(tree)
    await files.mkdir(os.path.join(where, *parts), parents=True)
    found = [name async for name in files.glob(b"**/*", where)]
    assert found == [b"/".join(parts[: depth + 1]) for depth in range(len(parts))]
    await files.rmtree(os.path.join(where, parts[0]))
    assert os.listdir(where) == []
