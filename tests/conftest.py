"""What all tests share: nothing may be left behind, and what was skipped is told at the end, and why."""

from __future__ import annotations

import collections
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from warmshell.testing.leaks import check_leaks

# Below nohup, or in the background of a script, these are ignored, and so they would be by every command of a test.
for number, default in (
    (signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)
):  # fmt: skip
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)

# The machine may be busy: speed is never asserted. CI tries the same examples each time, developers always new ones.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("steady" if os.environ.get("CI") else "busy")


@pytest.fixture(scope="session")
def temporary_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names for directories that are not there yet."""
    where = tmp_path_factory.mktemp("tmp")
    return (where / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def nothing_left_behind(temporary_directories: Iterator[Path]) -> Iterator[None]:
    """After every test: no process, descriptor, thread or temporary file that was not there before it."""
    temporary = next(temporary_directories)
    temporary.mkdir()
    with check_leaks(temporary=temporary):
        yield
    temporary.rmdir()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were skipped for which backend, and why."""
    skips: collections.Counter[tuple[str, str]] = collections.Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        backend = report.nodeid.split("::")[1 if report.nodeid.count("::") > 1 else 0]
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skips[backend, reason.removeprefix("Skipped: ")] += 1
    if skips:
        terminalreporter.section("skipped, by backend")
    for (backend, reason), count in sorted(skips.items()):
        terminalreporter.write_line(f"{backend}: {count} x {reason}")
