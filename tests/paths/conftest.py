"""One location of every kind that files can be reached through, each by real processes on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

import warmshell
from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
from warmshell.fileops import FileOperations
from warmshell.fileops.scripted import ScriptedFiles

KINDS = ("local", "ssh", "ssh-scripts", "dash-scripts", "bash-scripts", "busybox-scripts")


@pytest.fixture(scope="session")
def busybox_tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A directory with busybox's applets, and nothing else."""
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("busybox is not installed")
    where = tmp_path_factory.mktemp("busybox")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in {*listed, "busybox"}:
        (where / name).symlink_to(program)
    yield str(where)
    shutil.rmtree(where)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_node(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., warmshell.Location]:
    """Makes a location of the kind; options are those of its connector."""
    if kind.startswith("ssh"):
        hosts = request.getfixturevalue("lab")
        return lambda **options: hosts.connect(server=kind == "ssh", **options)
    shell = kind.partition("-")[0]
    if shell == "busybox":
        monkeypatch.setenv("PATH", request.getfixturevalue("busybox_tools"))
    if shell != "local" and shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")

    def connect(**options) -> warmshell.Location:
        node = warmshell.connect("local:", **({} if shell == "local" else {"shell": shell}), **options)
        if kind != "local":
            node._files = ScriptedFiles(node)
        return node

    return connect


@pytest_asyncio.fixture
async def node(open_node) -> AsyncIterator[warmshell.Location]:
    async with open_node() as location:
        yield location


@pytest.fixture
def files(node: warmshell.Location) -> FileOperations:
    return node.files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of this machine, where every location here works."""
    where = tmp_path / "tree"
    where.mkdir()
    return where
