"""Commands through the session server."""

from __future__ import annotations

import os
import shutil

import pytest

from warmshell.protocol import frames

SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox", "zsh", "mksh", "ksh") if shutil.which(shell)]

ODD = bytes(range(1, 256)).replace(b"/", b"")


@pytest.fixture(params=SHELLS)
def shell(request):
    return request.param


def test_words(far, shell):
    lane = far.subshell(shell)
    outcome = far.run(lane, ["printf", "%s|", "a b", "*", "", "$HOME", "-n", b"\xff\n'"])
    assert (outcome.stdout, outcome.stderr, outcome.result) == (b"a b|*||$HOME|-n|\xff\n'|", b"", {"status": 0})


def test_a_script(far, shell):
    lane = far.subshell(shell)
    outcome = far.run(lane, "echo out; echo err >&2; exit 7")
    assert (outcome.stdout, outcome.stderr, outcome.status) == (b"out\n", b"err\n", 7)
    assert far.run(lane, "echo 'unbalanced").status != 0
    assert far.run(lane, ["echo", "on"]).stdout == b"on\n"


def test_state_persists_and_is_copied(far, shell):
    lane = far.subshell(shell)
    assert far.run(lane, "cd /usr; X='a b'; export Y=2; umask 027", keeps_state=True).status == 0
    assert far.run(lane, 'pwd; echo "$X $Y"', keeps_state=True).stdout == b"/usr\na b 2\n"
    copy = far.subshell(copy_of=lane)
    assert far.run(copy, 'pwd; echo "$X $Y"; umask; X=other', keeps_state=True).stdout.startswith(b"/usr\na b 2\n0")
    assert far.run(lane, "echo $X", keeps_state=True).stdout == b"a b\n"


def test_a_copy_is_made_while_the_parent_is_busy(far, shell):
    lane = far.subshell(shell)
    far.run(lane, "X=before", keeps_state=True)
    seq = far.begin(lane, "X=after; echo busy; read line; echo $X", keeps_state=True, stdin="stream")
    asked = far.request("create_subshell", copy_of=lane)  # perhaps before the command has started
    copy = far.answer(asked)["subshell"]
    assert far.run(copy, "echo $X", keeps_state=True).stdout == b"before\n"
    assert far.outcome(lane, seq).result is None
    far.numbered(frames.INPUT, lane, seq, b"go\n")
    assert far.end(lane, seq).stdout == b"busy\nafter\n"
    second = far.subshell(copy_of=lane)
    assert far.run(second, "echo $X", keeps_state=True).stdout == b"after\n"


def test_a_copy_waits_for_an_isolated_command(far):
    lane = far.subshell()
    far.run(lane, "X=1", keeps_state=True)
    seq = far.begin(lane, "read line", stdin="stream")
    asked = far.request("create_subshell", copy_of=lane)
    far.until(lane, seq, lambda outcome: outcome.started)
    far.numbered(frames.INPUT, lane, seq, b"go\n")
    copy = far.answer(asked)["subshell"]
    assert far.run(copy, "echo $X", keeps_state=True).stdout == b"1\n"


def test_exact_bytes(far, tmp_path):
    lane = far.subshell()
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)
    outcome = far.run(lane, ["cat", tmp_path / "data"])
    assert outcome.stdout == data
    assert far.run(lane, ["printf", "%s", ODD]).stdout == ODD
    assert far.run(lane, "printf 'no newline'; printf x >&2").stdout == b"no newline"


def test_environment_and_directory(far, tmp_path):
    lane = far.subshell()
    odd = tmp_path / "a 'b'\n*"
    odd.mkdir()
    for what in (["env"], "env"):  # as words, as a script
        outcome = far.run(lane, what, cwd=bytes(odd), env={b"A": b"x  y"})
        assert b"\nA=x  y\n" in outcome.stdout
        assert b"PWD=" + bytes(odd) + b"\n" in outcome.stdout
    assert b"\na.b=1\n" in far.run(lane, ["env"], env={b"A": b"x  y", b"a.b": b"1"}).stdout
    assert far.run(lane, "echo ${A-none}; pwd").stdout == b"none\n" + os.getcwdb() + b"\n"
    assert far.run(lane, ["true"], cwd=b"/no/such").result == {"no_directory": 1}


def test_an_empty_environment(far):
    lane = far.subshell(blank=True)
    names = {
        line.split(b"=")[0] for line in bytes(far.run(lane, ["/usr/bin/env"], env={b"A": b"1"}).stdout).splitlines()
    }
    assert names <= {b"A", b"_", b"WARMSHELL_SESSION", b"WARMSHELL_COMMAND"}
    assert b"A" in names


def test_targets(far, tmp_path):
    lane = far.subshell()
    outcome = far.run(lane, "echo out; echo err >&2", stdout=bytes(tmp_path / "out"))
    assert (outcome.stdout, outcome.stderr) == (b"", b"err\n")
    assert (tmp_path / "out").read_bytes() == b"out\n"
    outcome = far.run(lane, ["true"], stdout=b"/no/such/file")
    assert "no/such/file" in outcome.result["no_target"]


def test_standard_input(far):
    lane = far.subshell()
    assert far.run(lane, ["cat"]).stdout == b""
    data = os.urandom(200_000)
    assert far.run(lane, ["cat"], stdin="bytes", data=data).stdout == data
    assert far.run(lane, ["cat"], stdin="bytes", data=b"").stdout == b""


def test_standard_input_streams_with_half_close(far):
    lane = far.subshell()
    seq = far.begin(lane, "cat; echo end", stdin="stream")
    far.numbered(frames.INPUT, lane, seq, b"one\n")
    far.until(lane, seq, lambda outcome: outcome.stdout == b"one\n")
    far.numbered(frames.INPUT, lane, seq, b"two\n")
    far.until(lane, seq, lambda outcome: outcome.stdout == b"one\ntwo\n")
    far.numbered(frames.END_OF_INPUT, lane, seq)
    assert far.end(lane, seq).stdout == b"one\ntwo\nend\n"


def test_much_standard_input_flows_by_credit(far):
    lane = far.subshell()
    data = os.urandom(3_000_000)
    seq = far.begin(lane, ["md5sum"], stdin="stream")
    outcome, sent = far.outcome(lane, seq), 0
    while sent < len(data):
        room = min(frames.INITIAL_CREDIT + outcome.granted - sent, 65536)
        if room <= 0:
            assert far.step()
            continue
        far.numbered(frames.INPUT, lane, seq, data[sent : sent + room])
        sent += len(data[sent : sent + room])
    far.numbered(frames.END_OF_INPUT, lane, seq)
    import hashlib

    assert far.end(lane, seq).stdout.split()[0].decode() == hashlib.md5(data).hexdigest()


def test_a_command_that_does_not_read_its_input_gets_no_more(far):
    lane = far.subshell()
    seq = far.begin(lane, "head -c 1; exec 0</dev/null; sleep 0.2", stdin="stream")
    for _ in range(2):
        far.numbered(frames.INPUT, lane, seq, b"x" * 65536)
    assert far.end(lane, seq).stdout == b"x"
    far.numbered(frames.INPUT, lane, seq, b"too late")
    assert far.run(lane, ["echo", "on"]).stdout == b"on\n"


def test_a_command_cannot_harm_the_next_one(far, shell):
    lane = far.subshell(shell)
    for script in ("exit 3", "exec true", "set -e; false", "cd /; umask 0", "exec >&-", "kill -9 $$ 2>/dev/null"):
        outcome = far.run(lane, script)
        if "lost" in outcome.result:
            lane = far.subshell(shell)
        assert far.run(lane, ["echo", "fine"]).stdout == b"fine\n", script


def test_many_at_once(far):
    lanes = [far.subshell() for _ in range(32)]
    started = [(lane, far.begin(lane, f"echo {lane}; read x; echo $x", stdin="stream")) for lane in lanes]
    for lane, seq in started:  # all of them run before any may end
        far.until(lane, seq, lambda outcome: outcome.stdout)
    for lane, seq in started:
        far.numbered(frames.INPUT, lane, seq, b"%d\n" % (lane * 7))
    for lane, seq in started:
        assert far.end(lane, seq).stdout == b"%d\n%d\n" % (lane, lane * 7)


def test_commands_of_one_subshell_wait_their_turn_in_order(far, tmp_path):
    lane = far.subshell()
    numbers = [far.begin(lane, ["sh", "-c", f"echo {n} >>{tmp_path}/log; cat {tmp_path}/log"]) for n in range(20)]
    for n, seq in enumerate(numbers):
        assert far.end(lane, seq).stdout == b"".join(b"%d\n" % m for m in range(n + 1))


def test_a_number_is_not_run_twice(far, tmp_path):
    lane = far.subshell()
    log = tmp_path / "log"
    seq = far.begin(lane, f"echo x >>{log}; read l", stdin="stream")
    far.until(lane, seq, lambda outcome: outcome.started)
    far.begin(lane, f"echo twice >>{log}", seq=seq)
    far.numbered(frames.END_OF_INPUT, lane, seq)
    first = far.end(lane, seq).result
    del far.outcomes[lane, seq]
    far.begin(lane, f"echo twice >>{log}", seq=seq)
    assert far.end(lane, seq).result == first  # the answer that was not acknowledged
    far.numbered(frames.ACK, lane, seq)
    del far.outcomes[lane, seq]
    far.begin(lane, f"echo twice >>{log}", seq=seq)
    assert far.end(lane, seq).result["started"] == "yes"
    assert log.read_text() == "x\n"


def test_background_children_delay_nothing_and_reach_no_later_result(far):
    lane = far.subshell()
    assert far.run(lane, "(sleep 0.2; echo late) & echo now").stdout == b"now\n"
    for _ in range(3):
        assert far.run(lane, "sleep 0.1; echo next").stdout == b"next\n"


@pytest.mark.parametrize("ending", ["exit 3", "exec sh -c 'exit 3'", "set -e; (exit 3)"])
def test_a_stateful_shell_that_ends_says_so(far, shell, ending):
    lane = far.subshell(shell)
    outcome = far.run(lane, f"echo last; {ending}", keeps_state=True)
    assert (outcome.stdout, outcome.result) == (b"last\n", {"shell_ended": 3})
    assert far.run(lane, "echo", keeps_state=True).result["started"] == "no"
    far.ask("delete_subshell", subshell=lane)


def test_a_shell_that_is_killed_is_lost(far):
    lane = far.subshell()
    outcome = far.run(lane, "kill -9 $$", keeps_state=True)
    assert outcome.result == {"lost": "was killed by signal 9", "started": "yes"}
    lane = far.subshell()
    outcome = far.run(lane, ["sh", "-c", "kill -9 $PPID"])
    assert outcome.result["lost"] == "was killed by signal 9"
    assert outcome.result["started"] in ("unknown", "yes")  # the latter if it took a while
    assert far.run(lane, ["true"]).result["started"] == "no"


def test_an_unknown_subshell(far):
    assert far.run(77, ["true"]).result == {"lost": "does not exist", "started": "no"}


@pytest.mark.parametrize(
    ("script", "options", "ends"),
    [
        ("exit 3", {}, [[frames.ENDED]]),
        ("echo on; exit 255", {}, [[frames.ENDED]]),
        ("exit 3", {"keeps_state": True}, [[frames.RESULT]]),
        # What lasts for more than a moment is read as it comes: then nothing of it is left at the end.
        ("echo on >&2", {}, [[frames.STDERR, frames.RESULT], [frames.STDERR, frames.ENDED]]),
    ],
)
def test_how_it_is_said_that_a_command_has_ended(far, script, options, ends):
    lane = far.subshell()
    seq = far.begin(lane, script, **options)
    kinds = []
    while not kinds or kinds[-1] not in (frames.ENDED, frames.RESULT):
        kind, subshell, payload = far.frame()
        assert (subshell, payload[:4]) == (lane, seq.to_bytes(4, "big"))
        kinds.append(kind)
    assert [kind for kind in kinds if kind not in (frames.STARTED, frames.STDOUT)] in ends


def test_a_status_that_no_byte_can_hold(far, shell):
    outcome = far.run(far.subshell(shell), ["sh", "-c", "kill -KILL $$"])
    assert outcome.result["status"] in (137, 265)  # the latter is ksh93's
