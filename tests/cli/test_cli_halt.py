"""The rules of --halt, and exit statuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell import CommandError
from warmshell.cli.halt import Halt, Policy


def play(policy: str, statuses: list[int], total: int | None = None) -> tuple[list[str], int]:
    halt = Halt(Policy.parse(policy), len(statuses) if total is None else total)
    actions = []
    for status in statuses:
        actions.append(halt.ended(status))
        if actions[-1] != "go":
            break
    return actions, halt.exit_status()


@pytest.mark.parametrize(
    ("policy", "statuses", "actions", "status"),
    [
        ("never", [1, 0, 2], ["go", "go", "go"], 2),
        ("now,fail=1", [0, 7], ["go", "now"], 7),
        ("soon,fail=1", [137], ["soon"], 137),
        ("now,fail=2", [7, 8], ["go", "now"], 2),
        ("soon,fail=3", [7, 8, 0], ["go", "go", "go"], 2),
        ("now,success=1", [1, 2, 0], ["go", "go", "now"], 0),
        ("now,success=2", [1, 2, 0, 1], ["go"] * 4, 3),
        ("now,done=2", [0, 0], ["go", "now"], 0),
        ("now,done=2", [5, 0], ["go", "now"], 1),
        ("soon,fail=50%", [0, 7, 1, 0], ["go", "go", "soon"], 50),
        ("now,fail=50%", [0, 0, 0, 1], ["go"] * 4, 25),
        ("soon,fail=90%", [0, 0, 1], ["go"] * 3, 34),
        ("soon,success=50%", [1, 1, 1, 0], ["go"] * 4, 75),
        ("soon,success=50%", [0, 1, 0, 1], ["go", "go", "soon"], 0),
        ("2", [0, 4], ["go", "now"], 4),
        ("1", [4], ["soon"], 4),
        ("-1", [1, 0], ["go", "soon"], 0),
        ("-2", [1, 0], ["go", "now"], 0),
        ("0", [1, 1], ["go", "go"], 2),
        ("50%", [1, 0], ["soon"], 50),
    ],
)
def test_policies(policy: str, statuses: list[int], actions: list[str], status: int) -> None:
    assert play(policy, statuses) == (actions, status)


@pytest.mark.parametrize(
    "text", ["", "wat", "now", "now,fail", "now,fail=0", "soon,fail=101%", "now;fail=1", "soon,fail=-1", "3"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="--halt"):
        Policy.parse(text)


def test_percentages_wait_for_the_total() -> None:
    halt = Halt(Policy.parse("now,fail=50%"))
    assert halt.ended(1) == "go"
    halt.total = 2
    assert halt.decide() == "now"


@given(st.lists(st.integers(0, 255), max_size=300))
def test_without_a_policy_the_status_is_the_number_of_failures(statuses: list[int]) -> None:
    actions, status = play("never", statuses)
    assert set(actions) <= {"go"}
    assert status == min(101, sum(map(bool, statuses)))


@given(st.lists(st.integers(0, 255)), st.sampled_from(["fail", "success", "done"]), st.integers(1, 5))
def test_it_stops_at_the_limit_and_not_before(statuses: list[int], why: str, limit: int) -> None:
    actions, _ = play(f"now,{why}={limit}", statuses)
    counts = {"fail": lambda s: s != 0, "success": lambda s: s == 0, "done": lambda s: True}[why]
    seen = [sum(map(counts, statuses[: n + 1])) for n in range(len(actions))]
    assert actions == ["now" if count >= limit else "go" for count in seen]
    assert all(action == "go" for action in actions[:-1])


@given(st.lists(st.integers(0, 255), min_size=1), st.integers(1, 100))
def test_a_failure_never_gives_status_0_with_percentages(statuses: list[int], share: int) -> None:
    _, status = play(f"soon,fail={share}%", statuses)
    ran = statuses if not status else statuses[: len(statuses)]
    assert (status == 0) == (not any(ran))
