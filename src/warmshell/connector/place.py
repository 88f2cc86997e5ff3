"""What a backend of a location must be able to do: the small contract that everything else is written above."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from warmshell.errors import NotSupported

if TYPE_CHECKING:
    from warmshell.command import Command
    from warmshell.fileops.asked import Ask
    from warmshell.location import Location
    from warmshell.process import Process
    from warmshell.shell.lane import Lane
    from warmshell.shell.session import Session


class Place(ABC):
    """How to reach one location and how to start things there; everything else is written once above it.

    Attributes:
        name: the name of its location, for results and errors.
        address: the URL and the options that it was made from.
    """

    name: str
    address: tuple[str, dict[str, Any]] = ("", {})

    @property
    def itself(self) -> Place:
        """What reaches it in the end: another place, where this one is only a name for it."""
        return self

    async def surroundings(self) -> Location | None:
        """The location that this one is inside of, if it is inside of one: some of its files may be the same."""
        return None

    @property
    def framing(self) -> str:
        """How its shells tell commands apart: ``pipes``, ``markers`` or ``server``."""
        return "markers"

    @property
    def session(self) -> Session | None:
        """The session of the session server that its shells belong to, if it has one now."""
        return None

    @property
    def lanes(self) -> int | None:
        """How many warm shells it can have at once; ``None``: no fixed number."""
        return None

    async def reach(self) -> None:
        """Instead of :meth:`connect`, for :meth:`reopen` alone: start nothing that needs no starting.

        Raises:
            ConnectError: it cannot be reached.
        """
        await self.connect()

    async def reopen(self, line: bytes) -> Process:  # noqa: ARG002 - for places that can
        """A process of a shell there that runs this line, over whichever connection there is by then.

        Nothing ends it but the end of its streams; what it leaves behind on purpose is left alone.

        Raises:
            ConnectError: there is none to be had.
            NotSupported: no session can be left at such a place.
        """
        raise NotSupported("no session can be left there", location=self.name)

    @abstractmethod
    async def connect(self) -> None:
        """Reach it; called once, before anything else.

        Raises:
            ConnectError: it cannot be reached.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of it, and leave nothing behind; bounded, and right in whatever state it is."""

    @abstractmethod
    async def open(self, command: Command) -> Process:
        """Start one process of its own for a command.

        Raises:
            ProgramNotFound: the first word names no program.
            WorkdirError: its directory cannot be entered.
            ConnectError: the place cannot be reached, or starts no more processes.
        """

    async def open_bulk(self, command: Command) -> Process:
        """Start one process through whose streams much is to go, by the way that carries most; see :meth:`open`."""
        return await self.open(command)

    def words_to(self) -> list[str]:
        """The words that another location reaches this one with: they run the line of sh text that is put behind them.

        Raises:
            NotSupported: there are none.
        """
        raise NotSupported("no other location can reach it by itself", location=self.name, hint="leave out direct=")

    async def end_tagged(self, tag: str, session: int, grace: float) -> bool:  # noqa: ARG002 - for places that can
        """End what carries a tag and all that descends from it: TERM, grace, KILL; whoever started it, also inside.

        Args:
            tag: the beginning of the value that marks it.
            session: a session whose members are meant too; 0: none.
            grace: seconds between TERM and KILL.

        Returns:
            Whether there was anybody to ask.
        """
        return False

    @abstractmethod
    async def lane(self, shell: str, *, blank: bool = False) -> Lane:
        """Start one more warm shell.

        Args:
            shell: which: ``sh``, ``bash``, a path …
            blank: whether its environment is empty.

        Raises:
            ConnectError: it cannot be started.
        """

    def asking(self) -> Ask | None:
        """What answers requests about files (:mod:`warmshell.server.files`); ``None`` where only shells can be had."""
        return None

    @abstractmethod
    def room(self) -> int:
        """Bytes that the words of a command and the variables added for it may take: ``ARG_MAX`` less what is taken."""
