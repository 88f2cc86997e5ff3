"""Instances of Apptainer or Singularity, by their command line, at any location where that is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from warmshell.command import Command
from warmshell.connector.base import Member
from warmshell.connector.kept import Kept, KeptConnector, greeted
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
from warmshell.errors import ConnectError, LocationError, WarmshellError

if TYPE_CHECKING:
    from warmshell.location import Location
    from warmshell.process import Process

_END_SECONDS = 10.0  # for an instance that is killed
_HURRY_SECONDS = 2.0  # for one that is being started; it may be fetching its image, which is broken off
_ASK_SECONDS = 60.0


class SingularityConnector(KeptConnector[SingularityOptions]):
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
    kind: ClassVar[str] = "instance"
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

    # -- life -------------------------------------------------------------------------------------------------------

    def running(self, external: bool) -> Sequence[str] | None:
        if self.options.instances is not None:
            return self.options.instances
        if external and self.options.instanceName is not None:
            return [self.options.instanceName]
        if external:
            raise LocationError(f"{self.deployment_name}: an external deployment names its instances")
        return None

    async def prepare(self, location: Location) -> None:
        self._program = self.options.program or await self._which(location)

    def held(self) -> dict[str, Any]:
        if not self.started:
            return {}
        return {"image": None, "instances": [each.name for each in self.started], "program": self._program}

    async def _which(self, location: Location) -> str:
        found = await location.run(" || ".join(f"command -v {name}" for name in self.programs), timeout=_ASK_SECONDS)
        if not found.ok:
            raise ConnectError(
                f"there is neither {' nor '.join(self.programs)} at {location.name}", location=self.deployment_name,
                hint="install one, or say where it is: program",
            )  # fmt: skip
        return os.path.basename(found.text.strip())

    def names(self) -> list[str]:
        name = self.options.instanceName or f"warm-{this_client('.', short=True)}-{secrets.token_hex(4)}"
        return self.numbered(name)

    def _image(self) -> str:
        """The image's name; on this machine a relative one begins where the deployment's file is."""
        image = self.options.image or ""
        if self._own is None or "://" in image or image.startswith("docker-daemon:"):
            return image
        return os.path.join(self.config_dir or "", os.path.expanduser(image))

    async def launch(self, location: Location, name: str) -> None:
        if self.options.instanceName is not None and name in await self._listed(location):
            raise ConnectError(
                f"an instance {name!r} runs already", location=self.deployment_name,
                hint="give another instanceName, or none; external: true uses the one that runs",
            )  # fmt: skip
        hello = secrets.token_hex(8)
        words = start_words(self.options, self._program, self._image(), name, hello)
        guard = await location.place.open(Command(words, env=environment(self.options, self._program)))
        instance = self.keep(name, guard)
        if not await greeted(guard, hello):
            raise await self._not_started(guard, words)
        instance.runs = True

    async def _not_started(self, guard: Process, words: Sequence[str]) -> ConnectError:
        status = await guard.wait()
        await guard.stderr.settled()
        said = complaint(guard.stderr.rest())
        return ConnectError(
            f"no instance could be started (status {status}): {said or 'without a word'}",
            command=" ".join(words[10:18]) + " …", location=self.deployment_name, hint=_hint(said),
        )  # fmt: skip

    async def end(self, kept: Kept) -> None:
        """Its guard asks what it runs to end, and kills what is left then; at once, if it has not been asked."""
        guard = kept.process
        try:
            with contextlib.suppress(WarmshellError, OSError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS + _END_SECONDS if kept.runs else _HURRY_SECONDS):
                    if kept.runs:
                        await guard.stdin.send(b"end\n")
                    await guard.stdin.aclose()
                    await guard.wait()
        finally:
            await guard.aclose()

    # -- what there is ----------------------------------------------------------------------------------------------

    async def _listed(self, location: Location) -> list[str]:
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

    async def check_running(self, location: Location, name: str) -> None:
        if name not in await self._listed(location):
            raise ConnectError(f"there is no instance {name!r}", location=self.deployment_name,
                               hint=f"`{self._program} instance list` lists those of this account")  # fmt: skip

    async def sweep(self, location: Location) -> None:
        """End what clients of this machine that have ended left behind, because their guards were lost too."""
        dead = [name for name in await self._listed(location) if is_dead(_owner(name), ".")]
        for name in dead:
            await location.run([self._program, "instance", "stop", "--force", name], timeout=_ASK_SECONDS)

    def place(self, name: str, around: str) -> WrappedPlace:
        wrap = exec_wrap(self.options, self._program, f"instance://{name}", running=True)
        return self.inside(name, around, wrap, env=environment(self.options, self._program))

    def hostname(self, name: str, around: Member) -> str | None:
        del name
        return self.options.hostname or around.hostname


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
