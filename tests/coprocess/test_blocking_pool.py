"""The pool of coprocesses without ``await``, from threads too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from warmshell import ClosedError, CommandTimeout
from warmshell.coprocess.blocking import CoprocessPool

from .test_pool import ODD, UPPER


def test_it_does_what_its_twin_does(tmp_path) -> None:
    with CoprocessPool(UPPER, size=2) as pool:
        result = pool.run(["a", "b"], stdin=b"in\n")
        assert (result.returncode, result.stdout, result.stderr) == (
            2,
            b"a b\nin\n".replace(b"in", b"IN"),
            b"2 words\n",
        )
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda n: pool.run(["x"] * n).returncode, range(20)))
        assert results == list(range(20))
        assert pool.statistics().started <= 2
    with pytest.raises(ClosedError):
        pool.run([])


def test_a_time_limit(tmp_path) -> None:
    with CoprocessPool(ODD, size=1) as pool, pytest.raises(CommandTimeout):
        pool.run(["sleep", str(tmp_path / "on")], timeout=0.5)
