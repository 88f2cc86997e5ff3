"""What is mounted into a container is copied where it is: not a byte goes through ``docker exec``, nor more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import warmshell
from containers.lab import Docker
from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
from ssh.lab import Lab
from transfer.trees import facts, make
from warmshell.deployment.file import Deployment, Wraps
from warmshell.deployment.manager import DeploymentManager
from warmshell.transfer.api import At

IMAGES = ["warm/busybox:1", "warm/python:1"]


class Boxes:
    """Containers of one test, connected."""

    def __init__(self, docker: Docker, stack: AsyncExitStack) -> None:
        self.docker = docker
        self._stack = stack

    async def box(self, *options: str, image: str = "warm/busybox:1") -> warmshell.Location:
        """A container with these options of ``docker run``."""
        name = self.docker.start(image, *options)
        self._stack.callback(self.docker.remove, name)
        return await self._stack.enter_async_context(self.docker.connect(name))


@pytest.fixture
async def boxes(docker: Docker) -> AsyncIterator[Boxes]:
    async with AsyncExitStack() as stack:
        yield Boxes(docker, stack)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "shared" / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("data")
    yield tmp_path
    shutil.rmtree(tmp_path)


async def copied(source: Any, target: Any, *, sent: bool, **options: Any) -> None:
    """Copy; what is sent is counted, what is copied where it is is not."""
    done = await warmshell.copy(source, target, **options)
    assert (done.files > 0) is sent


@pytest.mark.parametrize("image", IMAGES)
async def test_everything_arrives_as_it_was(boxes: Boxes, top: Path, image: str) -> None:
    make(os.fsencode(top / "tree"))
    box = await boxes.box(f"--volume={top}/shared:/data", f"--volume={top}/other:/more", image=image)
    await copied(top / "tree", At(box, "/data/in"), sent=False)
    assert facts(os.fsencode(top / "shared" / "in")) == facts(os.fsencode(top / "tree"))
    await copied(At(box, "/data/in"), top / "out", sent=False)
    assert facts(os.fsencode(top / "out")) == facts(os.fsencode(top / "tree"))
    twice = [At(box, "/data/in/sub"), At(box, "/data/in/a=b")]
    await copied(twice, top / "other", sent=False)
    assert facts(os.fsencode(top / "other" / "sub")) == facts(os.fsencode(top / "tree" / "sub"))
    await copied(At(box, "/data/in/."), top / "again", sent=False)
    assert facts(os.fsencode(top / "again")) == facts(os.fsencode(top / "tree"))


async def test_nothing_is_started_in_the_container(boxes: Boxes, top: Path) -> None:
    box = await boxes.box(f"--volume={top}/shared:/data")
    since = int(time.time()) - 5

    def started() -> int:
        words = ["events", f"--since={since}", f"--until={time.time():.3f}", "--filter=event=exec_create"]
        return len(boxes.docker.ask(*words).splitlines())

    await copied(top / "file", At(box, "/data/f"), sent=False)  # what looks at paths is a warm shell, started by now
    before = started()
    await copied(At(box, "/data/f"), top / "g", sent=False)
    await copied(top / "g", At(box, "/data/sub"), sent=False)
    assert (top / "shared" / "sub" / "g").read_text() == "data"
    assert started() == before > 0
    await copied(top / "file", At(box, "/tmp/f"), sent=True)
    assert started() > before


async def test_two_containers_with_the_same_directory(boxes: Boxes, top: Path) -> None:
    one = await boxes.box(f"--volume={top}:/a")
    other = await boxes.box(f"--volume={top}/shared:/b/c", image="warm/python:1")
    await copied(At(one, "/a/file"), At(other, "/b/c/sub/"), sent=False)
    await copied(At(other, "/b/c/sub/file"), [At(one, "/a/other/x"), At(one, "/tmp/x"), top / "y"], sent=True)
    for name in ("shared/sub/file", "other/x", "y"):
        assert (top / name).read_text() == "data"
    assert (await one.run("cat /tmp/x")).text == "data"


async def test_what_is_mounted_below_is_not_taken_for_what_it_hides(boxes: Boxes, top: Path) -> None:
    (top / "shared" / "sub" / "hidden").write_text("wrong")
    (top / "other" / "seen").write_text("right")
    box = await boxes.box(f"--volume={top}/shared:/data", f"--volume={top}/other:/data/sub", "--tmpfs=/data/memory")
    await copied(At(box, "/data/sub"), top / "one", sent=False)
    await copied(At(box, "/data"), top / "all", sent=True)
    assert os.listdir(top / "one") == os.listdir(top / "all" / "sub") == ["seen"]
    await copied(top / "file", At(box, "/data/sub/new"), sent=False)
    assert (top / "other" / "new").read_text() == "data"
    await copied(top / "file", At(box, "/data/memory/new"), sent=True)
    assert os.listdir(top / "shared" / "memory") == []
    (top / "tree" / "sub").mkdir(parents=True)
    (top / "tree" / "sub" / "deep").write_text("data")
    await copied(f"{top}/tree/.", At(box, "/data"), sent=True)  # part of it goes to another mount
    assert (top / "other" / "deep").read_text() == "data"
    assert not (top / "shared" / "sub" / "deep").exists()


async def test_what_was_mounted_outside_later_is_not_seen_inside(boxes: Boxes, top: Path) -> None:
    (top / "shared" / "sub" / "old").write_text("right")
    box = await boxes.box(f"--volume={top}/shared:/data")
    subprocess.run(["mount", "-t", "tmpfs", "none", top / "shared" / "sub"], check=True)
    try:
        (top / "shared" / "sub" / "new").write_text("wrong")
        await copied(At(box, "/data/sub"), top / "one", sent=True)
        await copied(At(box, "/data"), top / "all", sent=True)
        await copied(top / "file", At(box, "/data/sub/file"), sent=True)
        assert os.listdir(top / "one") == os.listdir(top / "all" / "sub") == ["old"]
        assert not (top / "shared" / "sub" / "file").exists()
    finally:
        subprocess.run(["umount", top / "shared" / "sub"], check=True)
    assert (top / "shared" / "sub" / "file").read_text() == "data"


async def test_links_lead_where_they_lead_inside(boxes: Boxes, top: Path) -> None:
    (top / "shared" / "away").symlink_to("/tmp")
    box = await boxes.box(f"--volume={top}/shared:/data")
    await box.run("ln -s /data/sub /in; ln -s /data/there /file; echo old > /data/there")
    name = f"odd-{os.getpid()}"
    await copied(top / "file", At(box, f"/data/away/{name}"), sent=True)
    assert not Path("/tmp", name).exists()
    assert (await box.run(["cat", f"/tmp/{name}"])).text == "data"
    await copied(At(box, f"/data/away/{name}"), top / "back", sent=True)
    await copied(top / "file", At(box, "/in/x"), sent=False)
    assert (top / "shared" / "sub" / "x").read_text() == "data"
    await copied(top / "file", At(box, "/file"), sent=False)
    assert (top / "shared" / "there").read_text() == "data"
    await copied(At(box, "/data"), top / "all", sent=True, dereference=True)
    assert (top / "all" / "away" / name).read_text() == "data"


async def test_a_read_only_mount_is_read_and_not_written(boxes: Boxes, top: Path) -> None:
    box = await boxes.box(f"--volume={top}/shared:/data:ro", f"--volume={top}/other:/data/sub")
    with pytest.raises(warmshell.CopyError, match=r"[Rr]ead-only"):
        await warmshell.copy(top / "file", At(box, "/data/new"))
    assert sorted(os.listdir(top / "shared")) == ["sub"]
    (top / "shared" / "is").write_text("there")
    await copied(At(box, "/data/is"), top / "is", sent=False)
    await copied(top / "file", At(box, "/data/sub/new"), sent=False)
    assert (top / "other" / "new").read_text() == "data"


@pytest.mark.parametrize("option", ["--user=12345:12345", "--user=0:12345", "--cap-drop=DAC_OVERRIDE"])
async def test_another_user_or_less_rights(boxes: Boxes, top: Path, option: str) -> None:
    (top / "shared" / "sub").chmod(0o777)
    (top / "shared" / "secret").write_text("secret")
    (top / "shared" / "secret").chmod(0)
    box = await boxes.box(f"--volume={top}/shared:/data", option)
    await copied(top / "file", At(box, "/data/sub/new"), sent=True)
    owner = (top / "shared" / "sub" / "new").stat()
    assert f"{owner.st_uid} {owner.st_gid}" == (await box.run("echo $(id -u) $(id -g)")).text.strip()
    if "0:" not in option:
        with pytest.raises(warmshell.CopyError, match="ermission denied"):
            await warmshell.copy(At(box, "/data/secret"), top / "stolen")


async def test_links_instead_of_copies_lead_somewhere(boxes: Boxes, top: Path) -> None:
    box = await boxes.box(f"--volume={top}/shared:/data")
    (top / "shared" / "is").write_text("there")
    await copied(At(box, "/data/is"), top / "out", sent=False, read_only=True)
    assert os.readlink(top / "out") == str(top / "shared" / "is")
    await copied(top / "file", At(box, "/data/in"), sent=False, read_only=True)
    assert (await box.run("cat /data/in")).text == "data"  # a link would lead nowhere there
    await copied(At(box, "/data/is"), At(box, "/data/link"), sent=False, read_only=True)
    assert os.readlink(top / "shared" / "link") == "/data/is"
    with pytest.raises(warmshell.CopyError, match="same file"):
        await warmshell.copy(top / "shared" / "is", At(box, "/data/is"))
    assert (top / "shared" / "is").read_text() == "there"


async def test_a_file_that_is_mounted_is_written_through_the_container(boxes: Boxes, top: Path) -> None:
    (top / "shared" / "f").write_text("hidden")
    (top / "outer").write_text("outer")
    box = await boxes.box(f"--volume={top}/shared:/data", f"--volume={top}/outer:/data/f")
    await copied(At(box, "/data/f"), top / "got", sent=True)
    assert (top / "got").read_text() == "outer"
    with pytest.raises(warmshell.CopyError, match="busy"):
        await warmshell.copy(top / "file", At(box, "/data/f"))
    assert (top / "shared" / "f").read_text() == "hidden"
    assert (top / "outer").read_text() == "outer"


async def test_inside_of_ssh_and_with_something_inside(
    docker: Docker,
    lab: Lab,  # noqa: F811
    top: Path,
) -> None:
    config = {"image": "warm/busybox:1", "network": "none", "host": docker.socket, "volume": [f"{top}/shared:/data"]}
    async with DeploymentManager([
        Deployment("host", "ssh", {"nodes": ["hostA", "hostB"], "config": lab.config}),
        Deployment("one", "ssh", {"nodes": ["hostA"], "config": lab.config}),
        Deployment("box", "docker", config, wraps=Wraps("one")),
        Deployment("in", "command", {"exec": "chroot /"}, wraps=Wraps("box")),
    ]) as manager:  # fmt: skip
        nodes = {}
        for name in ("one", "box", "in"):
            connector = manager.connector(name)
            [where] = await connector.get_available_locations()
            nodes[name] = await connector.location(where)
        other = await manager.connector("host").location("hostB")
        await copied(At(nodes["one"], top / "file"), At(nodes["box"], "/data/x"), sent=False)
        await copied(At(nodes["in"], "/data/x"), At(nodes["one"], top / "y"), sent=False)
        await copied(At(nodes["in"], "/data/x"), At(nodes["box"], "/data/z"), sent=False)
        await copied(At(nodes["box"], "/data/x"), At(other, top / "w"), sent=True)
        await copied(top / "file", At(nodes["box"], "/data/v"), sent=True)
        for name in ("shared/x", "y", "shared/z", "w", "shared/v"):
            assert (top / name).read_text() == "data"


async def test_by_the_names_of_a_file(docker: Docker, top: Path) -> None:
    config = {"image": "warm/busybox:1", "network": "none", "host": docker.socket, "volume": [f"{top}/shared:/data"]}
    path = top / "warmshell.yaml"
    path.write_text(
        json.dumps({"deployments": {"box": {"type": "docker", "config": config}, "here": {"type": "local"}}})
    )
    async with (
        warmshell.connect("box", file=str(path)) as box,
        warmshell.connect("here", file=str(path)) as here,
    ):
        await copied(At(here, top / "file"), At(box, "/data/x"), sent=False)
        await copied(At(box, "/data/x"), top / "y", sent=False)
    assert (top / "y").read_text() == "data"
