"""``warm ls`` and ``warm cat``."""

from __future__ import annotations

import base64
import json
import os
import stat

import pytest

ODD = b"\x1b[31mred\n\xff\\"


@pytest.fixture
def full(tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "b").write_bytes(b"12345")
    (tmp_path / "dir" / "a").symlink_to("b")
    (tmp_path / "dir" / ".hidden").touch()
    with open(os.path.join(bytes(tmp_path), b"dir", ODD), "wb"):
        pass
    return tmp_path


def test_names(warm, full):
    assert warm.output("ls", "dir") == b"\\x1b[31mred\\x0a\\xff\\\\\na\nb\n"
    assert warm.output("ls", "-a", "local:dir").splitlines()[1] == b".hidden"
    assert warm.output("ls", "-0", f"local:{full}/dir") == ODD + b"\0a\0b\0"
    assert warm.output("ls") == b"dir\n"
    assert warm.output("ls", "-d", "dir", "dir/a") == b"dir\ndir/a\n"
    assert warm.output("ls", "dir/a", "dir/b") == b"dir/a:\ndir/a\ndir/b:\ndir/b\n"


def test_long(warm, full):
    lines = warm.output("ls", "-l", "dir").decode().splitlines()
    found = os.stat(full / "dir/b")
    words = lines[2].split()
    assert words[:5] == [stat.filemode(found.st_mode), "1", str(found.st_uid), str(found.st_gid), "5"]
    assert words[-1] == "b"
    assert lines[1].endswith(" a -> b")
    assert "\x1b" not in "".join(lines)


def test_json(warm, full):
    odd, link, file = [json.loads(line) for line in warm.output("ls", "--json", "dir").splitlines()]
    assert base64.b64decode(odd["name_base64"]) == ODD
    assert (link["kind"], link["target"]) == ("symlink", "b")
    assert (file["name"], file["size"], file["mtime_ns"]) == ("b", 5, os.stat(full / "dir/b").st_mtime_ns)
    assert "name_base64" not in file


def test_exact_contents(warm, tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "-x").write_bytes(data)
    (tmp_path / "y").write_bytes(b"no newline")
    assert warm.output("cat", "--", "-x", "local:y") == data + b"no newline"


def test_what_cannot_be_read_is_told_and_the_others_go_on(warm, tmp_path):
    (tmp_path / "y").write_bytes(b"y")
    done = warm("cat", "no", "y", ".")
    assert (done.returncode, done.stdout) == (1, b"y")
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("warm: No such file or directory: 'no'")
    assert second.startswith("warm: Is a directory: '.'")
    done = warm("ls", "no", "y")
    assert (done.returncode, done.stdout) == (1, b"y:\ny\n")


def test_bad_words(warm):
    assert "no path" in warm.refused("cat", "docker://web")
    assert "exclude each other" in warm.refused("ls", "-l", "--json", ".")
    assert "PATH" in warm.refused("cat")


def test_a_reader_that_has_gone(warm, tmp_path):
    (tmp_path / "large").write_bytes(bytes(5_000_000))
    process = warm.start("cat", "large")
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_names_of_a_deployment_file(warm, full):
    (full / "warmshell.yaml").write_text(
        "deployments: {box: {type: command, config: {exec: env, locations: [a, b]}}, alone: {type: local}}"
    )
    assert warm.output("ls", f"box/a:{full}/dir") == warm.output("ls", "dir")
    assert warm.output("cat", f"alone:{full}/dir/b") == b"12345"
    assert warm.output("cp", f"box/b:{full}/dir/b", "copy") == b""
    assert (full / "copy").read_bytes() == b"12345"
    several = warm("ls", "box:/")
    assert (several.returncode, several.stdout) == (1, b"")
    assert b"box/a" in several.stderr
    (full / "warmshell.yaml").write_text("deployments: [")
    assert "warmshell.yaml" in warm.refused("cat", "host:x")
