"""Places with another ``tar``, or with none."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

import warmshell
from transfer.trees import facts, left, make
from warmshell.transfer.api import At
from warmshell.transfer.site import site_of


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    top = os.fsencode(tmp_path_factory.mktemp("trees") / "tree")
    make(top)
    yield top
    shutil.rmtree(top)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A search path without ``tar``, or with that of busybox; what is connected then has no other."""
    where = tmp_path / "bin"
    where.mkdir()
    for directory in os.environ["PATH"].split(os.pathsep):
        for path in Path(directory).glob("*"):
            if path.name not in ("tar", "bsdtar", "gtar") and not os.path.lexists(where / path.name):
                (where / path.name).symlink_to(path)

    def use(tar: str) -> None:
        if tar == "busybox":
            if shutil.which("busybox") is None:
                pytest.skip("busybox is not installed")
            (where / "tar").symlink_to(shutil.which("busybox"))
        elif tar == "nothing":
            (where / "python3").unlink()
        monkeypatch.setenv("PATH", str(where))

    yield use
    shutil.rmtree(where)


def facts_of(found: dict[bytes, tuple[object, ...]], exact: bool) -> dict[bytes, tuple[object, ...]]:
    if exact:
        return {name: row[:6] for name, row in found.items()}
    files = {name: row[:6] for name, row in found.items() if stat.S_ISREG(row[0])}
    return (
        files
        | {name: (row[0], row[-1]) for name, row in found.items() if stat.S_ISLNK(row[0])}
        | {name: row[:2] for name, row in found.items() if stat.S_ISDIR(row[0]) or stat.S_ISFIFO(row[0])}
    )


@pytest.mark.parametrize("tar", ["python", "busybox"])
async def test_everything_that_it_can_do(connect, programs, tree, tmp_path, tar):
    async with connect("ssh-server") as other:  # with the tar that everybody has
        programs(tar)
        async with connect("local") as node, connect("local-markers") as near:
            assert (await site_of(node)).tar == tar
            exact = tar == "python"
            expected = facts(tree, exact_times=exact, sparse=exact)
            for number, (source, target) in enumerate([(other, node), (node, other), (near, node)]):
                to = tmp_path / f"copy{number}"
                await warmshell.copy(At(source, tree), At(target, to))
                found = facts(os.fsencode(to), exact_times=exact, sparse=exact)
                # Python writes files with holes without them; busybox keeps the times of files alone.
                assert facts_of(found, exact) == facts_of(expected, exact)
                assert left(tmp_path) == []
                shutil.rmtree(to)


@pytest.mark.parametrize("tar", ["python", "busybox"])
async def test_a_source_that_ends_too_early(connect, programs, tmp_path, tar):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "large").write_bytes(bytes(30_000_000))
    async with connect("ssh-server") as other:
        programs(tar)
        async with connect("local") as node:
            stopped: list[int] = []

            def stop(progress: warmshell.Progress) -> None:
                if progress.size > 1_000_000 and not stopped:
                    stopped.append(progress.size)
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await warmshell.copy(At(other, tmp_path / "from"), At(node, tmp_path / "to"), progress=stop)
    assert sorted(os.listdir(tmp_path)) == ["bin", "from"]
    shutil.rmtree(tmp_path / "from")


async def test_neither_tar_nor_python(connect, programs, tmp_path):
    (tmp_path / "file").write_text("x")
    async with connect("ssh-server") as other:
        programs("nothing")
        async with connect("local") as node:
            with pytest.raises(warmshell.CopyError, match="neither tar nor Python"):
                await warmshell.copy(At(other, tmp_path / "file"), At(node, tmp_path / "to"))
    (tmp_path / "file").unlink()
