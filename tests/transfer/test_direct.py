"""From host to host, without this machine in between."""

from __future__ import annotations

import asyncio
import os
import shutil

import pytest

import warmshell
from transfer.test_faults import kill_all
from transfer.trees import facts, left, make
from warmshell.testing.waiting import eventually
from warmshell.transfer.api import At


@pytest.fixture
def words(lab):
    """How one host of the lab reaches another one: its configuration is not that of a login."""
    return ["ssh", "-F", lab.config, "-o", "BatchMode=yes", "hostB"]


@pytest.fixture
def tree(tmp_path):
    make(os.fsencode(tmp_path / "tree"))
    yield tmp_path / "tree"
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("kind", ["ssh-server", "ssh-markers"])
async def test_it_arrives_as_it_was(connect, tree, tmp_path, words, kind):
    os.mkdir(tmp_path / "to o\n'x")
    target = tmp_path / "to o\n'x" / "copy"
    async with connect(kind) as one, connect("ssh-second") as other:
        await warmshell.copy(At(one, tree), At(other, target), direct=words)
    assert facts(os.fsencode(target)) == facts(os.fsencode(tree))
    assert left(tmp_path) == []


async def test_what_goes_wrong_is_told_and_leaves_nothing(connect, tree, tmp_path, words):
    async with connect("ssh-server") as one, connect("ssh-second") as other:
        with pytest.raises(warmshell.CopyError, match="could not send"):
            await warmshell.copy(At(one, tree), At(other, tmp_path / "copy"), direct=[*words[:-1], "no-such-host"])
        with pytest.raises(warmshell.CopyError, match="no directory"):
            await warmshell.copy(At(one, tree), At(other, tmp_path / "none" / "copy"), direct=words)
        with pytest.raises(warmshell.CopyError, match="could not send"):  # its own configuration does not know the key
            await warmshell.copy(At(one, tree), At(other, tmp_path / "copy"), direct=True)
        async with connect("local") as here:
            with pytest.raises(warmshell.CopyError, match="no other location"):
                await warmshell.copy(At(one, tree), At(here, tmp_path / "copy"), direct=True)
    assert os.listdir(tmp_path) == ["tree"]


@pytest.mark.parametrize("what", ["tar -c", "tar -x", "mkdir -m 700"])
async def test_any_program_is_killed(connect, tree, tmp_path, words, what):
    (tree / "large").write_bytes(os.urandom(1_000_000) * 40)
    async with connect("ssh-server") as one, connect("ssh-second") as other:
        copying = asyncio.ensure_future(warmshell.copy(At(one, tree), At(other, tmp_path / "copy"), direct=words))
        await eventually(lambda: left(tmp_path))
        kill_all(what, tmp_path)
        try:
            await copying
            assert facts(os.fsencode(tmp_path / "copy")) == facts(os.fsencode(tree))
        except warmshell.CopyError:
            assert not (tmp_path / "copy").exists()
    assert left(tmp_path) == []
