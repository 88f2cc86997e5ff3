"""A connector manages one deployment: its life cycle, its locations, and what is run, streamed and copied there.

It is written once, above :meth:`Connector.places`: a concrete connector says which locations there are and what reaches
each (a :class:`~warmshell.connector.place.Place`), and how the deployment is brought up and taken down.
"""

from __future__ import annotations

import asyncio
import logging
import os
from abc import ABC, abstractmethod
from asyncio.subprocess import STDOUT
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from warmshell.command import Word, Words, to_bytes
from warmshell.connector import available
from warmshell.connector.available import AvailableLocation
from warmshell.connector.job import Streams, job_command, run_job
from warmshell.connector.lifecycle import LifeCycle, State
from warmshell.connector.warm import Make, WarmLocations
from warmshell.errors import CommandTimeout, ConnectError, LocationError, ShellLost, WarmshellError
from warmshell.location import Location

if TYPE_CHECKING:
    from warmshell.command import Result
    from warmshell.shell.shell import Shell
    from warmshell.shell.shells import Limits
    from warmshell.transfer.options import Copied
    from warmshell.transfer.options import Where as Local
    from warmshell.transfer.streams import StreamReader, StreamWriter

_log = logging.getLogger(__name__)
_ASK_SECONDS = 30.0
TRANSFER_BUFFER = 64 * 1024
"""Bytes of one piece of a stream, unless a deployment says otherwise."""


class Named(Protocol):
    """Whatever has the name of a location: an :class:`AvailableLocation`, or the caller's own object."""

    @property
    def name(self) -> str:
        """The name that the deployment knows it by."""


Where = str | Named


@dataclass(frozen=True, slots=True)
class Member:
    """One location that a deployment has: what is known of it without asking it, and what reaches it.

    Attributes:
        name: its name in the deployment; no other has the same.
        place: makes what reaches it; called again for each new connection.
        hostname: the host it is on; what it calls itself by default.
        service: the service that it belongs to, or that was asked for.
        slots: how many commands it is meant to run at once; as many as it has cores by default.
        local: whether it is this machine.
        transfers: makes what reaches its files, where that is another way than for commands.
        wraps: the location that it is in.
    """

    name: str
    place: Make
    hostname: str | None = None
    service: str | None = None
    slots: int | None = None
    local: bool = False
    transfers: Make | None = None
    wraps: AvailableLocation | None = None


class Connector(ABC):
    """Manages one deployment with any number of locations.

    The methods have the names of StreamFlow's published interface, and exact semantics: a command is a list of words,
    which no shell sees as syntax, or a ``str``, a script. A location is given as its name, or as any object that has
    it. Used as an asynchronous context manager, a deployment that is not external.

    Args:
        deployment_name: the deployment's name, for messages.
        config_dir: the directory that relative names of files in its options begin from; the present one by default.
        transfer_buffer_size: bytes of one piece of a stream.
        shell: the shell for isolated commands.
        limits: how many warm shells a location has, and for how long.

    Attributes:
        shared_paths: directories in which all locations see the same files.
    """

    def __init__(
        self, deployment_name: str, config_dir: str | None = None, *, transfer_buffer_size: int = TRANSFER_BUFFER,
        shell: str = "sh", limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.deployment_name = deployment_name
        self.config_dir = config_dir
        self.transfer_buffer_size = transfer_buffer_size
        self.shared_paths: tuple[str, ...] = ()
        self._shell = shell
        self._limits = limits
        self._life = LifeCycle(deployment_name, self.bring_up, self._let_go)
        self._members: dict[str, Member] = {}
        self._warm = self._new_warm()
        self._warm_transfers = self._new_warm()
        self._shells: dict[tuple[str, tuple[Word, ...]], asyncio.Task[Shell]] = {}

    def _new_warm(self) -> WarmLocations:
        return WarmLocations(lambda place: Location(place, shell=self._shell, limits=self._limits))

    # -- what a connector of one kind says --------------------------------------------------------------------------

    @abstractmethod
    async def places(self, service: str | None = None) -> Sequence[Member]:
        """The locations that there are now.

        Args:
            service: only those of this service; what that means is up to the kind of deployment.

        Raises:
            LocationError: there is no such service.
        """

    async def bring_up(self, external: bool) -> None:
        """Create what is deployed; of an external deployment, only what is needed to reach it. Nothing, by default."""
        del external

    async def take_down(self, external: bool) -> None:
        """Undo :meth:`bring_up`, also if that has failed half-way. Locations have been closed by then."""
        del external

    def held(self) -> dict[str, Any]:
        """The options by which another process reaches, as an external deployment, what this one has deployed."""
        return {}

    def template(self, service: str | None) -> str | None:
        """The text that jobs of a service are put into, or ``None``."""
        del service
        return None

    # -- life cycle -------------------------------------------------------------------------------------------------

    async def deploy(self, external: bool = False) -> None:
        """Bring the deployment up, once, whoever asks and how many ask at once; nothing if it is up.

        Args:
            external: whether it is there already, so that it is only to be reached.

        Raises:
            WarmshellError: it cannot be deployed. Every caller who waits is told; a later attempt may succeed.
            ClosedError: it was undeployed meanwhile.
        """
        await self._life.deploy(external)

    async def undeploy(self, external: bool = False) -> None:
        """End everything that was started here, then take the deployment down, unless it is external.

        Within bounds, and not interrupted by a cancellation, which is raised afterwards. Also right after a deployment
        that failed, or while one is under way; nothing if there is nothing.
        """
        await self._life.undeploy(external)

    async def _let_go(self, external: bool) -> None:
        warm, self._warm = self._warm, self._new_warm()
        transfers, self._warm_transfers = self._warm_transfers, self._new_warm()
        shells, self._shells = self._shells, {}
        self._members = {}
        try:
            for task in shells.values():
                task.cancel()
            closed = await asyncio.gather(warm.aclose(), transfers.aclose(), return_exceptions=True)
            for error in closed:
                if error is not None:
                    _log.warning("%s: a location did not close: %s", self.deployment_name, error)
        finally:
            await self.take_down(external)

    async def __aenter__(self) -> Self:
        try:
            await self.deploy(external=False)
        except BaseException:
            await self.undeploy(external=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.undeploy(external=False)

    # -- locations --------------------------------------------------------------------------------------------------

    async def get_available_locations(
        self, service: str | None = None, input_directory: str | None = None, output_directory: str | None = None,
        tmp_directory: str | None = None,
    ) -> dict[str, AvailableLocation]:  # fmt: skip
        """The locations that can be used now, by name, and what each has to offer.

        One that cannot be reached is left out, and logged; it delays only the first call, as later ones try it again
        without waiting for it. :attr:`away` says why.

        Args:
            service: only the locations of this service.
            input_directory: a directory whose disk is asked for.
            output_directory: another one.
            tmp_directory: another one.

        Raises:
            ConnectError: none can be reached; it names each with its reason.
            LocationError: there is no such service.
        """
        self._life.check()
        members = await self._refresh(service)
        directories = [path for path in (input_directory, output_directory, tmp_directory) if path is not None]
        known = [m for m in members if m.name not in self._warm.away]
        for member in members:
            self._start(member)
        asked = known or members
        answers = await asyncio.gather(*[self._ask(m, directories) for m in asked], return_exceptions=True)
        found: dict[str, AvailableLocation] = {}
        problems: dict[str, WarmshellError] = {}
        for member, outcome in zip(asked, answers, strict=True):
            if isinstance(outcome, AvailableLocation):
                found[member.name] = outcome
            elif isinstance(outcome, WarmshellError):
                problems[member.name] = outcome
            else:
                raise outcome
        self._tell(problems, none=bool(members) and not found)
        return found

    def _tell(self, problems: Mapping[str, WarmshellError], *, none: bool) -> None:
        for name, error in problems.items():
            _log.warning("%s: %s is not available: %s", self.deployment_name, name, error)
        if not none:
            return
        if len(problems) == 1:
            raise next(iter(problems.values()))
        reasons = "; ".join(f"{name}: {error.message}" for name, error in problems.items())
        raise ConnectError(f"none of the locations can be reached: {reasons}", location=self.deployment_name)

    async def _refresh(self, service: str | None) -> Sequence[Member]:
        """Ask which locations there are, and let go of those that are no more."""
        members = await self.places(service)
        self._members.update({member.name: member for member in members})
        if service is None:
            gone = set(self._members).difference(member.name for member in members)
            for name in gone:
                del self._members[name]
                await asyncio.gather(self._warm.drop(name), self._warm_transfers.drop(name))
        return members

    def _start(self, member: Member) -> None:
        self._warm.start(member.name, member.place)

    async def _ask(self, member: Member, directories: Sequence[str]) -> AvailableLocation:
        location = await self._warm.get(member.name, member.place)
        try:
            result = await location.run(available.question(directories), timeout=_ASK_SECONDS)
        except CommandTimeout as error:
            raise ConnectError("it does not say what it offers", location=member.name) from error
        hardware = available.answer(result.text, directories)
        return AvailableLocation(
            name=member.name, deployment=self.deployment_name, hostname=member.hostname or hardware.hostname,
            service=member.service, cores=hardware.cores, memory=hardware.memory, disks=hardware.disks,
            slots=member.slots if member.slots is not None else max(1, int(hardware.cores)),
            local=member.local, wraps=member.wraps,
        )  # fmt: skip

    @property
    def state(self) -> State:
        """Where in its life the deployment is."""
        return self._life.state

    @property
    def connected(self) -> dict[str, Location]:
        """The locations that are warm now, by name."""
        return self._warm.ready

    @property
    def away(self) -> dict[str, WarmshellError]:
        """Why locations that were tried last without success could not be reached, by name."""
        return dict(self._warm.away)

    async def location(self, where: Where, *, transfers: bool = False) -> Location:
        """A location, warm: connected on first use, and closed when the deployment is undeployed.

        Args:
            where: its name, or what has it.
            transfers: whether it is for moving data, for which some deployments have another way in.

        Raises:
            LocationError: the deployment has none of this name.
            ConnectError: it cannot be reached, or the deployment is not deployed.
        """
        self._life.check()
        name = name_of(where)
        member = self._members.get(name)
        if member is None:
            await self._refresh(None)
            member = self._members.get(name)
        if member is None:
            raise LocationError(
                f"{self.deployment_name}: no location {name!r}", hint="it has " + ", ".join(self._members)
            )
        if transfers and member.transfers is not None:
            return await self._warm_transfers.get(name, member.transfers)
        return await self._warm.get(name, member.place)

    # -- running ----------------------------------------------------------------------------------------------------

    async def get_shell(self, command: Sequence[Word], location: Where) -> Shell:
        """A shell at a location whose state persists, the same one for all who ask for the same command.

        Commands run on it one after another. One that has ended is replaced when it is asked for again, never silently
        while it is in use. It is closed when the deployment is undeployed.

        Args:
            command: the shell's words (``["sh"]``, ``["bash"]``, ``["busybox", "sh"]``).
            location: where.
        """
        self._life.check()
        name = name_of(location)
        key = (name, tuple(command))
        task = self._shells.get(key)
        if task is not None and task.done() and (task.cancelled() or task.exception() or not task.result().alive):
            task = None
        if task is None:
            task = self._shells[key] = asyncio.ensure_future(self._open_shell(command, location))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([task])
        if task.cancelled():
            raise ShellLost("the deployment was undeployed", started="no", location=name)
        return task.result()

    async def _open_shell(self, command: Sequence[Word], where: Where) -> Shell:
        location = await self.location(where)
        shell = location.shell(" ".join(word if isinstance(word, str) else repr(word) for word in command))
        return await shell.__aenter__()

    async def run(
        self, location: Where, command: Words | str, environment: Mapping[str, str] | None = None,
        workdir: Word | None = None, stdin: Word | int | None = None, stdout: Word | int | None = None,
        stderr: Word | int | None = None, capture_output: bool = False, timeout: float | None = None,  # noqa: ASYNC109
        job_name: str | None = None,
    ) -> Result:  # fmt: skip
        """Run one command at a location, isolated.

        Args:
            location: where.
            command: words, or a script.
            environment: variables to add.
            workdir: the directory to run in.
            stdin: a file at the location that it reads; nothing by default.
            stdout: a file at the location that gets its output, instead of the result.
            stderr: another one for its messages; ``asyncio.subprocess.STDOUT``: they go where the output goes.
            capture_output: whether the result is to hold the output; else what has no file is thrown away there.
            timeout: seconds until it is ended with all its descendants.
            job_name: the name of the job that it is. Only jobs are put into the template of the location's service.

        Returns:
            Its result, whatever its status.

        Raises:
            CommandTimeout: it did not end in time.
            WarmshellError: any other of :meth:`warmshell.Location.run`.
        """
        streams = Streams.of(stdin, stdout, stderr, capture=capture_output)
        node = await self.location(location)
        if job_name is not None:
            template = self.template(getattr(location, "service", None))
            command = job_command(template, command, environment, workdir)
        return await run_job(node, command, streams, env=environment, cwd=workdir, timeout=timeout, name=job_name)

    # -- data -------------------------------------------------------------------------------------------------------

    async def get_stream_reader(self, command: Words | str, location: Where) -> StreamReader:
        """What a command at a location writes, as a stream: ``async with await connector.get_stream_reader(…)``.

        Args:
            command: words, or a script.
            location: where.
        """
        node = await self.location(location, transfers=True)
        return node.reader(command, buffer_size=self.transfer_buffer_size)

    async def get_stream_writer(self, command: Words | str, location: Where) -> StreamWriter:
        """A stream that a command at a location reads: ``async with await connector.get_stream_writer(…)``.

        Args:
            command: words, or a script.
            location: where.
        """
        node = await self.location(location, transfers=True)
        return node.writer(command, buffer_size=self.transfer_buffer_size)

    async def copy_local_to_remote(
        self, src: Local, dst: Word, locations: Sequence[Where], read_only: bool = False
    ) -> Copied:
        """Copy a file or directory of this machine to locations, with the destination names of ``cp -r``.

        Args:
            src: its path here.
            dst: the path there; of locations that share it, one is enough.
            locations: where to.
            read_only: whether what is copied will only be read, so that a link will do.

        Raises:
            CopyError: what was not copied, and why.
        """
        from warmshell.transfer.api import copy_local_to_remote

        return await copy_local_to_remote(src, dst, await self._takers(locations, dst), read_only=read_only)

    async def copy_remote_to_local(self, src: Word, dst: Local, location: Where, read_only: bool = False) -> Copied:
        """Copy a file or directory of a location to this machine; see :meth:`copy_local_to_remote`."""
        from warmshell.transfer.api import copy_remote_to_local

        return await copy_remote_to_local(src, dst, await self.location(location, transfers=True), read_only=read_only)

    async def copy_remote_to_remote(
        self, src: Word, dst: Word, locations: Sequence[Where], source_location: Where,
        source_connector: Connector | None = None, read_only: bool = False,
    ) -> Copied:  # fmt: skip
        """Copy a file or directory of a location to locations of this deployment; see :meth:`copy_local_to_remote`.

        Args:
            src: its path at the source.
            dst: the path there.
            locations: where to.
            source_location: where from.
            source_connector: whose location that is; this one's by default.
            read_only: whether what is copied will only be read.
        """
        from warmshell.transfer.api import copy_remote_to_remote

        source = source_connector or self
        takers = await self._takers(locations, dst)
        shared = source is self and self.shares(src) and bool(takers)
        node = takers[0] if shared else await source.location(source_location, transfers=True)
        return await copy_remote_to_remote(src, dst, takers, node, read_only=read_only)

    async def _takers(self, locations: Sequence[Where], path: Word) -> list[Location]:
        """The locations that a path has to be copied to."""
        wanted = locations[:1] if self.shares(path) else locations
        return await asyncio.gather(*[self.location(where, transfers=True) for where in wanted])

    def shares(self, path: Word) -> bool:
        """Whether all locations of the deployment see the same files at an absolute path."""
        name = os.path.normpath(to_bytes(path))
        tops = [os.path.normpath(to_bytes(shared)) for shared in self.shared_paths]
        return any(name == top or name.startswith(top.rstrip(b"/") + b"/") for top in tops)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.deployment_name}: {self._life.state}>"


def name_of(where: Where) -> str:
    """The name of a location."""
    return where if isinstance(where, str) else where.name


__all__ = ["STDOUT", "TRANSFER_BUFFER", "AvailableLocation", "Connector", "Member", "Named", "Where"]
