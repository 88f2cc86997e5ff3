"""How warm doctor judges what a location answers."""

from __future__ import annotations

import subprocess

from warmshell.cli.checks import PROBE, judge, parse

GOOD = {
    "path sh": "/bin/sh",
    "path dash": "/bin/dash",
    "writable": "yes",
    "tmp": "/tmp",
    "space": "9999999",
    "python": "3.11.2",
}


def states(answers: dict[str, str], framings: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {check.name: check.state for check in judge(answers, framings)}


def test_the_probe_says_what_this_machine_has() -> None:
    for shell in ("sh", "bash"):
        done = subprocess.run([shell, "-c", PROBE], capture_output=True, text=True, check=True)
        answers = parse(done.stdout)
        assert answers["path sh"].startswith("/")
        assert int(answers["cpus"]) >= 1
        assert int(answers["files"]) > 0
        assert answers["writable"] == "yes"
        assert done.stderr == ""


def test_a_good_place_misses_nothing_essential() -> None:
    found = states(GOOD, {"sh": ("pipes", "markers"), "dash": ("pipes",)})
    assert "missing" not in found.values()


def test_no_sh_is_essential() -> None:
    answers = {name: value for name, value in GOOD.items() if name != "path sh"}
    assert states(answers, {})["sh"] == "missing"


def test_a_sh_that_cannot_be_kept_warm_is_essential() -> None:
    assert states(GOOD, {"sh": ()})["sh"] == "missing"


def test_a_temporary_directory_that_cannot_be_written_is_essential() -> None:
    answers = {name: value for name, value in GOOD.items() if name != "writable"}
    assert states(answers, {"sh": ("pipes",)})["temporary files"] == "missing"


def test_what_is_not_fine_comes_with_advice() -> None:
    for check in judge({**GOOD, "files": "64", "space": "1"}, {"sh": ("markers",)}):
        assert bool(check.advice) == (check.state != "ok"), check
