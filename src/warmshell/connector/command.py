"""Any program that runs words inside of something, from a template: ``nsenter``, ``bwrap``, ``lxc exec``, ``wsl`` …"""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from warmshell.connector.base import Member
from warmshell.connector.options import Words
from warmshell.connector.wrapped import WrappedPlace
from warmshell.connector.wrapper import ConnectorWrapper, DeployOptions
from warmshell.errors import LocationError
from warmshell.protocol.quoting import quote, quote_all
from warmshell.shield import all_ended, shielded

_LOCATION, _WORDS, _LINE = b"{location}", b"{words}", b"{line}"
_PLACES = re.compile(re.escape(_LOCATION) + b"|" + re.escape(_LINE))


@dataclass(frozen=True, kw_only=True)
class CommandOptions(DeployOptions):
    """A program that runs words inside of something.

    Attributes:
        exec: its words, as a list or as one text; ``{location}`` in them is the location's name, ``{words}`` the words
            to run (at the end by default), ``{line}`` the same as one line of shell text
        deploy: words or a script that bring it up, at the location around; with ``{location}`` once for each
        undeploy: the same to take it down
        locations: the names of its locations, or a script that prints them, a line each; by default there is one in
            each location around, with its name, or with that of the deployment where there is only one
    """

    exec: Words
    deploy: Words | None = None
    undeploy: Words | None = None
    locations: Words | None = None


class Template:
    """The words of a program, with places for what it is to run.

    Args:
        given: the words, or one text.
        what: what they are, for errors.

    Raises:
        LocationError: there are no words, or a quote is not closed.
    """

    def __init__(self, given: str | Sequence[str], what: str) -> None:
        try:
            words = shlex.split(given) if isinstance(given, str) else list(given)
        except ValueError as error:
            raise LocationError(f"{what}: {given!r} cannot be split into words: {error}") from None
        if not words or not words[0] or any("\0" in word for word in words):
            raise LocationError(f"{what}: the words of a program are asked for, not {given!r}")
        self._words = [os.fsencode(word) for word in words]
        if not any(_WORDS in word or _LINE in word for word in self._words):
            self._words.append(_WORDS)
        for word in self._words:
            if _WORDS in word and word != _WORDS:
                raise LocationError(f"{what}: {{words}} is a word by itself", hint="inside of a word write {line}")

    def wrap(self, location: str) -> Callable[[Sequence[bytes]], list[bytes]]:
        """What makes the words that run others at a location."""
        name = os.fsencode(location)

        def filled(word: bytes, inside: Sequence[bytes]) -> bytes:  # in one go: neither is looked for in the other
            return _PLACES.sub(lambda at: name if at[0] == _LOCATION else quote_all(list(inside)), word)

        def words(inside: Sequence[bytes]) -> list[bytes]:
            made: list[bytes] = []
            for word in self._words:
                if word == _WORDS:
                    made += inside
                else:
                    made.append(filled(word, inside))
            return made

        return words


class CommandConnector(ConnectorWrapper[CommandOptions]):
    """Locations that a program leads into.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        **options: those of :class:`CommandOptions` and of :class:`~warmshell.connector.wrapper.ConnectorWrapper`;
            the connector is the one at whose locations the program is.

    Raises:
        LocationError: a template that is none.
    """

    config: ClassVar[type[Any]] = CommandOptions

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **options)
        self._template = Template(self.options.exec, "exec")
        self._down: list[tuple[Member, str]] = []

    # -- life -------------------------------------------------------------------------------------------------------

    async def bring_up(self, external: bool) -> None:
        await super().bring_up(external)
        if external:
            return
        deploy, undeploy = self.options.deploy, self.options.undeploy
        self._down = [] if undeploy is None else await self._errands(undeploy)
        errands = [] if deploy is None else await self._errands(deploy)
        begun: list[tuple[Member, str]] = []
        try:
            for member, name in errands:
                begun.append((member, name))
                await self._act(member, name, deploy or [], "deploy")
        except BaseException:
            if self._down == errands:  # one for one
                self._down = begun
            await shielded(self._undo())
            raise

    async def take_down(self, external: bool) -> None:
        try:
            await self._undo()
        finally:
            await super().take_down(external)

    async def _undo(self) -> None:
        down, self._down = self._down, []
        undeploy = self.options.undeploy or []
        await all_ended([self._act(member, name, undeploy, "undeploy") for member, name in reversed(down)])

    async def _errands(self, what: Words) -> list[tuple[Member, str]]:
        """Where something is to be run, and for which location."""
        text = what if isinstance(what, str) else " ".join(what)
        names = self.options.locations
        if _LOCATION.decode() in text and names is not None and not isinstance(names, str):
            member = await self.one_around()
            return [(member, name) for name in names]
        return self._in_each(await self.around())

    def _in_each(self, members: Sequence[Member]) -> list[tuple[Member, str]]:
        """The locations that there are if none are named: one in each."""
        alone = self.deployment_name if len(members) == 1 else None
        return [(member, alone or member.name) for member in members]

    async def _act(self, member: Member, name: str, what: Words, doing: str) -> None:
        place = _LOCATION.decode()
        if isinstance(what, str):
            made: Words = what.replace(place, quote(os.fsencode(name)).decode("utf-8", "surrogateescape"))
        else:
            made = [word.replace(place, name) for word in what]
        await self.act(member, made, doing, self.options.deployTimeout)

    # -- locations --------------------------------------------------------------------------------------------------

    async def places(self, service: str | None = None) -> Sequence[Member]:
        if service is not None:
            raise LocationError(f"{self.deployment_name}: there is no service {service!r}: a command has none")
        names = self.options.locations
        if names is None:
            return [self._member(name, member) for member, name in self._in_each(await self.around())]
        around = await self.one_around()
        if isinstance(names, str):
            result = await self.act(around, names, "locations", self.options.deployTimeout)
            names = [line.strip() for line in result.text.splitlines() if line.strip()]
        return [self._member(name, around) for name in _unique(names, self.deployment_name)]

    def _member(self, name: str, around: Member) -> Member:
        return Member(
            name, functools.partial(self._place, name, around.name), hostname=around.hostname,
            wraps=self.seen(around), local=False,
        )  # fmt: skip

    def _place(self, name: str, around: str) -> WrappedPlace:
        return self.inside(name, around, self._template.wrap(name))


def _unique(names: Iterable[str], deployment: str) -> list[str]:
    found: list[str] = []
    for name in names:
        if not name or "\0" in name:
            raise LocationError(f"{deployment}: not the name of a location: {name!r}")
        if name in found:
            raise LocationError(f"{deployment}: the location {name!r} is named twice")
        found.append(name)
    return found
