"""warm run --detach, sessions, attach, kill: on this machine; over SSH they are in ``tests/ssh``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading

import pytest


@pytest.fixture(autouse=True)
def none_left(warm, until):
    warm.env.pop("XDG_STATE_HOME", None)
    warm.env.pop("XDG_CACHE_HOME", None)
    yield
    sessions = warm.where / ".cache" / "warmshell"
    until(lambda: not sessions.exists() or not list(sessions.iterdir()), "a session is left")


def left(warm, *words: str) -> str:
    done = warm("run", "--detach", *words)
    assert done.returncode == 0, done
    assert done.stdout.count(b"\n") == 1
    assert b"warm attach " in done.stderr
    return done.stdout.decode().strip()


def listed(warm) -> list[dict]:
    return [json.loads(line) for line in warm.output("sessions", "--json").splitlines()]


def test_it_returns_at_once_and_the_result_is_fetched_once(warm) -> None:
    os.mkfifo(warm.where / "go")
    session = left(warm, "-c", "read x <go; printf 'a\\0b'; printf e >&2; exit 7")
    (info,) = listed(warm)
    assert (info["id"], info["running"], info["finished"], info["left"]) == (session, 1, 0, None)
    table = warm.output("sessions").decode().splitlines()
    assert [line.split()[0] for line in table] == ["ID", session]
    threading.Thread(target=(warm.where / "go").write_text, args=("\n",)).start()
    done = warm("attach", session)
    assert (done.stdout, done.stderr, done.returncode) == (b"a\0b", b"e", 7)
    assert "not known here" in warm.refused("attach", session)
    assert "has ended" in warm.refused("attach", session, "--on", "local:")


def test_words_environment_directory_and_time(warm) -> None:
    session = left(warm, "--cwd", "/usr", "--env", "A= x", "--", "sh", "-c", 'echo "$PWD|$A|$1"', "sh", "a b")
    assert warm("attach", session).stdout == b"/usr| x|a b\n"
    session = left(warm, "--timeout", "0.2", "sleep", "1000")
    done = warm("attach", session)
    assert done.returncode == 124
    assert b"did not end in time" in done.stderr


def test_what_it_refuses(warm) -> None:
    for words in (
        ["--lease", "3", "true"], ["--detach"], ["--detach", "--lease", "x", "true"], ["--detach", "--pty", "true"],
        ["--detach", "--user", "nobody", "true"], ["--detach", "no-such-program"],
        ["--detach", "--cwd", "/nowhere", "true"], ["--detach", "--on", "local:?framing=pipes", "true"],
    ):  # fmt: skip
        warm.refused("run", *words)
    for words in (["attach", "x"], ["attach", "../../x"], ["kill", "abcdefabcdef"], ["attach", "abcdefabcdef"]):
        warm.refused(*words)
    assert listed(warm) == []


def test_kill_ends_all_of_it(warm) -> None:
    """The fixture looks for processes that are left, and for the session."""
    one = left(warm, "-c", "trap '' TERM; setsid sleep 1000 & while :; do sleep 1; done")
    two = left(warm, "sleep", "1000")
    done = warm("kill", one, "abcdefabcdef", two)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert listed(warm) == []
    assert list((warm.where / ".local/state/warmshell/sessions").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_it_to_go_on(warm, number: signal.Signals) -> None:
    os.mkfifo(warm.where / "go")
    session = left(warm, "-c", "echo one; read x <go; echo two")
    client = warm.start("attach", session)
    assert client.stdout.readline() == b"one\n"
    client.send_signal(number)
    _, err = client.communicate(timeout=60)
    assert client.returncode == 128 + number
    assert b"goes on" in err
    threading.Thread(target=(warm.where / "go").write_text, args=("\n",)).start()
    done = warm("attach", session)
    assert done.stdout.endswith(b"two\n")
    assert done.returncode == 0


def test_a_reader_that_goes_leaves_it_to_go_on(warm) -> None:
    session = left(warm, "-c", "while :; do echo y; done")
    client = warm.start("attach", session)
    assert client.stdout.readline() == b"y\n"
    client.stdout.close()
    assert client.stderr.read() == b""
    assert client.wait(60) == 141
    client.stderr.close()
    (info,) = listed(warm)
    assert (info["running"], info["attached"]) == (1, False)
    assert warm("kill", session).returncode == 0


def test_the_one_who_shows_it_is_told_that_another_does(warm) -> None:
    session = left(warm, "-c", "echo one; sleep 1000")
    client = warm.start("attach", session)
    assert client.stdout.readline() == b"one\n"
    assert warm("kill", session).returncode == 0
    out, err = client.communicate(timeout=60)
    assert (client.returncode, out) == (2, b"")
    assert err.count(b"\n") == 1
    assert session.encode() in err


def test_where_nothing_can_be_remembered_it_says_how_to_come_back(warm) -> None:
    (warm.where / "file").write_text("")
    warm.env["XDG_STATE_HOME"] = str(warm.where / "file")
    done = warm("run", "--detach", "true")
    session = done.stdout.decode().strip()
    assert f"warm attach {session} --on 'local:'".encode() in done.stderr
    assert warm("attach", session, "--on", "local:").returncode == 0


def test_a_client_without_a_home_or_a_terminal(warm) -> None:
    """As a service has it: closed streams, no home."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *warm.start.__globals__["WARM"], "run", "--detach", "echo", "on"],
        cwd=warm.where, env=warm.env, stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    session = done.stdout.decode().strip()
    assert warm("attach", session).stdout == b"on\n"
