"""This machine as a place that runs processes: starting them marked, and ending them with all their descendants."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence

from warmshell.child import Child
from warmshell.guardian import tree
from warmshell.guardian.client import acquire, release
from warmshell.protocol.dialect import is_shadowed

COMMAND = tree.COMMAND_VARIABLE
SESSION = tree.SESSION_VARIABLE

_KILL_SECONDS = 2.0
_NUMBERS = itertools.count(1)


def _misleads(variable: bytes) -> bool:
    """Whether bash would take options from the variable (``set -e`` for all it runs), or a function over a builtin."""
    if variable.startswith(b"BASH_FUNC_"):
        return is_shadowed(variable[len(b"BASH_FUNC_") :].partition(b"%")[0])
    return variable in (b"SHELLOPTS", b"BASHOPTS")


def clean_environment(env: Mapping[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """An environment (this process's own) without what misleads shells."""
    return {name: value for name, value in (os.environb if env is None else env).items() if not _misleads(name)}


class LocalHost:
    """Starts and ends processes for one location of this machine, under the eyes of the guardian.

    Attributes:
        token: the beginning of every tag that it gives.
        cwd: the directory in which processes start.
    """

    def __init__(self, env: Mapping[bytes, bytes] | None = None, cwd: bytes | None = None) -> None:
        self.cwd = os.getcwdb() if cwd is None else cwd
        self._guardian = acquire()
        self._env = clean_environment(env)
        self._count = 0
        self.token = b"%s.%d" % (self._guardian.token.encode(), next(_NUMBERS))

    def new_token(self) -> bytes:
        """A token for one lane or process, which no other's token begins with."""
        self._count += 1
        return b"%s.%d" % (self.token, self._count)

    def spawn(
        self,
        argv: Sequence[bytes],
        token: bytes,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: Mapping[bytes, bytes] | None = None,
        blank: bool = False,
        cwd: bytes | None = None,
    ) -> Child:
        """Start a program in a session of its own.

        Args:
            argv: its words.
            token: what the variables that mark it hold.
            stdin: the descriptor that it reads.
            stdout: the descriptor that it writes.
            stderr: the descriptor for its messages.
            env: variables to add.
            blank: whether nothing but ``env`` is in its environment.
            cwd: where it starts; relative to the host's own directory.

        Raises:
            OSError: it cannot be started.
        """
        environment = {} if blank else dict(self._env)
        environment.update(env or {})
        environment[SESSION] = self.token
        environment[COMMAND] = token + b".0"
        where = self.cwd if cwd is None else os.path.join(self.cwd, cwd)
        child = Child(argv, env=environment, cwd=where, stdin=stdin, stdout=stdout, stderr=stderr)
        self._guardian.add_session(child.pid)
        return child

    async def end(
        self,
        children: Iterable[Child],
        tags: Iterable[bytes],
        *,
        sids: Iterable[int] = (),
        grace: float = 1.0,
    ) -> set[tuple[int, int]]:
        """End children, what carries a tag (or a longer one), sessions, and all descendants: TERM, grace, KILL.

        Where this process has no descriptor left, only the children and their process groups, by KILL; what hid from
        that ends with the host.

        Returns:
            Those (pid, start time) that this user may not signal, or that not even SIGKILL ended.
        """
        children = list(children)
        roots = [(child.pid, child.started) for child in children if child.poll() is None]
        select = tree.Selection(roots, [COMMAND + b"=" + tag for tag in tags], sids, include_roots=True)
        try:
            return await asyncio.to_thread(tree.end, select, grace)
        except RuntimeError:  # no thread is to be had
            return tree.end(select, 0.0)
        except OSError:  # no descriptor is left to look for processes with
            for child in children:
                child.kill_group()
            return set()

    async def end_as(self, become: Sequence[bytes], targets: set[tuple[int, int]], grace: float) -> None:
        """End processes of another user, through the program that started them as that user.

        Args:
            become: the words before a command that runs as the user.
            targets: the processes (pid, start time).
            grace: seconds between TERM and KILL.
        """
        for name, seconds in ((b"-TERM", grace), (b"-KILL", _KILL_SECONDS)):
            alive = [pid for pid, started in targets if tree.is_alive(pid, started)]
            if not alive:
                return
            words = [*become, b"sh", b"-c", b'for p; do kill %s "$p"; kill -CONT "$p"; done 2>/dev/null' % name, b"sh"]
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            try:
                child = self.spawn(
                    [*words, *[b"%d" % pid for pid in alive]], self.new_token(),
                    stdin=nothing, stdout=nothing, stderr=nothing,
                )  # fmt: skip
            finally:
                os.close(nothing)
            await child.wait()
            self.forget(child)
            await asyncio.to_thread(tree.wait, targets, seconds)

    def add_directory(self, path: str) -> None:
        """Have a private directory removed, should this process be gone before it does so itself."""
        self._guardian.add_directory(path)

    def remove_directory(self, path: str) -> None:
        """The directory has been removed."""
        self._guardian.remove_directory(path)

    def forget(self, child: Child) -> None:
        """The child has ended, and its session with it."""
        self._guardian.remove_session(child.pid)

    async def aclose(self) -> None:
        """End everything that commands left behind; the last host of this process lets the guardian go."""
        await self.end([], [self.token], grace=0.5)
        await release(self._guardian)
