"""What two tables of mounts say about paths: ``tests/containers/test_mounts.py`` has the real ones."""

from __future__ import annotations

import os
import subprocess

import pytest

from warmshell.transfer.mounts import Mount, elsewhere, holder, one_mount, table
from warmshell.transfer.shared import World

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 0:25 / /read\040only rw - tmpfs none ro,size=4k
29 27 254:0 /srv/a\134b /data ro,relatime master:1 propagate_from:2 - ext4 /dev/vda rw
30 27 254:0 /srv /data/in rw,relatime,idmapped - ext4 /dev/vda rw
31 27 0:40 / /data/in rw - tmpfs none rw
32 29 254:0 /etc/hosts /data/hosts rw - ext4 /dev/vda rw
"""


def test_a_table_is_read() -> None:
    mounts = table(TABLE)
    assert [mount.point for mount in mounts] == [
        b"/proc", b"/", b"/read only", b"/data", b"/data/in", b"/data/in", b"/data/hosts",
    ]  # fmt: skip
    assert mounts[3].root == b"/srv/a\\b"
    assert [mount.writable for mount in mounts] == [True, True, False, False, True, True, True]
    assert [mount.mapped for mount in mounts] == [False] * 4 + [True] + [False] * 2


def test_that_of_this_process_names_the_mount_of_its_root() -> None:
    with open("/proc/self/mountinfo", "rb") as file:
        text = file.read()
    mounts = table(text)
    assert len(mounts) == len(text.splitlines())
    mount = holder(mounts, b"/")
    assert mount is not None
    assert mount.point == b"/"
    found = subprocess.run(["findmnt", "-n", "-o", "MAJ:MIN", "/"], capture_output=True, text=True, check=False)
    assert found.returncode or os.fsencode(found.stdout.split()[-1]) == mount.device


@pytest.mark.parametrize(
    ("path", "point", "device"),
    [
        (b"/", b"/", b"254:0"),
        (b"/database", b"/", b"254:0"),
        (b"/data", b"/data", b"254:0"),
        (b"/data/inner", b"/data", b"254:0"),
        (b"/data/in/x", b"/data/in", b"0:40"),
    ],
)
def test_the_mount_that_a_path_is_on(path: bytes, point: bytes, device: bytes) -> None:
    mount = holder(table(TABLE), path)
    assert mount is not None
    assert (mount.point, mount.device) == (point, device)


@pytest.mark.parametrize(
    ("path", "tops", "is_one"),
    [
        (b"/data", [], False),
        (b"/data", [b"/data/x", b"/data/inner"], True),
        (b"/data", [b"/data/x", b"/data/in"], False),
        (b"/data", [b"/data/hosts"], False),
        (b"/data/in", [], True),
        (b"/data/x", [], True),
    ],
)
def test_whether_all_is_on_one(path: bytes, tops: list[bytes], is_one: bool) -> None:
    assert (one_mount(table(TABLE), path, tops) is not None) is is_one


def test_a_path_is_found_by_the_nearest_mount() -> None:
    def mount(device: bytes, root: bytes, point: bytes) -> Mount:
        return Mount(device, root, point, writable=True, mapped=False)

    inside = mount(b"1:1", b"/srv/a", b"/data")
    around = [mount(b"1:1", b"/", b"/"), mount(b"1:1", b"/srv/a/b", b"/b"), mount(b"1:2", b"/srv/a", b"/x")]
    around += [mount(b"1:1", b"/srv/ab", b"/ab"), mount(b"1:1", b"/srv", b"/s")]
    assert elsewhere(inside, b"/data/b/c", around) == [b"/b/c", b"/s/a/b/c", b"/srv/a/b/c"]
    assert elsewhere(inside, b"/data", around) == [b"/s/a", b"/srv/a"]
    assert elsewhere(inside, b"/database", around) == []


def test_who_could_do_the_same() -> None:
    def world(kernel: bytes = b"k", user: bytes = b"0 0", groups: bytes = b"", rights: int = 0) -> World:
        return World(kernel, user, frozenset(groups.split()), rights, [], [])

    assert world().acts_as(world())
    assert not world(groups=b"7").acts_as(world())
    assert world(groups=b"7", rights=0b11011).acts_as(world(rights=0b11011))
    assert not world(rights=0b11011).acts_as(world())
    assert not world(kernel=b"other").acts_as(world())
    assert not world(user=b"0 1").acts_as(world())
