"""What is known of a command that is lost: whether it had begun."""

from __future__ import annotations

import os
import signal
import time

from warmshell.protocol import frames

from .far import Far


def test_of_a_command_that_lasts_it_is_said_that_it_has_begun(tmp_path):
    with Far() as far:
        lane = far.subshell()
        seq = far.begin(lane, ["sleep", "1000"])
        far.until(lane, seq, lambda outcome: outcome.started)
        far.send(frames.KILL, lane, frames.GRANT.pack(seq, 0))
        assert far.end(lane, seq).result["killed"]


def test_of_one_that_does_not_nothing_is_sent():
    with Far() as far:
        lane = far.subshell()
        for _ in range(50):
            began = time.monotonic()
            outcome = far.run(lane, ["true"])
            assert not outcome.started or time.monotonic() - began > 0.05


def test_a_lost_one_that_had_lasted_had_begun():
    with Far() as far:
        lane = far.subshell()
        seq = far.begin(lane, "exec sleep 1000")
        far.until(lane, seq, lambda outcome: outcome.started)
        (info,) = far.ask("list_subshells")
        os.kill(info["pid"], signal.SIGKILL)
        assert far.end(lane, seq).result == {"lost": "was killed by signal 9", "started": "yes"}


def test_a_lost_one_that_had_written_had_begun():
    with Far() as far:
        lane = far.subshell()
        seq = far.begin(lane, "echo; exec sleep 1000")
        far.until(lane, seq, lambda outcome: outcome.stdout)
        (info,) = far.ask("list_subshells")
        os.kill(info["pid"], signal.SIGKILL)
        assert far.end(lane, seq).result == {"lost": "was killed by signal 9", "started": "yes"}


def test_one_whose_shell_does_not_run_is_not_said_to_have_begun(tmp_path):
    with Far() as far:
        lane, other = far.subshell(), far.subshell()
        pid = next(info["pid"] for info in far.ask("list_subshells") if info["subshell"] == lane)
        os.kill(pid, signal.SIGSTOP)
        seq = far.begin(lane, f"echo >{tmp_path}/ran")
        lasting = far.begin(other, ["sleep", "1000"])
        far.until(other, lasting, lambda outcome: outcome.started)  # by now, the first would have been said too
        far.quiet(0.2)
        assert not far.outcome(lane, seq).started
        os.kill(pid, signal.SIGKILL)
        assert far.end(lane, seq).result["started"] in ("no", "unknown")
        assert not (tmp_path / "ran").exists()
