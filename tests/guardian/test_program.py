"""The guardian's program, spoken to directly."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys

import pytest

from warmshell.guardian import client, tree

from .guardian_help import SOURCE, eventually


class Program:
    """A guardian of this test process, with its pipe in the hand of the test."""

    def __init__(self, pid=None, before=""):
        words = [sys.executable, "-I", "-S", "-c", before + client._BOOTSTRAP, SOURCE + "/warmshell"]
        self.process = subprocess.Popen(
            [*words, str(pid or os.getpid()), str(tree.birth())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def tell(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end(self):
        """Close its input and wait; returns what it answered."""
        return self.process.communicate(timeout=30)[0]


@pytest.fixture(params=["", "import os; del os.pidfd_open\n"], ids=["pidfd", "no pidfd"])
def program(request):
    made = Program(before=request.param)
    yield made
    made.process.kill()
    made.process.communicate()


@pytest.fixture
def lane(start):
    family = start("say(ready=1); rest()")
    family.hear()
    return family


def test_end_of_file_ends_what_is_tagged(program, lane, token):
    program.tell(b"tag " + token.encode() + b"\n")
    assert program.end() == b""
    assert program.process.returncode == 0
    assert lane.process.wait() == -signal.SIGTERM


def test_quit_ends_what_is_tagged(program, lane, token):
    program.tell(b"tag " + token.encode() + b"\nquit\n")
    assert program.process.wait() == 0
    assert lane.process.wait() == -signal.SIGTERM


def test_sessions(program, start):
    kept, dropped = (start("say(ready=1); rest()", env={}) for _ in range(2))
    kept.hear(), dropped.hear()
    program.tell(b"+sid %d\n+sid %d\n-sid %d\nquit\n" % (kept.pid, dropped.pid, dropped.pid))
    assert program.process.wait() == 0
    assert kept.process.wait() == -signal.SIGTERM
    assert tree.is_alive(*dropped.target)


def test_a_command_that_replaced_its_session_tag(program, start, token):
    family = start("say(ready=1); rest()", env={"WARMSHELL_SESSION": "x", "WARMSHELL_COMMAND": token + ".3.4"})
    family.hear()
    program.tell(b"tag " + token.encode() + b"\nquit\n")
    assert program.process.wait() == 0
    assert family.process.wait() == -signal.SIGTERM


def test_another_client_s_processes_are_left_alone(program, lane):
    program.tell(b"tag " + secrets.token_hex(16).encode() + b"\nquit\n")
    assert program.process.wait() == 0
    assert tree.is_alive(*lane.target)


@pytest.mark.parametrize("line", [b"tag ", b"tag", b"tag %s", b"tag x", b"\0\xff", b"x" * 200_000, b"+sid", b"+sid -5"])
def test_nonsense_ends_nothing(program, lane, token, line):
    line = line.replace(b"%s", token[:-1].encode())
    program.tell(line + b"\n+sid %d\n+sid %d\n+sid 0\n+sid 1\n" % (os.getsid(0), os.getpid()))
    assert program.end() == b""
    assert program.process.returncode == 0
    assert tree.is_alive(*lane.target)


def test_lines_cut_anywhere(program, lane, token):
    for byte in b"tag " + token.encode() + b"\n":
        program.tell(bytes([byte]))
    program.end()
    assert lane.process.wait() == -signal.SIGTERM


def test_what_is_older_than_the_client_is_left_alone(lane, token):
    program = Program()
    program.end()
    words = list(program.process.args)
    words[-1] = str(tree.ticks() + 10)
    process = subprocess.Popen(words, stdin=subprocess.PIPE)
    process.communicate(b"tag " + token.encode() + b"\nquit\n", timeout=30)
    assert tree.is_alive(*lane.target)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP])
def test_signals_do_not_end_it(program, lane, token, number):
    program.tell(b"tag " + token.encode() + b"\n")
    eventually(lambda: prepared(program.process.pid))
    os.killpg(program.process.pid, number)
    assert tree.process(program.process.pid).state != "T"
    program.end()
    assert program.process.returncode == 0
    assert lane.process.wait() < 0


def prepared(pid):
    """Whether the guardian has set up its signals; Python itself catches SIGINT before that."""
    with open(f"/proc/{pid}/status") as file:
        masks = dict(line.split(":", 1) for line in file)
    ignored, caught = (int(masks[name], 16) for name in ("SigIgn", "SigCgt"))
    return bool(ignored >> (signal.SIGTSTP - 1) & caught >> (signal.SIGTERM - 1) & 1)


def test_it_is_in_a_session_of_its_own_and_holds_nothing(lane, token):
    guardian = client.Guardian()
    guardian.start()
    pid = guardian.pid
    # Not just any third one: what it imports is open for a moment too.
    eventually(lambda: any("pidfd" in _leads_to(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")))
    assert set(os.listdir(f"/proc/{pid}/fd")) == {"0", "1", "2", "3"}  # the last: the client's pidfd
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    guardian.forget()
    eventually(lambda: client._reap_left() or not client._left)


def _leads_to(link):
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_a_client_that_was_gone_before_it_started():
    program = Program(pid=1)
    assert program.process.wait(timeout=30) == 0
    program.end()


def test_it_imports_little():
    show = "import atexit, sys; atexit.register(lambda: print(*sys.modules))\n"
    loaded = Program(before=show).end().split()
    assert b"warmshell.guardian.main" in loaded
    assert not {b"typing", b"asyncio", b"subprocess", b"re", b"json", b"threading", b"contextlib"} & set(loaded)


@pytest.mark.parametrize("end", ["end of file", "quit"])
def test_directories_that_it_was_told_of_are_removed(program, tmp_path, end):
    for name in ("private", "removed meanwhile", "known no more"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "socket").touch()
        program.tell(b"+dir %s\n" % os.fsencode(tmp_path / name))
    program.tell(b"-dir %s\n" % os.fsencode(tmp_path / "known no more"))
    (tmp_path / "removed meanwhile" / "socket").unlink()
    (tmp_path / "removed meanwhile").rmdir()
    if end == "quit":
        program.tell(b"quit\n")
    program.end()
    assert [path.name for path in tmp_path.iterdir()] == ["known no more"]


def test_a_directory_that_holds_others_is_not_cleared(program, tmp_path):
    (tmp_path / "work" / "data").mkdir(parents=True)
    (tmp_path / "work" / "data" / "precious").touch()
    (tmp_path / "link").symlink_to(tmp_path / "work")
    program.tell(
        b"+dir %s\n+dir relative\n+dir %s\n" % (os.fsencode(tmp_path / "work"), os.fsencode(tmp_path / "link"))
    )
    program.end()
    assert (tmp_path / "work" / "data" / "precious").exists()
