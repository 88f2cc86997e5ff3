"""Commands without pause over one location, faults at moments that nobody chose, and the account of it all."""

from __future__ import annotations

import asyncio
import collections
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import warmshell
from ssh.lab import Lab, children
from warmshell.errors import ConnectError, ShellLost

_KILLED = 137  # the status of a script whose process was killed
_PATIENCE = 60.0
_SEED = 20

Ask = tuple[list[str] | str, dict[str, object], bytes, int]
"""What to run, with which options, and the output and status that are right."""


def seed() -> int:
    """The same in CI each time, a new one elsewhere; ``WARMSHELL_SEED`` gives that of a run that failed."""
    given = os.environ.get("WARMSHELL_SEED")
    found = int(given) if given else _SEED if os.environ.get("CI") else random.randrange(1_000_000)
    print(f"WARMSHELL_SEED={found}")  # noqa: T201 - shown with a test that fails
    return found


class Account:
    """What came of every command, beside what they wrote themselves: each its number, into the ledger.

    Args:
        ledger: the file.
    """

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger
        self.outcomes: dict[int, str] = {}
        self.wrong: list[str] = []
        self.said: dict[int, str] = {}
        self._numbers = itertools.count()

    def ask(self) -> tuple[int, Ask]:
        """The next command."""
        number = next(self._numbers)
        note, text = f"echo {number} >>{self.ledger}", f"{number}\n".encode()
        short = f"{note}; echo {number}; echo {number} >&2; exit {number % 5}"
        lines = b"".join(b"%d\n" % n for n in range(number, number + 20_001))
        return number, [
            (short, {}, text, number % 5),
            (["sh", "-c", short], {}, text, number % 5),
            (f"{note}; sleep 0.02 || exit 137; echo {number}", {}, text, 0),
            (f"{note}; seq {number} {number + 20_000} || exit 137", {}, lines, 0),
            (f"{note}; cat || exit 137", {"stdin": text * 3}, text * 3, 0),
            (f"{note}; cat || exit 137", {"stdin": _pieces(text, 100)}, text * 100, 0),
        ][number % 6]

    async def one(self, node: warmshell.Location) -> None:
        """Run the next command, and note what comes of it."""
        number, (what, options, output, status) = self.ask()
        self.outcomes[number] = "never answered"
        try:
            async with asyncio.timeout(_PATIENCE):
                result = await node.run(what, **options)
        except ShellLost as lost:
            self.outcomes[number] = lost.started
            self.said[number] = repr(lost)
        except ConnectError as lost:
            self.outcomes[number] = "no"
            self.said[number] = repr(lost)
        else:
            is_killed = result.returncode == _KILLED
            self.outcomes[number] = "killed" if is_killed else "done"
            if not is_killed and (result.stdout, result.returncode) != (output, status):
                self.wrong.append(f"{number}: {result.returncode} {result.stdout[:100]!r} {result.stderr[:100]!r}")

    def count(self, *outcomes: str) -> int:
        return sum(outcome in outcomes for outcome in self.outcomes.values())

    def check(self, killed: int) -> None:
        """Whether nothing ran twice, nothing is lost in silence, and every result is exact.

        Args:
            killed: how many processes of commands were killed.
        """
        ran = collections.Counter(map(int, self.ledger.read_text().split()))
        assert not self.wrong, self.wrong[:5]
        assert not self.count("never answered")
        twice = [number for number, times in ran.items() if times > 1]
        assert not twice, [(number, self.outcomes.get(number)) for number in twice]
        assert set(ran) <= set(self.outcomes)
        lost = [number for number, outcome in self.outcomes.items() if outcome == "done" and not ran[number]]
        assert not lost, lost
        denied = [number for number, outcome in self.outcomes.items() if outcome == "no" and ran[number]]
        assert not denied, [(number, self.said[number]) for number in denied]
        assert self.count("killed") <= killed, killed
        assert self.count("done") > len(self.outcomes) / 2


async def _pieces(text: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield text


class Victims:
    """What of a location can be killed.

    Args:
        lab: where it leads.
        host: the host's name there.
        node: the location.
    """

    def __init__(self, lab: Lab, host: str, node: warmshell.Location) -> None:
        self.lab = lab
        self.host = host
        self.node = node

    def connection(self) -> list[int]:
        """Its servers at the host, one for each connection."""
        return self.lab.connections(self.host)

    def server(self) -> list[int]:
        """The session server."""
        session = self.node.place._session
        return [] if session is None or not session.facts else [session.facts["pid"]]

    def guard(self) -> list[int]:
        """The session server's guard."""
        return [parent for pid in self.server() for parent in [_parent(pid)] if parent > 1]

    def keeper(self) -> list[int]:
        """What looks after a host without Python."""
        keeper = self.node.place._keeper
        return [] if keeper is None else [keeper._process._channel.pid]

    def process(self) -> list[int]:
        """Shells, forks of shells, and programs that commands run."""
        return [pid for pid in self.lab.sessions() if b"\0WARMSHELL_COMMAND=" in b"\0" + _read(pid, "environ")]

    def client(self) -> list[int]:
        """The ssh clients here that carry a session each."""
        return self._near(b"\0ControlMaster=no\0")

    def master(self) -> list[int]:
        """The ssh clients here that hold the connections."""
        return self._near(b"\0ControlMaster=yes\0")

    def _near(self, word: bytes) -> list[int]:
        return [pid for pid in children(os.getpid()) if word in _read(pid, "cmdline")]


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


Fault = Callable[[], Awaitable[bool]]
"""Does its harm; whether there was something to do it to."""


class Storm:
    """Workers that run commands, and faults among them.

    Args:
        node: the location.
        account: where every command is noted.
        chance: what decides.
        workers: how many commands at once.
    """

    def __init__(self, node: warmshell.Location, account: Account, chance: random.Random, workers: int = 4) -> None:
        self.node = node
        self.account = account
        self.chance = chance
        self.workers = workers
        self.done: collections.Counter[str] = collections.Counter()
        self._enough = False

    def kill(self, victims: Callable[[], list[int]]) -> Fault:
        """A fault that kills one of these."""

        async def fault() -> bool:
            found = victims()
            if not found:
                return False
            try:
                os.kill(self.chance.choice(found), signal.SIGKILL)
            except ProcessLookupError:
                return False
            return True

        return fault

    async def blow(self, faults: dict[str, Fault], count: int) -> None:
        """Run commands until so many faults have come among them, and once more after the last."""
        workers = [asyncio.create_task(self._work()) for _ in range(self.workers)]
        try:
            while sum(self.done.values()) < count:
                await self._pause()
                name = self.chance.choice(list(faults))
                self.done[name] += await faults[name]()
        finally:
            self._enough = True
            await asyncio.gather(*workers)
        await self._calm()

    async def _work(self) -> None:
        while not self._enough:
            await self.account.one(self.node)

    async def _pause(self) -> None:
        """Now and then no longer than it takes to connect again, else until some commands have come through."""
        enough = self.account.count("done") + self.chance.choice([0, 0, 1, 3, 10])
        await asyncio.sleep(self.chance.random() * 0.05)  # to come at a moment that nobody chose
        while self.account.count("done") < enough:
            await asyncio.sleep(0.002)

    async def _calm(self) -> None:
        """After the last fault commands have their results again, though a loss may be noticed only by the first."""
        for _ in range(20):
            before = self.account.count("done")
            await self.account.one(self.node)
            if self.account.count("done") > before:
                return
        raise AssertionError("nothing runs after the last fault")
