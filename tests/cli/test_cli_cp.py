"""``warm cp``: its words, its statuses, its progress, and what an interrupt leaves."""

from __future__ import annotations

import os
import signal

from warmshell.testing.waiting import eventually_sync


def tree(warm) -> None:
    (warm.where / "a" / "b").mkdir(parents=True)
    (warm.where / "a" / "b" / "file").write_text("x")
    (warm.where / "one").write_text("1")
    (warm.where / "link").symlink_to("one")


def test_a_file_and_a_tree(warm):
    tree(warm)
    assert warm.output("cp", "one", "two") == b""
    assert (warm.where / "two").read_text() == "1"
    (warm.where / "t").mkdir()
    assert warm.output("cp", "-r", "a", "one", f"local:{warm.where}/t") == b""
    assert (warm.where / "t" / "a" / "b" / "file").read_text() == "x"
    assert (warm.where / "t" / "one").read_text() == "1"


def test_links_are_followed_without_r(warm):
    tree(warm)
    warm.output("cp", "link", "two")
    assert not (warm.where / "two").is_symlink()
    warm.output("cp", "-r", "link", "three")
    assert (warm.where / "three").is_symlink()


def test_a_directory_needs_r(warm):
    tree(warm)
    done = warm("cp", "a", "b")
    assert done.returncode == 1
    assert b"is a directory" in done.stderr
    assert not (warm.where / "b").exists()


def test_several_destinations_and_a_failure_in_one(warm):
    tree(warm)
    done = warm("cp", "-r", "a", "--to", "t1", "--to", "none/t2", "--to", f"local:{warm.where}/t3")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"none/t2: there is no directory" in done.stderr
    assert (warm.where / "t1" / "b" / "file").read_text() == (warm.where / "t3" / "b" / "file").read_text() == "x"


def test_what_is_not_there(warm):
    done = warm("cp", "nothing", "x")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"there is no" in done.stderr


def test_too_few_words(warm):
    assert "nothing to copy" in warm.refused("cp", "one")
    assert "Missing argument" in warm.refused("cp")
    assert "no path" in warm.refused("cp", "one", "ssh://host")


def test_progress_is_told_in_lines_where_there_is_no_terminal(warm):
    tree(warm)
    done = warm("cp", "-r", "--progress", "a", "t")
    assert done.returncode == 0
    assert done.stderr.startswith(b"warm: 1 B of 1 B, 1 of 1 files, ")
    assert done.stderr.count(b"\n") == 1


def test_odd_names(warm):
    for name in (b"-rf", b"a b\n", b"\xff", b"x:y"):
        path = os.path.join(os.fsencode(warm.where), name)
        with open(path, "wb") as file:
            file.write(b"x")
        warm.output("cp", b"./" + name, b"copy")
        assert (warm.where / "copy").read_bytes() == b"x"
        (warm.where / "copy").unlink()


def test_an_interrupt_leaves_all_or_nothing(warm):
    os.mkdir(warm.where / "src")
    os.mkdir(warm.where / "dst")
    for number in range(4000):
        (warm.where / "src" / str(number)).touch()
    process = warm.start("cp", "-r", "src", "dst/new")
    eventually_sync(lambda: os.listdir(warm.where / "dst") != [] or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode in (130, 0)
    left = os.listdir(warm.where / "dst")
    assert left in ([], ["new"])
    assert not left or len(os.listdir(warm.where / "dst" / "new")) == 4000
