"""Words of the command line that name a location and a path there."""

from __future__ import annotations

import os

import pytest

from warmshell.cli.targets import parse_target
from warmshell.errors import LocationError


@pytest.mark.parametrize(
    ("text", "location", "path"),
    [
        ("data", None, b"data"),
        ("/data/a:b", None, b"/data/a:b"),
        ("./a:b", None, b"./a:b"),
        (":x", None, b":x"),
        ("-", None, b"-"),
        ("local:/data", "local:", b"/data"),
        ("local:data", "local:", b"data"),
        ("local:", "local:", b"."),
        ("local:?shell=bash:/data:x", "local:?shell=bash", b"/data:x"),
        ("local:?shell=bash:", "local:?shell=bash", b"."),
        ("host:/data", "ssh://host", b"/data"),
        ("alice@node1.site:data/x:y", "ssh://alice@node1.site", b"data/x:y"),
        ("host:", "ssh://host", b"."),
        ("host:~/x", "ssh://host", b"x"),
        ("host:~", "ssh://host", b"."),
        ("host:~bob", "ssh://host", b"~bob"),
        ("host:-rf", "ssh://host", b"-rf"),
        ("[::1]:/data", "ssh://[::1]", b"/data"),
        ("bob@[fe80::1%eth0]:/data", "ssh://bob@[fe80::1%eth0]", b"/data"),
        ("ssh://host:/data", "ssh://host", b"/data"),
        ("ssh://alice@host:22:/data", "ssh://alice@host:22", b"/data"),
        ("ssh://host:22", None, None),
        ("ssh://host:22:", "ssh://host:22", b"."),
        ("ssh://host:./data", "ssh://host", b"./data"),
        ("ssh://host:~/data", "ssh://host", b"data"),
        ("ssh://[::1]:22:/data", "ssh://[::1]:22", b"/data"),
        ("ssh://[::1]:/data", "ssh://[::1]", b"/data"),
        ("ssh://host/data:/x", "ssh://host", b"/data:/x"),
        ("ssh://host:22/data", "ssh://host:22", b"/data"),
        ("ssh://host?config=/etc/c:/data/x:/y", "ssh://host?config=/etc/c", b"/data/x:/y"),
        ("docker://web:/data", "docker://web", b"/data"),
        ("k8s://space/pod/main:/data", "k8s://space/pod/main", b"/data"),
        ("singularity:///image.sif:/data", "singularity:///image.sif", b"/data"),
        ("docker://web", None, None),
        ("ssh://host?config=/c:~/x", None, None),
        ("a b:/data", None, None),
        ("-oProxyCommand=x:/data", None, None),
        ("", None, None),
    ],
)
def test_targets(text, location, path):
    if path is None:
        with pytest.raises(LocationError):
            parse_target(text)
    else:
        assert parse_target(text) == (location, path)


@pytest.mark.parametrize(
    ("text", "location", "path"),
    [
        ("tools:/data", "tools", b"/data"),
        ("tools:data/x:y", "tools", b"data/x:y"),
        ("tools:", "tools", b"."),
        ("tools/pod:/data", "tools/pod", b"/data"),
        ("tools/pod:main:./x", "tools/pod:main", b"./x"),
        ("tools/pod:", "tools/pod", b"."),
        ("tools/pod:x", None, None),
        ("tools:~/x", None, None),
        ("tools", None, b"tools"),
        ("tools/pod", None, b"tools/pod"),
        ("./tools/pod:/data", None, b"./tools/pod:/data"),
        ("other:/data", "ssh://other", b"/data"),
        ("alice@tools:/data", "ssh://alice@tools", b"/data"),
        ("local:/data", "local:", b"/data"),
    ],
)
def test_names_of_deployments(text, location, path):
    names = ["tools", "local"]
    if path is None and location is None:
        with pytest.raises(LocationError):
            parse_target(text, names)
    else:
        assert parse_target(text, names) == (location, path)


def test_home_and_bytes(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert parse_target("local:~/x").path == b"/somewhere/x"
    assert parse_target(os.fsdecode(b"host:/a\xff\nb")).path == b"/a\xff\nb"
