"""Tables of measurements within texts, and that the texts show what was measured."""

from __future__ import annotations

from pathlib import Path

from bench.coprocess_scripts import MAKEFILE, SCRIPT
from bench.excerpt import renewed
from bench.model import Outcome, Report, Sample
from bench.report import table

_DOCS = Path(__file__).parents[2] / "docs"


def report(name: str, *outcomes: Outcome) -> Report:
    return Report(
        name, "coprocess", name, "", "command", 10, 1, "ours", points=False, outcomes=[*outcomes], verdicts=[]
    )


def test_a_table_takes_the_place_of_the_one_before() -> None:
    end = "<!-- measured: end -->"
    text = f"one\n<!-- measured: a-case -->\nold\n{end}\ntwo\n<!-- measured: b -->\nkept\n{end}\n"
    fresh = report("a-case", Outcome("ours", "warm", samples=[Sample(0.5)]))
    once = renewed(text, [fresh])
    assert once == text.replace("old\n", table(fresh) + "\n")
    assert renewed(once, [fresh]) == once
    assert renewed(text, []) == text


def test_the_clients_share_is_told_apart() -> None:
    served = Outcome("ours", "warm", samples=[Sample(0.5, 0.010, served=0.008), Sample(0.5, 0.012, served=0.008)])
    cold = Outcome("cold", "peer", samples=[Sample(0.5, 0.1, served=0.1)])
    lines = table(report("a", served, cold)).splitlines()
    assert "of it, client" in lines[0]
    assert "| 11 ms | 3 ms |" in lines[2]
    assert "| 100 ms |  |" in lines[3]


def test_the_texts_show_the_script_and_the_makefile_that_were_measured() -> None:
    text = (_DOCS / "warm-call.md").read_text(encoding="utf-8")
    assert f"```sh\n{SCRIPT}```" in text
    assert f"```make\n{MAKEFILE}```" in text
    marks = "".join(page.read_text(encoding="utf-8") for page in (_DOCS / "warm-call.md", _DOCS / "coprocess.md"))
    for case in ("call-script", "call-make", "coprocess-script", "coprocess-make", "coprocess-tool"):
        assert f"<!-- measured: {case} -->" in marks
