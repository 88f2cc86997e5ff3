"""A place inside another one: everything is opened by a program of the other place, before whose words go its own."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from warmshell.command import Command
from warmshell.connector.far.channel import Channel, rest_of_line
from warmshell.connector.far.framing import hello_of, reader_text
from warmshell.connector.far.place import FarPlace
from warmshell.connector.local import LocalPlace
from warmshell.errors import ConnectError, ProgramNotFound, WarmshellError
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.connector.place import Place
    from warmshell.location import Location
    from warmshell.process import Process

CONNECT_TIMEOUT = 30.0
_SAID = 400  # bytes of a program's complaint that are passed on

Wrap = Callable[[Sequence[bytes]], list[bytes]]
"""Makes the words that run these words inside."""


class Around(Protocol):
    """The place that the program is run at."""

    async def enter(self) -> Place:
        """It, connected.

        Raises:
            ConnectError: it cannot be reached.
        """

    async def location(self) -> Location:
        """Its location, warm, until it is left."""

    async def leave(self) -> None:
        """It is not used any more."""


class Here:
    """This machine, for one wrapped place alone."""

    def __init__(self) -> None:
        self._location: Location | None = None

    async def location(self) -> Location:
        if self._location is None:
            from warmshell.location import Location

            location = Location(LocalPlace())
            self._location = await location.__aenter__()
        return self._location

    async def enter(self) -> Place:
        return (await self.location()).place

    async def leave(self) -> None:
        location, self._location = self._location, None
        if location is not None:
            await location.aclose()


class WrappedPlace(FarPlace):
    """One location that a program of another place leads into.

    Args:
        name: the name of its location.
        around: the place where the program is.
        wrap: makes the program's words.
        shell: the shell for isolated commands.
        server: whether to use the session server where there is a Python.
        cwd: where commands run by default.
        connect_timeout: seconds within which a shell inside has to answer.
        env: variables for the program.
    """

    def __init__(
        self, name: str, around: Around, wrap: Wrap, *, shell: str = "sh", server: bool = True, cwd: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT, env: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, shell=shell, server=server, cwd=cwd)
        self._around = around
        self._wrap = wrap
        self._connect_timeout = connect_timeout
        self._env = dict(env or {})
        self._inner: Place | None = None
        self._world = self._files = b""
        self._same_files: bool | None = None

    @property
    def reached(self) -> bool:
        return self._inner is not None

    async def reach(self) -> None:
        self._inner = await self._around.enter()

    async def leave(self) -> None:
        self._inner = None
        await self._around.leave()

    async def surroundings(self) -> Location | None:
        return await self._around.location() if self.reached else None

    # -- channels ---------------------------------------------------------------------------------------------------

    async def channel(self) -> Channel:
        self._check()
        assert self._inner is not None  # noqa: S101 - for the type checker
        token = secrets.token_hex(8)
        words = self._wrap([b"sh", b"-c", reader_text(token).encode()])
        try:
            process = await self._inner.open(Command(words, env=self._env or None))
        except ProgramNotFound as error:
            program = os.fsdecode(words[0])
            raise ConnectError(f"there is no program {program!r} at {self._inner.name}", location=self.name) from error
        channel = Channel(process, token)
        try:
            await self._greet(channel, words)
        except BaseException:
            await shielded(channel.aclose())
            raise
        return channel

    async def _greet(self, channel: Channel, words: Sequence[bytes]) -> None:
        program = os.fsdecode(words[0])
        try:
            async with asyncio.timeout(self._connect_timeout):
                hello = await rest_of_line(channel.process.stdout, hello_of(channel.token))
                if hello is None:
                    raise await _refused(channel.process, program, self.name)
        except TimeoutError:
            raise ConnectError(
                f"{program!r} starts no shell that answers within {self._connect_timeout:g} s", location=self.name
            ) from None
        channel.take_hello(hello)

    def controlled_by(self, channel: Channel) -> None:
        self._world, self._files = channel.world, channel.files
        self._same_files = None

    async def open_bulk(self, command: Command) -> Process:
        """On a channel of its own, unless each run of the program has files of its own."""
        if self._same_files is None and self.session is not None:
            channel = await self.channel()
            self._same_files = bool(self._files) and channel.files == self._files
            await channel.aclose()
        return await (super().open_bulk(command) if self._same_files else self.open(command))

    async def end_on(self, channel: Channel, tag: str, grace: float) -> bool:
        """End everything on a channel that carries a tag.

        Some programs (``bwrap``, ``unshare``) make a new PID namespace each time that they are run. What controls this
        place sees nothing of the others then; but the place around it does.
        """
        apart = bool(channel.world or self._world) and channel.world != self._world
        if not apart and await self._end_by_control(tag, channel.pid, grace) and channel.world:
            return True
        return self._inner is not None and await self._inner.end_tagged(tag, 0, grace)

    async def end_tagged(self, tag: str, session: int, grace: float) -> bool:
        ended = await self._end_by_control(tag, session, grace)
        around = self._inner is not None and await self._inner.end_tagged(tag, 0, grace)
        return ended or around


async def _refused(process: Process, program: str, location: str) -> ConnectError:
    """The error for a program that ended without having started a shell."""
    status: int | str
    try:
        status = await process.wait()
    except WarmshellError as error:
        return ConnectError(f"{program!r}: {error.message}", location=location)
    await process.stderr.settled()
    said = process.stderr.rest().decode("utf-8", "replace").strip()[-_SAID:]
    return ConnectError(f"{program!r} starts no shell (status {status})" + (f": {said}" if said else ""),
                        location=location)  # fmt: skip
