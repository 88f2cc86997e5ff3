"""What all parts of the conformance suite share: how to connect, what can be had, and ways to look at a location."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from shlex import quote
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from warmshell.location import Location
from warmshell.shell import Shell
from warmshell.testing.waiting import eventually


class Suite:
    """The base of every part of the suite.

    Attributes:
        local: whether paths and process ids at the location are those of this machine.
        late_output_is_apart: whether what background children write later cannot reach the next result. Framing by
            markers cannot promise it.
        shell_of_state: the shell whose state the stateful tests use; ``None``: that of the location.
        copies_all: whether a subshell gets functions and arrays too (bash).
        account: another account that commands can run as without a password, or ``None``.
        has_terminal: whether ``pty=True`` works.
        has_setsid: whether there is a program ``setsid`` at the location.
    """

    local: ClassVar[bool] = False
    late_output_is_apart: ClassVar[bool] = True
    shell_of_state: ClassVar[str | None] = None
    copies_all: ClassVar[bool] = False
    account: ClassVar[str | None] = None
    has_terminal: ClassVar[bool] = True
    has_setsid: ClassVar[bool] = True

    def connect(self, **options: Any) -> Location:
        """A location, not entered yet.

        Args:
            **options: ``shells``, ``idle``, ``age`` and ``cwd``, as :func:`warmshell.connect` has them.
        """
        raise NotImplementedError

    def missing(self) -> str | None:
        """Why nothing of this suite can run here, or ``None``."""
        return None

    def stateful(self, node: Location) -> Shell:
        """The shell that is tested."""
        return node.shell(self.shell_of_state)

    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        if (why := self.missing()) is not None:
            pytest.skip(why)

    @pytest_asyncio.fixture
    async def node(self, _needs: None) -> AsyncIterator[Location]:
        """The location, warm."""
        async with self.connect() as node:
            yield node

    @pytest_asyncio.fixture
    async def observer(self, _needs: None) -> AsyncIterator[Location]:
        """The same location once more, to look at what the test did to the first one."""
        async with self.connect() as node:
            yield node

    @pytest_asyncio.fixture
    async def where(self, observer: Location) -> AsyncIterator[str]:
        """An empty directory at the location."""
        path = (await observer.run('d=$(mktemp -d) && cd -P "$d" && pwd')).check().text.rstrip("\n")
        yield path
        (await observer.run(["rm", "-rf", "--", path])).check()


async def read(node: Location, path: str) -> bytes:
    """The bytes of a file at the location."""
    return (await node.run(["cat", "--", path])).check().stdout


async def lines(node: Location, path: str) -> list[str]:
    """The lines of a file at the location; none if there is no such file."""
    return (await node.run(["cat", "--", path])).text.split("\n")[:-1]


async def is_there(node: Location, path: str) -> bool:
    """Whether anything has this name at the location."""
    return (await node.run(f"test -e {quote(path)} || test -h {quote(path)}")).ok


async def is_alive(node: Location, pid: int) -> bool:
    """Whether a process runs at the location; one that only waits to be reaped does not."""
    script = (
        f"kill -0 {pid} 2>/dev/null || exit 1;"
        f"if test -r /proc/{pid}/status; then ! grep -q '^State:.[ZX]' /proc/{pid}/status; fi"
    )
    return (await node.run(script)).ok


async def written(node: Location, path: str, count: int = 1) -> list[str]:
    """The lines of a file, once there are so many."""
    found: list[str] = []

    async def enough() -> bool:
        found[:] = await lines(node, path)
        return len(found) >= count

    await eventually(enough, 20, f"{path} did not get {count} lines")
    return found


async def gone(node: Location, pids: list[str], within: float = 5.0) -> None:
    """Return when none of these processes runs any more."""
    assert pids

    async def all_gone() -> bool:
        return not any([await is_alive(node, int(pid)) for pid in pids])

    await eventually(all_gone, within, f"processes {pids} were not gone")


def sleeper(path: str) -> str:
    """A script that writes its process id into a file and sleeps until it is ended."""
    return f"sh -c {quote(f'echo $$ >>{quote(path)}; exec sleep 1000')}"


def hidings(path: str) -> dict[str, str]:
    """Scripts that start processes in places where they are hard to find; each writes its pid and never ends."""
    one = sleeper(path)
    deaf = f"""sh -c {quote(f'trap "" TERM HUP INT; echo $$ >>{quote(path)}; while :; do sleep 1000; done')}"""
    stopped = f"sh -c {quote(f'echo $$ >>{quote(path)}; kill -STOP $$; sleep 1000')}"
    return {
        "child": f"{one}; :",
        "background": f"{one} & wait",
        "session": f"setsid {one}; :",
        "session-in-background": f"setsid {one} & wait",
        "deaf": f"{deaf}; :",
        "deaf-in-background": f"{deaf} & wait",
        "stopped": f"{stopped} & wait",
        "daemon": f"( ( {one} & ) & ); sleep 1000",
        "daemon-in-a-session": f"( ( setsid {one} & ) & ); sleep 1000",
        "without-environment": f'env -i PATH="$PATH" {one}; :',
        "without-its-streams": f"{one} <&- >&- 2>&- & wait",
        "nohup": f"$(command -v nohup || echo env) {one} >/dev/null 2>&1 & wait",  # not every busybox has it
        "many": f"for i in 1 2 3 4 5; do {one} & done; wait",
        "deep": f"( ( ( {one}; : ); : ); : )",
    }


def each(cases: dict[str, Any]) -> Callable[[Any], Any]:
    """Parametrise a test with the values of a dictionary, named by its keys."""
    return pytest.mark.parametrize("case", list(cases.values()), ids=list(cases))
