"""The connector contract: what manages one deployment and knows how to reach its locations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmshell.command import Command
    from warmshell.process import Process
    from warmshell.shell.lane import Lane


class Connector(ABC):
    """How to reach a place and how to start things there; everything else is written once above it.

    Attributes:
        name: the name of its location, for results and errors.
    """

    name: str

    @abstractmethod
    async def deploy(self, *, external: bool = False) -> None:
        """Make the place ready; an ``external`` one is only connected to.

        Raises:
            ConnectError: it cannot be reached.
        """

    @abstractmethod
    async def undeploy(self, *, external: bool = False) -> None:
        """Leave nothing behind; an ``external`` one is only disconnected from."""

    @abstractmethod
    async def open(self, command: Command) -> Process:
        """Start one process of its own for a command.

        Raises:
            ProgramNotFound: the first word names no program.
            WorkdirError: its directory cannot be entered.
            ConnectError: the place cannot be reached, or starts no more processes.
        """

    @abstractmethod
    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        """Start one more warm shell.

        Args:
            shell: which: ``sh``, ``bash``, a path …
            blank: whether its environment is empty.

        Raises:
            ConnectError: it cannot be started.
        """

    @abstractmethod
    def room(self) -> int:
        """Bytes that the words of a command and the variables added for it may take: ``ARG_MAX`` less what is taken."""
