"""Copies without ``await``."""

from __future__ import annotations

import pytest

import warmshell
import warmshell.blocking


def test_put_get_and_copy(tmp_path):
    (tmp_path / "a").write_text("x")
    with warmshell.blocking.connect("local:") as node:
        assert node.put(tmp_path / "a", tmp_path / "b").targets
        node.get(tmp_path / "b", tmp_path / "c")
        warmshell.blocking.copy([node.path(str(tmp_path / "c"))], node.path(str(tmp_path / "d")))
        seen: list[warmshell.Progress] = []
        warmshell.blocking.copy(tmp_path / "d", tmp_path / "e", progress=seen.append)
        assert seen[-1].done
        with pytest.raises(warmshell.CopyError):
            node.put(tmp_path / "none", tmp_path / "f")
    assert [(tmp_path / name).read_text() for name in "abcde"] == ["x"] * 5
    for name in "abcde":
        (tmp_path / name).unlink()
