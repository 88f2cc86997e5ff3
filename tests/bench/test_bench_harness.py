"""The harness: turns in order, ratios within a round, and nothing that is absent disappears."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from bench.harness import measure
from bench.model import Case, Contender, Outcome, Reading, Report, Sample, Target, judge, ratios, restore
from bench.quiet import Others, Patience
from bench.report import markdown, plots, table, targets

from bench import model


def contender(name, log, readings=None, kind="peer", **more):
    values = iter(readings) if readings is not None else None

    @asynccontextmanager
    async def opened():
        log.append(f"open {name}")

        async def block(count):
            log.append((name, count))
            return None if values is None else Reading(next(values))

        yield block
        log.append(f"close {name}")

    return Contender(name, kind, opened, **more)


def case_of(*contenders, targets=(), rounds=3, count=20, **more):
    return Case(
        "case", "latency", "A case", "what it says", lambda: list(contenders), "command", count, 4, rounds,
        targets, "ours", more.get("points", False),
    )  # fmt: skip


def silent(_line):
    pass


async def run(case, *, quick=False, rounds=None):
    return await measure(case, quick=quick, rounds=rounds, say=silent)


async def test_every_round_gives_each_contender_its_turn_after_a_warm_up():
    log = []
    await run(case_of(contender("a", log), contender("b", log), rounds=2))
    warm_up = ["open a", ("a", 2), "open b", ("b", 2)]
    assert log == [*warm_up, ("a", 20), ("b", 20), ("a", 20), ("b", 20), "close b", "close a"]


async def test_a_share_makes_the_rounds_of_what_is_slow_smaller():
    log = []
    await run(case_of(contender("slow", log, share=0.1), rounds=1))
    assert log[1:3] == [("slow", 1), ("slow", 2)]


async def test_quick_does_less():
    log = []
    report = await run(case_of(contender("a", log), rounds=7), quick=True)
    assert report.count == 4
    assert len(report.outcomes[0].samples) == 3


async def test_who_is_not_installed_stays_in_the_table_with_the_reason():
    log = []
    report = await run(case_of(contender("a", log), contender("b", log, missing="not installed: b")))
    assert log.count("open b") == 0
    assert "| b | not installed: b |" in table(report)


async def test_who_fails_stays_in_the_table_and_does_not_end_the_others():
    log = []
    failing = contender("bad", log, [1.0, 2.0])  # enough for the warm-up and one round
    report = await run(case_of(failing, contender("good", log, [1.0] * 9)))
    bad, good = report.outcomes
    assert bad.error is not None
    assert bad.samples == []
    assert len(good.samples) == 3
    assert "| bad | failed: " in table(report)


async def test_a_disturbed_round_is_run_again_and_does_not_count(monkeypatch):
    shares = iter([1.0, 0.0, 0.0])
    monkeypatch.setattr(Others, "share", lambda _self: next(shares))
    monkeypatch.setattr(Patience, "wait", lambda _self: asyncio.sleep(0))
    log = []
    case = case_of(contender("a", log, [0.0, 1.0, 2.0, 3.0]), rounds=2)
    report = await measure(case, quick=False, rounds=None, say=silent, patience=Patience(1e-9))
    assert report.outcomes[0].figures() == [2.0, 3.0]
    assert report.others == [0.0, 0.0]


async def test_ratios_are_taken_within_a_round():
    log = []
    ours = contender("ours", log, [9, 1, 10, 100], kind="warm")  # the first is the warm-up
    theirs = contender("theirs", log, [9, 2, 30, 200])
    goal = Target("at least twice", "theirs", "ours", ">=", 2)
    report = await run(case_of(ours, theirs, targets=[goal]))
    (verdict,) = report.verdicts
    assert (verdict.value, verdict.low, verdict.high) == (2, 2, 3)
    assert verdict.reached is True


def outcome(name, *values, memory=None):
    return Outcome(name, "peer", samples=[Sample(value, memory=memory) for value in values])


def report_of(*outcomes, **more):
    given = {
        "name": "n",
        "theme": "latency",
        "title": "T",
        "text": "",
        "unit": "command",
        "count": 1,
        "rounds": 1,
        "ours": "ours",
        "points": False,
        "outcomes": list(outcomes),
        "verdicts": [],
    }
    return Report(**{**given, **more})


@pytest.mark.parametrize(
    ("relation", "bound", "reached"),
    [(">=", 3.9, True), (">=", 4.1, False), ("<=", 4.1, True), ("<=", 3.9, False)],
)
def test_a_verdict_tells_whether_the_bound_is_kept(relation, bound, reached):
    report = report_of(outcome("theirs", 8.0), outcome("ours", 2.0))
    verdict = judge(Target("t", "theirs", "ours", relation, bound), report)
    assert verdict.value == 4
    assert verdict.reached is reached


def test_the_floor_stands_in_the_place_of_ours():
    report = report_of(outcome("theirs", 8.0), outcome("ours", 2.0), outcome("floor", 1.0))
    faster = judge(Target("t", "theirs", "ours", ">=", 2, floor="floor"), report)
    assert (faster.value, faster.floor_value) == (4, 8)
    within = judge(Target("t", "ours", "theirs", "<=", 2, floor="floor"), report)
    assert (within.value, within.floor_value) == (0.25, 0.125)


@pytest.mark.parametrize(
    ("relation", "bound", "said"),
    [(">=", 9, "**no**, nor by the floor"), (">=", 5, "**no**"), (">=", 4, "**yes**"),
     ("<=", 0.1, "**no**, nor by the floor"), ("<=", 0.2, "**no**"), ("<=", 0.25, "**yes**")],
)  # fmt: skip
def test_what_the_floor_misses_too_is_told(relation, bound, said):
    report = report_of(outcome("theirs", 8.0), outcome("ours", 2.0), outcome("floor", 1.0))
    sides = ("theirs", "ours") if relation == ">=" else ("ours", "theirs")
    report.verdicts.append(judge(Target("t", *sides, relation, bound, floor="floor"), report))
    assert f"| {said} |" in targets([report])


def test_a_bound_on_one_figure():
    report = report_of(outcome("ours", 1.0, 1.0, memory=50e6))
    assert judge(Target("t", "ours", None, "<=", 64e6, metric="memory"), report).reached is True
    assert judge(Target("t", "ours", None, "<=", 40e6, metric="memory"), report).reached is False


def test_what_could_not_be_measured_is_not_called_reached_or_missed():
    report = report_of(outcome("ours", 1.0), Outcome("theirs", "peer", missing="not installed: x"))
    verdict = judge(Target("t", "theirs", "ours", ">=", 2), report)
    report.verdicts.append(verdict)
    assert verdict.reached is None
    assert "| not measured |" in targets([report])


def test_ratios_end_with_the_shorter_side():
    assert ratios(outcome("a", 2.0, 4.0, 6.0), outcome("b", 1.0, 2.0)) == [2, 2]


def test_reports_survive_json():
    report = report_of(outcome("ours", 1.0, 2.0), outcome("theirs", 3.0, memory=5.0))
    report.verdicts = [judge(Target("t", "theirs", "ours", ">=", 2), report)]
    assert restore(json.loads(json.dumps(report.data()))) == report


def test_the_page_holds_machine_targets_tables_and_plots():
    report = report_of(outcome("ours", 0.001), outcome("theirs", 0.002), title="The case")
    report.verdicts = [judge(Target("twice", "theirs", "ours", ">=", 1.5), report)]
    machine = {"cpus": 2, "system": "Linux 6", "python": "3.11", "sh": "dash"}
    data = {"machine": machine, "load": [0.1, 0.2], "quick": False, "seconds": 3, "cases": [report.data()]}
    page = markdown(data, [report], "pictures/")
    assert "| CPUs | 2 |" in page
    assert "| n | twice | 2 x (2 x to 2 x) |  | **yes** |" in page
    assert "### The case" in page
    assert "| theirs | 2 ms |" in page
    assert "(pictures/latency.svg)" in page
    assert plots(data, [report])["latency"].startswith("<svg")


def test_two_cases_of_one_name_are_refused(monkeypatch):
    monkeypatch.setattr(model, "CASES", {})
    model.case("same", theme="t", title="", count=1)(list)
    with pytest.raises(ValueError, match="same"):
        model.case("same", theme="t", title="", count=1)(list)
