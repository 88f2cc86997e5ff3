"""Instances of Apptainer or Singularity, by their command line, at any location where that is."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from warmshell.command import Command
from warmshell.connector.base import Member
from warmshell.connector.owner import is_dead, this_client
from warmshell.connector.singularity_words import (
    STOP_SECONDS,
    SingularityOptions,
    complaint,
    environment,
    exec_wrap,
    start_words,
)
from warmshell.connector.wrapped import WrappedPlace
from warmshell.connector.wrapper import ConnectorWrapper
from warmshell.errors import ConnectError, LocationError, WarmshellError
from warmshell.shield import shielded

if TYPE_CHECKING:
    from warmshell.location import Location
    from warmshell.process import Process

_END_SECONDS = 10.0  # for an instance that is killed
_HURRY_SECONDS = 2.0  # for one that is being started; it may be fetching its image, which is broken off
_ASK_SECONDS = 60.0


class Instance:
    """One that this client starts.

    Args:
        name: what it is called.
        guard: the process that stays with it.

    Attributes:
        runs: whether it has been seen running.
    """

    def __init__(self, name: str, guard: Process) -> None:
        self.name = name
        self.guard = guard
        self.runs = False


class SingularityConnector(ConnectorWrapper[SingularityOptions]):
    """Instances that are started from an image, or that run already.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that the relative name of an image on this machine begins from.
        **options: those of :class:`~warmshell.connector.singularity_words.SingularityOptions` and of
            :class:`~warmshell.connector.wrapper.ConnectorWrapper`; the connector is the one at whose location the
            program is.

    Raises:
        LocationError: neither an image nor instances are given, or both; or a variable without a value.

    Attributes:
        programs: the names that the program is looked for by, in this order.
    """

    config: ClassVar[type[Any]] = SingularityOptions
    programs: ClassVar[tuple[str, ...]] = ("singularity", "apptainer")

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **options)
        given = self.options
        if given.instances is not None and given.image is not None:
            raise LocationError(f"{deployment_name}: give either image, to start instances from, or instances")
        if given.instances is None and given.image is None and given.instanceName is None:
            raise LocationError(
                f"{deployment_name}: give image, to start instances from, or instances, which run already"
            )
        environment(given, "")
        self._program = given.program or self.programs[0]
        self._started: list[Instance] = []
        self._found: list[str] = []

    # -- life -------------------------------------------------------------------------------------------------------

    async def bring_up(self, external: bool) -> None:
        await super().bring_up(external)
        location = await self.connector.location(await self.one_around())
        self._program = self.options.program or await self._which(location)
        named = [self.options.instanceName] if external and self.options.instanceName is not None else None
        running = self.options.instances or named
        if running is not None:
            for name in running:
                await self._check_running(location, name)
            self._found = list(running)
            return
        if external:
            raise LocationError(f"{self.deployment_name}: an external deployment names its instances")
        await self._sweep(location)
        try:
            async with asyncio.timeout(self.options.deployTimeout):
                await asyncio.gather(*[self._launch(location, name) for name in self._names()])
        except TimeoutError:
            await shielded(self._end_all())
            raise ConnectError(
                f"the instances did not start within {self.options.deployTimeout:g} s", location=self.deployment_name
            ) from None
        except BaseException:
            await shielded(self._end_all())
            raise

    async def take_down(self, external: bool) -> None:
        self._found = []
        try:
            await self._end_all()
        finally:
            await super().take_down(external)

    def held(self) -> dict[str, Any]:
        if not self._started:
            return {}
        return {"image": None, "instances": [each.name for each in self._started], "program": self._program}

    async def _which(self, location: Location) -> str:
        found = await location.run(" || ".join(f"command -v {name}" for name in self.programs), timeout=_ASK_SECONDS)
        if not found.ok:
            raise ConnectError(
                f"there is neither {' nor '.join(self.programs)} at {location.name}", location=self.deployment_name,
                hint="install one, or say where it is: program",
            )  # fmt: skip
        return os.path.basename(found.text.strip())

    def _names(self) -> list[str]:
        options = self.options
        name = options.instanceName or f"warm-{this_client('.', short=True)}-{secrets.token_hex(4)}"
        return [name] if options.count == 1 else [f"{name}-{number}" for number in range(1, options.count + 1)]

    def _image(self) -> str:
        """The image's name; on this machine a relative one begins where the deployment's file is."""
        image = self.options.image or ""
        if self._own is None or "://" in image or image.startswith("docker-daemon:"):
            return image
        return os.path.join(self.config_dir or "", os.path.expanduser(image))

    async def _launch(self, location: Location, name: str) -> None:
        if self.options.instanceName is not None and name in await self._running(location):
            raise ConnectError(
                f"an instance {name!r} runs already", location=self.deployment_name,
                hint="give another instanceName, or none; external: true uses the one that runs",
            )  # fmt: skip
        hello = secrets.token_hex(8)
        words = start_words(self.options, self._program, self._image(), name, hello)
        guard = await location.place.open(Command(words, env=environment(self.options, self._program)))
        instance = Instance(name, guard)
        self._started.append(instance)
        said = b""
        while hello.encode() not in said:
            data = await guard.stdout.receive()
            if not data:
                raise await self._not_started(guard, words)
            said = (said + data)[-2 * len(hello) :]
        instance.runs = True

    async def _not_started(self, guard: Process, words: Sequence[str]) -> ConnectError:
        status = await guard.wait()
        await guard.stderr.settled()
        said = complaint(guard.stderr.rest())
        return ConnectError(
            f"no instance could be started (status {status}): {said or 'without a word'}",
            command=" ".join(words[10:18]) + " …", location=self.deployment_name, hint=_hint(said),
        )  # fmt: skip

    async def _end_all(self) -> None:
        started, self._started = self._started, []
        outcomes = await asyncio.gather(*[self._end(instance) for instance in started], return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _end(self, instance: Instance) -> None:
        """Its guard asks what it runs to end, and kills what is left then; at once, if it has not been asked."""
        guard = instance.guard
        try:
            with contextlib.suppress(WarmshellError, OSError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS + _END_SECONDS if instance.runs else _HURRY_SECONDS):
                    if instance.runs:
                        await guard.stdin.send(b"end\n")
                    await guard.stdin.aclose()
                    await guard.wait()
        finally:
            await guard.aclose()

    # -- what there is ----------------------------------------------------------------------------------------------

    async def _running(self, location: Location) -> list[str]:
        """The names of this account's instances there."""
        words = [self._program, "--quiet", "instance", "list", "--json"]
        listed = await location.run(words, timeout=_ASK_SECONDS)
        names = _names_in(listed.text) if listed.ok else None
        if names is None:
            said = complaint(listed.stderr or listed.stdout)
            raise ConnectError(
                f"{self._program} does not tell its instances: {said or 'without a word'}",
                location=self.deployment_name, hint=_hint(said),
            )  # fmt: skip
        return names

    async def _check_running(self, location: Location, name: str) -> None:
        if name not in await self._running(location):
            raise ConnectError(f"there is no instance {name!r}", location=self.deployment_name,
                               hint=f"`{self._program} instance list` lists those of this account")  # fmt: skip

    async def _sweep(self, location: Location) -> None:
        """End what clients of this machine that have ended left behind, because their guards were lost too."""
        dead = [name for name in await self._running(location) if is_dead(_owner(name), ".")]
        for name in dead:
            await location.run([self._program, "instance", "stop", "--force", name], timeout=_ASK_SECONDS)

    # -- locations --------------------------------------------------------------------------------------------------

    async def places(self, service: str | None = None) -> Sequence[Member]:
        if service is not None:
            raise LocationError(f"{self.deployment_name}: there is no service {service!r}: an instance has none")
        around = await self.one_around()
        names = self._found or [instance.name for instance in self._started]
        return [
            Member(
                name, functools.partial(self._place, name, around.name),
                hostname=self.options.hostname or around.hostname, wraps=self.seen(around),
            )
            for name in names
        ]  # fmt: skip

    def _place(self, name: str, around: str) -> WrappedPlace:
        wrap = exec_wrap(self.options, self._program, f"instance://{name}", running=True)
        return self.inside(name, around, wrap, env=environment(self.options, self._program))


class ApptainerConnector(SingularityConnector):
    """The same, by ``apptainer`` where both are there.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that the relative name of an image on this machine begins from.
        **options: those of :class:`SingularityConnector`.
    """

    programs: ClassVar[tuple[str, ...]] = ("apptainer", "singularity")


def _names_in(listed: str) -> list[str] | None:
    """The names in a list of instances; ``None`` if it is none."""
    try:
        return [str(each["instance"]) for each in json.loads(listed)["instances"] or ()]
    except (ValueError, KeyError, TypeError):
        return None


def _owner(name: str) -> str:
    """Whose an instance is, from its name."""
    found = re.fullmatch(r"warm-(.+\.[0-9]+\.[0-9]+)-[0-9a-f]{8}(-[0-9]+)?", name)
    return found[1] if found is not None else ""


def _hint(said: str) -> str | None:
    """What to do about the commonest complaints."""
    low = said.lower()
    if "no such file" in low or ("could not open image" in low and "not recognized" not in low):
        return "check the image's name: it is a file or a directory of the location where the program is"
    if "superblock" in low or "not recognized" in low or "corrupt" in low:
        return "the file is damaged, or no image: fetch or build it again"
    if "already exists" in low:
        return "give another instanceName, or none"
    if "capability set" in low:
        return "root lacks a capability there: APPTAINER_DROP_CAPS names those to do without"
    if "user namespace" in low or "operation not permitted" in low:
        return "this account may not make user namespaces there, and the program is not installed with set-user-id"
    return None
