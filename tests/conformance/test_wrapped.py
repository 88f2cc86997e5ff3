"""A place inside another one, by real programs: bubblewrap through the whole suite, the others through a part of it.

What is different for unshare are the process ids: the parts are those that look at processes and end them. Without a
Python, streams are: how they are cut is tested by SSH hosts and by this machine. ``WARMSHELL_WHOLE=1`` asks for all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from warmshell.connector.wrapped import Here, WrappedPlace
from warmshell.errors import ShellLost
from warmshell.location import Location
from warmshell.shell.shells import Limits
from warmshell.testing import LocationConformance, Suite
from warmshell.testing.cancelling import Cancelling
from warmshell.testing.closing import Closing
from warmshell.testing.exact_bytes import ExactBytes
from warmshell.testing.isolation import Isolation
from warmshell.testing.processes import Processes
from warmshell.testing.stateful import Stateful
from warmshell.testing.stdin import Stdin
from warmshell.testing.timeouts import Timeouts

BWRAP = ["bwrap", "--dev-bind", "/", "/", "--die-with-parent"]
UNSHARE = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc"]


def works(words: Sequence[str]) -> str | None:
    """Why a program of this kind cannot be used here."""
    if shutil.which(words[0]) is None:
        return f"{words[0]} is not installed"
    done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{words[0]} does not work here: {done.stderr.strip()}"


class Inside(Suite):
    words: ClassVar[list[str]]
    server: ClassVar[bool] = True
    local = True
    has_setsid = shutil.which("setsid") is not None

    def missing(self) -> str | None:
        return works(self.words)

    def connect(self, **options: Any) -> Location:
        prefix = [os.fsencode(word) for word in self.words]
        limits = {"shells": "most", "idle": "idle_seconds", "age": "age_seconds"}
        place = WrappedPlace(
            "inside", Here(), lambda words: [*prefix, *words], server=self.server, cwd=options.get("cwd", os.getcwd())
        )
        return Location(place, limits=Limits(**{limits[name]: options[name] for name in limits if name in options}))


class WithoutServer(Inside):
    server = False
    late_output_is_apart = False
    has_terminal = False

    async def test_writing_to_one_that_reads_no_more(self, node: Location) -> None:
        pytest.skip("the far shell that tells a program's status holds its standard input too")


class OwnNumbers(Inside):
    """Each run is in a PID namespace of its own: what one tells of process ids means nothing to the next."""

    local = False

    async def test_a_shell_that_was_killed_while_idle_is_replaced_unnoticed(self, node: Location) -> None:
        pytest.skip("a second connection does not see the processes of the first")

    async def test_pitfall_run_twice_after_its_shell_was_killed(self, node: Location) -> None:
        pytest.skip("a second connection does not see the processes of the first")

    async def test_a_shell_that_was_stopped_while_idle_is_not_waited_for_beyond_a_timeout(self, node: Location) -> None:
        pytest.skip("a second connection does not see the processes of the first")

    async def test_a_child_that_it_leaves_behind_is_gone_after_closing(self, node: Location) -> None:
        pytest.skip("a second connection does not see the processes of the first")


class Part(Processes, Timeouts, Cancelling, Closing):
    pass


class PartOfStreams(Part, Isolation, ExactBytes, Stdin, Stateful):
    pass


WHOLE = bool(os.environ.get("WARMSHELL_WHOLE"))


class TestBubblewrap(Inside, LocationConformance):
    words = BWRAP


class TestBubblewrapWithoutPython(WithoutServer, LocationConformance if WHOLE else PartOfStreams):  # type: ignore[misc]
    words = BWRAP


class TestUnshare(OwnNumbers, LocationConformance if WHOLE else Part):  # type: ignore[misc]
    words = UNSHARE


class TestUnshareWithoutPython(WithoutServer, OwnNumbers, LocationConformance if WHOLE else Part):  # type: ignore[misc]
    words = UNSHARE


@pytest.mark.parametrize("server", [True, False])
async def test_a_status_behind_output_that_nobody_reads(server: bool) -> None:
    """With a session server it comes by itself."""
    place = WrappedPlace("inside", Here(), lambda words: [b"env", *words], server=server, cwd="/tmp")
    async with Location(place) as here, here.open("trap '' PIPE; read x; echo $x; exit 5") as process:
        await process.stdout.aclose()
        await process.stdin.send(b"word\n")
        if server:
            assert await process.wait() == 5
        else:
            with pytest.raises(ShellLost) as lost:
                await process.wait()
            assert lost.value.started == "yes"
