"""The containers theme: its containers come and go, its contenders do the work that they are timed for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bench.containers import docker_echo, docker_many
from bench.cpu import ROOTS
from bench.model import CASES
from bench.run import select
from bench.ssh_lab import NotHere

from bench import containers_lab
from warmshell.cli.plot import Kind


def test_the_theme_runs_only_when_it_is_asked_for():
    assert "containers" not in {one.theme for one in select([])}
    assert {one.theme for one in select(["containers"])} == {"containers"}


@pytest.mark.parametrize("name", ["docker-echo", "apptainer-echo", "kubernetes-echo"])
def test_what_is_not_started_says_so(name: str):
    reasons = {one.missing for one in CASES[name].contenders()}
    assert all(reason and reason.startswith("not started") for reason in reasons)


async def test_the_work_is_done_and_nothing_is_left():
    before, roots = set(Path("/tmp").glob("warm-box-*")), set(ROOTS)
    lab = containers_lab._docker()
    try:
        lab.__enter__()
    except NotHere as why:
        pytest.skip(str(why))
    try:
        assert len(ROOTS - roots) >= 2
        kinds: dict[Kind, int] = {}
        for contender in [*docker_echo(), docker_many()[0]]:
            if contender.missing is None:
                async with contender.make() as block:
                    await block(2)
                kinds[contender.kind] = kinds.get(contender.kind, 0) + 1
        assert {"warm", "peer", "floor"} <= set(kinds) or not shutil.which("python3")
    finally:
        containers_lab._boxes.clear()
        lab.__exit__(None, None, None)
    assert roots == ROOTS
    assert set(Path("/tmp").glob("warm-box-*")) == before


def test_a_backend_that_is_not_here_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(containers_lab, "_BACKENDS", Path("/no/where"))
    with containers_lab.running():
        for kind in ("docker", "apptainer", "kubernetes"):
            assert "there is no tests/backends/" in str(containers_lab.missing(kind, containers_lab.WITH))
    containers_lab._reasons.clear()
