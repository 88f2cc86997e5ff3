"""Ending processes with all their descendants, in threads, so that the loop goes on meanwhile."""

from __future__ import annotations

from warmshell.guardian import tree
from warmshell.server.work import in_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmshell.guardian.processes import Process
    from warmshell.server.children import Child, Children
    from warmshell.server.loop import Loop

    Target = tuple[int, int]


_ROUNDS = 5
_PAUSE = 0.05


class Family(tree.Selection):
    """Processes and all that ever descended from one of them, as far as any look has seen.

    When a shell ends before its children do, they get another parent: what was seen once stays meant.
    """

    __slots__ = ()

    def scan(self, table: dict[int, Process], until: float = float("inf")) -> tuple[set[Target], bool]:
        """What is meant and alive now."""
        found, complete = super().scan(table, until)
        self.roots |= found
        return found, complete


class Killer:
    """Ends what shells have started.

    Args:
        loop: the event loop.
        children: the processes of this server.
    """

    def __init__(self, loop: Loop, children: Children) -> None:
        self._loop = loop
        self._children = children
        self._spared: list[bytes] = []

    def spare(self, tag: bytes) -> bytes:
        """Have what carries this tag outlive what has started it, as long as the session lasts; returns the tag."""
        if not self._spared:
            self._spared.append(tree.COMMAND_VARIABLE + b"=" + tag)
        return tag

    def end_shell(self, child: Child, tag: bytes, grace: float, then: Callable[[], None]) -> None:
        """End a shell and everything below it: TERM, grace, KILL.

        Args:
            child: the shell.
            tag: begins what marks everything it has started.
            grace: seconds between TERM and KILL.
            then: called when all is over.
        """
        roots = [(child.pid, child.started)] if child.code is None else []
        family = Family(roots, self._tags(tag), [child.pid] if roots else [], include_roots=True)
        self._run(family, grace, then)

    def end_family(self, child: Child, tag: bytes, grace: float, then: Callable[[], None]) -> None:
        """End a process that adopts nobody, and everything that it has started or left behind."""
        roots = [(child.pid, child.started)] if child.code is None else []
        family = Family(roots, _both(tag), [child.pid] if roots else [], include_roots=True)
        self._run(family, grace, then)

    def end_left(self, tag: bytes, grace: float, then: Callable[[], None]) -> None:
        """End what a shell that is gone has left behind."""
        self._children.reap()
        strays = self._children.strays()
        if strays is None:
            self._run(Family([], self._tags(tag), include_roots=True), grace, then)
        elif strays:
            in_thread(self._loop, lambda: self._end_strays(strays, grace), lambda _: then())
        else:
            then()

    def _end_strays(self, strays: list[Target], grace: float) -> None:
        meant = [(pid, started) for pid, started in strays if not tree.has_tag(pid, self._spared)]
        tree.end(Family(meant, include_roots=True), grace)

    def end_session(self, token: bytes, grace: float, then: Callable[[], None], rounds: int = _ROUNDS) -> None:
        """End everything that carries the session's token, and whatever else has become this process's child.

        Args:
            token: the session's.
            grace: seconds between TERM and KILL.
            then: called when nothing is left, or after so many looks.
            rounds: how many looks: something may have been in the middle of starting.
        """

        def again() -> None:
            self._children.reap()
            if rounds > 1 and self._children.strays() != []:
                self._loop.call_later(_PAUSE, self.end_session, token, grace, then, rounds - 1)
            else:
                then()

        strays = self._children.strays() or []
        self._run(Family(strays, _both(token), include_roots=True), grace, again)

    def end_tagged(self, tag: bytes, grace: float, then: Callable[[], None]) -> None:
        """End everything that carries a tag, whoever started it."""
        self._run(Family([], _both(tag), include_roots=True), grace, then)

    @staticmethod
    def signal(child: Child, number: int, *, shell: bool, idle: bool) -> int:
        """Send a signal to what a shell has started; to be called in a thread.

        Args:
            child: the shell.
            number: the signal.
            shell: whether the shell itself is meant too.
            idle: whether it executes nothing: what there is then runs in the background.

        Returns:
            How many processes got it.
        """
        targets = tree.find([(child.pid, child.started)], include_roots=shell and not idle)
        return sum([tree.send(pid, started, number) for pid, started in sorted(targets)])

    def _tags(self, tag: bytes) -> list[bytes]:
        """Environments are read only where descent does not tell everything."""
        return [] if self._children.adopts else _both(tag)

    def _run(self, family: Family, grace: float, then: Callable[[], None]) -> None:
        in_thread(self._loop, lambda: tree.end(family, grace), lambda _: then())


def _both(tag: bytes) -> list[bytes]:
    return [tree.COMMAND_VARIABLE + b"=" + tag, tree.SESSION_VARIABLE + b"=" + tag]
