"""Other work is seen, waited for as long as there is patience, and a disturbed round is run again."""

import subprocess
from pathlib import Path

import pytest
from bench.quiet import LIMIT, Others, Patience, busy_seconds

BURN = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc (Linux)")
def test_what_this_process_and_its_children_do_is_not_other_work():
    before, others = busy_seconds(), Others()
    subprocess.run(["sh", "-c", BURN], check=True)
    taken = busy_seconds() - before
    assert taken > 0
    assert others.share() is not None
    assert 0 <= others.share() <= 1.05


def test_a_calm_round_is_kept_and_costs_no_patience():
    patience = Patience(10)
    assert patience.accepts(LIMIT / 2, 3)
    assert patience.accepts(None, 3)  # the system does not tell
    assert patience.left == 10


def test_disturbed_rounds_are_repeated_until_patience_ends():
    patience = Patience(5)
    assert [patience.accepts(1.0, 3) for _ in range(3)] == [False, False, True]


async def test_waiting_ends_with_patience(monkeypatch):
    monkeypatch.setattr(Others, "share", lambda _self: 1.0)
    patience = Patience(0.6)
    await patience.wait()
    assert patience.left <= 0
