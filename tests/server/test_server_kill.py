"""Ending commands, and everything when client, server or guard are gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct

import pytest

from warmshell.protocol import frames

from .far import Far, Refused, alive, eventually

SHELLS = [shell for shell in ("sh", "bash", "busybox", "zsh", "mksh", "ksh") if shutil.which(shell)]

# A child, a child in a session of its own, one without the environment that marks it, one that is both and an orphan,
# one that is stopped, one that ignores SIGTERM. Their pids are printed; an alarm ends them should all else fail.
ZOO = r"""
say='printf "%s\n" $$;'
sh -c "$say exec sleep 60" &
setsid sh -c "$say exec sleep 60" &
env -i PATH="$PATH" sh -c "$say exec sleep 60" &
(setsid env -i PATH="$PATH" sh -c "$say exec sleep 60" &)
sh -c "$say kill -STOP \$\$; exec sleep 60" &
sh -c "trap '' TERM; $say sleep 60; sleep 60" &
sleep 60
wait
"""
ANIMALS = 6


def zoo(far, lane, **options):
    """Start the zoo; the command's number and the pids."""
    seq = far.begin(lane, ZOO, **options)
    outcome = far.until(lane, seq, lambda outcome: outcome.stdout.count(b"\n") >= ANIMALS)
    pids = [int(word) for word in outcome.stdout.split()]
    assert all(alive(pid) for pid in pids)
    return seq, pids


@pytest.mark.parametrize("keeps_state", [False, True])
@pytest.mark.parametrize("shell", SHELLS)
def test_kill_ends_all_of_a_command(far, shell, keeps_state):
    lane = far.subshell(shell)
    seq, pids = zoo(far, lane, keeps_state=keeps_state)
    far.numbered(frames.KILL, lane, seq, struct.pack(">I", 200))
    outcome = far.end(lane, seq)
    assert outcome.result["killed"] is True
    assert outcome.status in (128 + signal.SIGTERM, 128 + signal.SIGKILL)
    assert not [pid for pid in pids if alive(pid)]
    assert far.run(lane, ["true"]).result["started"] == "no"


def test_a_timeout_is_told_as_such(far):
    lane = far.subshell()
    outcome = far.run(lane, "echo begun; sleep 60", timeout=0.1)
    assert (outcome.stdout, outcome.result["killed"], outcome.result["timeout"]) == (b"begun\n", True, True)


def test_term_comes_first(far):
    lane = far.subshell()
    seq = far.begin(lane, "trap 'echo cleaned; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
    far.until(lane, seq, lambda outcome: outcome.stdout)
    far.numbered(frames.KILL, lane, seq, struct.pack(">I", 10_000))
    assert far.end(lane, seq).stdout == b"ready\ncleaned\n"


def test_who_lost_its_parent_has_its_grace_too(far, tmp_path):
    """The shell ends at once; what it had started is another's child by then, and nothing marks it."""
    lane = far.subshell()
    daemon = "trap 'sleep 0.8; echo >cleaned; exit' TERM; echo ready; while :; do sleep 0.01; done"
    script = f'(setsid env -i PATH="$PATH" sh -c "{daemon}" &); while :; do sleep 0.01; done'
    seq = far.begin(lane, script, cwd=bytes(tmp_path))
    far.until(lane, seq, lambda outcome: outcome.stdout)
    far.numbered(frames.KILL, lane, seq, struct.pack(">I", 3000))
    far.end(lane, seq)
    assert (tmp_path / "cleaned").exists()


def test_a_command_that_waits_for_its_turn_is_not_run(far, tmp_path):
    lane = far.subshell()
    first = far.begin(lane, "read line", stdin="stream")
    second = far.begin(lane, f"touch {tmp_path}/ran")
    far.numbered(frames.KILL, lane, second, struct.pack(">I", 0))
    assert far.end(lane, second).result["started"] == "no"
    far.numbered(frames.END_OF_INPUT, lane, first)
    far.end(lane, first)
    assert far.run(lane, ["echo", "on"]).stdout == b"on\n"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_delete_ends_all_of_a_busy_subshell(far, shell):
    lane = far.subshell(shell)
    seq, pids = zoo(far, lane)
    far.begin(lane, "echo never")
    assert far.ask("delete_subshell", subshell=lane, grace=0.2) == {"subshell": lane}
    assert not [pid for pid in pids if alive(pid)]
    assert far.outcome(lane, seq).result["killed"] is True  # it came before the answer
    assert far.ask("list_subshells") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_delete_ends_what_an_idle_subshell_left_behind(far, shell):
    lane, other = far.subshell(shell), far.subshell(shell)
    kept = int(far.run(other, "(setsid env -i /bin/sleep 60 & echo $!)").stdout)
    pids = []
    for start in ("sleep 60", "setsid sleep 60", "setsid env -i /bin/sleep 60"):
        pids += [int(far.run(lane, f"({start} >/dev/null 2>&1 & echo $!)").stdout)]
    assert all(alive(pid) for pid in pids)
    far.ask("delete_subshell", subshell=lane)
    assert not [pid for pid in pids if alive(pid)]
    assert alive(kept)  # another subshell's


def test_signal_reaches_the_command(far):
    lane = far.subshell()
    seq = far.begin(lane, "trap 'echo got it; exit 4' USR1; echo ready; while :; do sleep 0.01; done")
    far.until(lane, seq, lambda outcome: outcome.stdout)
    assert far.ask("signal", subshell=lane, signal=int(signal.SIGUSR1)) >= 1
    outcome = far.end(lane, seq)
    assert (outcome.stdout, outcome.result) == (b"ready\ngot it\n", {"status": 4})
    assert far.run(lane, ["echo", "on"]).stdout == b"on\n"  # the shell itself was not meant


def test_signal_in_a_stateful_shell(far):
    lane = far.subshell("bash")
    far.run(lane, "trap 'echo interrupted' INT", keeps_state=True)
    seq = far.begin(lane, "echo ready; sleep 60; echo after", keeps_state=True)
    far.until(lane, seq, lambda outcome: outcome.stdout)
    far.ask("signal", subshell=lane, signal=int(signal.SIGINT))
    assert far.end(lane, seq).stdout == b"ready\ninterrupted\nafter\n"


def test_end_tagged(far):
    lane = far.subshell()
    tag = f"{far.token}.p7"
    pid = int(
        far.run(lane, ["sh", "-c", "sleep 60 >&- 2>&- & echo $!"], env={b"WARMSHELL_COMMAND": tag.encode()}).stdout
    )
    other = int(far.run(lane, ["sh", "-c", "sleep 60 >&- 2>&- & echo $!"]).stdout)
    far.ask("end_tagged", tag=tag, grace=1)
    assert (alive(pid), alive(other)) == (False, True)


# -- the client is gone -------------------------------------------------------------------------------------------


def populated(far):
    """Subshells, busy and idle, and the pids of everything that must not survive."""
    lanes = [far.subshell(shell) for shell in ("sh", "bash", "sh")]
    _, pids = zoo(far, lanes[0])
    _, more = zoo(far, lanes[1], keeps_state=True)
    left = int(far.run(lanes[2], "(setsid env -i /bin/sleep 60 >/dev/null 2>&1 & echo $!)").stdout)
    shells = [lane["pid"] for lane in far.ask("list_subshells")]
    return [*pids, *more, left, *shells, far.facts["pid"]]


def test_the_end_of_the_stream_ends_everything(far):
    pids = populated(far)
    assert far.close() == 0
    assert not [pid for pid in pids if alive(pid)]


def test_silence_ends_everything():
    with Far(lease=0.5) as far:
        far.subshell()
        assert far.wait() == 0
        assert far.frame() is None


def test_a_word_now_and_then_keeps_the_session():
    with Far(lease=1.0) as far:
        lane = far.subshell()
        seq = far.begin(lane, "for i in 1 2 3 4 5 6 7 8; do sleep 0.2; echo $i; done")
        answered = 0
        while far.outcome(lane, seq).result is None:
            far.step()
            if len(far.outcome(lane, seq).stdout.split()) > answered:
                answered += 1
                far.ask("ping")
        assert answered == 8


def test_a_client_that_reads_no_more_ends_everything():
    with Far() as far:
        lane = far.subshell()
        far.begin(lane, "while :; do echo x; sleep 0.01; done")
        far.process.stdout.close()
        assert far.wait() == 0


@pytest.mark.parametrize("who", ["server", "guard"])
def test_kill_minus_nine(who):
    with Far(lease=1000) as far:
        pids = populated(far)
        os.kill(far.facts["pid"] if who == "server" else far.process.pid, signal.SIGKILL)
        while far.step():
            pass
        eventually(lambda: not [pid for pid in pids if alive(pid)])
        assert far.wait() == (128 + signal.SIGKILL if who == "server" else -signal.SIGKILL)


def test_sigterm_ends_it_in_good_order(far):
    pids = populated(far)
    os.kill(far.process.pid, signal.SIGTERM)
    while far.step():
        pass
    assert far.wait() == 0
    assert not [pid for pid in pids if alive(pid)]


def test_the_server_is_not_ended_by_its_commands(far):
    lane = far.subshell()
    far.run(lane, f"kill -INT {far.facts['pid']}; kill -HUP {far.facts['pid']}")
    assert far.ask("ping", echo=1) == 1


# -- what is no request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 100,
        frames.pack(99, 0, b""),
        frames.pack(frames.CONTROL, 0, b"no json"),
        frames.pack(frames.CONTROL, 0, b"[1]"),
        frames.pack(frames.CONTROL, 0, b"[" * 100_000),
        frames.pack(frames.RUN, 1, b"\0\0\0\x02{}"),
        frames.pack(frames.RUN, 1, b"short"),
        frames.pack(frames.WORDS, 1, b"\0\0\0\1"),
        frames.pack_words(1, 0, [b"touch"]),
        frames.pack(frames.CREDIT, 1, b"\0\0\0\x01"),
        frames.pack(frames.INPUT, 1, b""),
    ],
)
def test_garbage_ends_the_session_with_an_error(far, tmp_path, garbage):
    far.subshell()
    run = b"touch %s/ran" % bytes(tmp_path)
    far.write(garbage + run)
    with pytest.raises(Refused) as caught:
        far.answer(0)
    assert caught.value.kind == "Protocol"
    while far.step():
        pass
    assert far.wait() == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "request_",
    [
        b'"end_tagged", "tag": 5',
        b'"create_subshell", "shell": 5',
        b'"create_subshell", "shell": ["sh"]',
        b'"create_subshell", "copy_of": []',
        b'"signal", "subshell": 1, "signal": 1e999',
        b'"delete_subshell", "subshell": {}',
        b'"stat_path", "path": 5',
    ],
)
def test_a_request_that_cannot_be_served_is_answered_and_the_session_goes_on(far, request_):
    lane = far.subshell()
    far.send(frames.CONTROL, 0, b'{"id": 999, "op": %s}' % request_)
    with pytest.raises(Refused):
        far.answer(999)
    assert far.run(lane, ["echo", "on"]).stdout == b"on\n"


def test_more_input_than_was_granted_ends_the_session(far):
    lane = far.subshell()
    seq = far.begin(lane, "sleep 60", stdin="stream")
    with contextlib.suppress(BrokenPipeError):
        for _ in range(8):
            far.numbered(frames.INPUT, lane, seq, b"x" * 65536)
    with pytest.raises(Refused):
        far.answer(0)


def test_frames_before_the_start_are_refused():
    with Far(start=False) as far:
        far.deliver()
        with pytest.raises(Refused) as caught:
            far.ask("create_subshell")
        assert caught.value.kind == "NotStarted"
        for token in ("x", "a;b" * 5, "$(id)xxxx", ""):
            with pytest.raises(Refused):
                far.ask("start", token=token)
        far.begin(1, "true")
        with pytest.raises(Refused):
            far.answer(0)


def test_requests_that_cannot_be_served_are_refused_and_the_session_goes_on(far):
    for request in (
        {"op": "dance"},
        {"op": "create_subshell", "shell": "/no/such/shell"},
        {"op": "create_subshell", "shell": "no-such-shell"},
        {"op": "create_subshell", "shell": "/bin/false"},
        {"op": "create_subshell", "copy_of": 5},
        {"op": "delete_subshell"},
        {"op": "delete_subshell", "subshell": 9},
        {"op": "signal", "subshell": 9, "signal": 1},
        {"op": "start", "token": "a" * 32},
        {"op": "end_tagged", "tag": "a b"},
    ):
        with pytest.raises(Refused):
            far.ask(**request)
    assert far.ask("ping", echo="on") == "on"
    assert far.run(far.subshell(), ["echo", "on"]).stdout == b"on\n"


def test_why_a_shell_does_not_start(far):
    with pytest.raises(Refused) as caught:
        far.subshell("no-such-shell")
    assert (caught.value.kind, caught.value.errno) == ("FileNotFoundError", 2)
    with pytest.raises(Refused, match="ended with status 1"):
        far.subshell("/bin/false")
