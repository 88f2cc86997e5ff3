"""Copies between any two locations: what is asked for, taken apart into archives, one for each directory of sources."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from warmshell.errors import CopyError, WarmshellError
from warmshell.protocol.archive import ArchiveScanner
from warmshell.shield import shielded
from warmshell.transfer.destination import Kind, Path, Plan, Refused, Seen, inside, plan
from warmshell.transfer.direct import DirectReceiver, DirectSender, send_directly
from warmshell.transfer.ends import Receiver, Sender, closed
from warmshell.transfer.options import Copied, Options, Remote, Source, Spot, Where, path_of
from warmshell.transfer.progress import Meter
from warmshell.transfer.relay import relay, told
from warmshell.transfer.resume import copy_file
from warmshell.transfer.shared import Meeting, Shared, as_seen
from warmshell.transfer.site import look, site_of, totals
from warmshell.transfer.within import copy_within, is_same

if TYPE_CHECKING:
    from warmshell.location import Location


class Copy:
    """One copy of some sources to some destinations.

    Args:
        options: how.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stack = AsyncExitStack()
        self._here: Location | None = None
        self._meter = Meter(options.progress)
        self._failures: dict[str, Exception] = {}
        self._targets: dict[str, list[bytes]] = {}
        self._several = False

    async def run(self, sources: Sequence[Where], destinations: Sequence[Where]) -> Copied:
        """Copy.

        Raises:
            CopyError: what was not copied, and why.
        """
        async with self._stack:
            froms = [await self._spot(source) for source in sources]
            spots = [await self._spot(destination) for destination in destinations]
            self._check(froms, spots)
            self._targets = {str(spot): [] for spot in spots}
            for group in _groups(froms):
                left = [spot for spot in spots if str(spot) not in self._failures]
                if left:
                    await self._group(group, left)
            if self._failures:
                raise told(self._failures, len(spots))
            self._meter.done()
            meter = self._meter
            return Copied(meter.size, meter.files, meter.elapsed, self._targets)

    def _check(self, froms: Sequence[Spot], spots: Sequence[Spot]) -> None:
        self._several = len(froms) > 1
        names = [spot.parts.base for spot in froms]
        if not froms or not spots:
            raise CopyError("a copy needs a source and a destination", errno=errno.EINVAL)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise CopyError(f"two sources have the same name: {twice.decode('utf-8', 'replace')}", errno=errno.EEXIST)
        if len({(id(spot.location), spot.path) for spot in spots}) < len(spots):
            raise CopyError("a destination is given twice", errno=errno.EEXIST)

    async def _spot(self, where: Where) -> Spot:
        location = where.location if isinstance(where, Remote) else await self._this_machine()
        return Spot(location, path_of(where))

    async def _this_machine(self) -> Location:
        if self._here is None:
            from warmshell.connector import connect

            self._here = await self._stack.enter_async_context(connect("local:"))
        return self._here

    # -- one archive ------------------------------------------------------------------------------------------------

    async def _group(self, group: Sequence[Spot], spots: Sequence[Spot]) -> None:
        """Copy sources of one directory."""
        looked = asyncio.gather(*[self._there(spot, group) for spot in spots])
        try:
            sources = await self._sources(group)
        finally:
            plans = await looked
        shared = Shared(sources)
        if not self._options.dereference:  # what links lead to depends on where they are followed
            await shared.look([spot.location for spot in spots])
        pairs = zip(spots, plans, strict=True)
        met = await asyncio.gather(*[self._meet(shared, sources, spot, there) for spot, there in pairs])
        await asyncio.gather(*[self._within(spot, found) for spot, found in zip(spots, met, strict=True)])
        far = [(spot, found) for spot, found in zip(spots, met, strict=True) if isinstance(found, Plan)]
        if self._options.resume:
            sources, far = await self._resumed(sources, far)
        if self._options.direct and sources:
            await asyncio.gather(*[self._send_directly(sources, spot, found) for spot, found in far])
        elif far and sources:
            await self._send(sources, far)
        self._meter.next()

    async def _sources(self, group: Sequence[Spot]) -> list[Source]:
        location = group[0].location
        seen = await look(location, [spot.parts.whole for spot in group])
        sources = []
        for spot, found in zip(group, seen, strict=True):
            parts = spot.parts
            kind = found.leads_to if self._options.dereference or parts.slash else found.kind
            if kind == "missing":
                raise SourceNotFound(f"there is no {spot}", location=location.name, errno=errno.ENOENT)
            if parts.slash and kind != "directory":
                raise SourceNotFound(f"{spot} is no directory", location=location.name, errno=errno.ENOTDIR)
            if kind == "directory" and not self._options.recursive:
                raise CopyError(f"{spot} is a directory", hint="-r copies it", errno=errno.EISDIR)
            sent = parts
            if found.kind == "link" and parts.slash:  # what it leads to, by the name of the link
                sent = Path.of(await location.files.realpath(parts.whole))
            sources.append(Source(location, sent.directory, sent.base, parts.base, kind))
        return sources

    async def _there(self, spot: Spot, group: Sequence[Spot]) -> list[Seen] | Exception:
        """What stands at a destination, and within it at the sources' names."""
        where = spot.parts.whole
        try:
            return await look(spot.location, [where, *[inside(where, source.parts.base) for source in group]])
        except (WarmshellError, OSError) as error:
            return error

    def _plan(self, spot: Spot, sources: Sequence[Source], there: list[Seen] | Exception, *, link: bool) -> Plan | None:
        if isinstance(there, Exception):
            self._failures[str(spot)] = there
            return None
        names: list[tuple[bytes, Kind]] = [(source.name, "link" if link else source.kind) for source in sources]
        try:
            found = plan(names, spot.parts, there[0], there[1:], several=self._several)
        except Refused as why:
            self._failures[str(spot)] = CopyError(str(why), location=spot.location.name, errno=why.number)
            return None
        self._targets[str(spot)] += found.targets
        pairs = zip(sources, found.steps, strict=True)
        return replace(found, steps=tuple(replace(step, source=source.sent) for source, step in pairs))

    async def _meet(
        self, shared: Shared, sources: Sequence[Source], spot: Spot, there: list[Seen] | Exception
    ) -> Meeting | Plan | None:  # fmt: skip
        """What is to be done for a destination: at one location, if there is one that has both; else a plan."""
        seen = shared.at(spot.location)
        link = seen is not None and self._options.read_only
        found = self._plan(spot, sources, there, link=link)
        if found is None or seen is None:
            return found and (await shared.meet(spot.location, found) or found)
        return Meeting(spot.location, seen, as_seen(found, seen), link=link)

    async def _within(self, spot: Spot, met: Meeting | Plan | None) -> None:
        if not isinstance(met, Meeting):
            return
        sources = met.sources
        try:
            if self._options.progress is not None:
                names = [source.sent for source in sources]
                await totals(sources[0].location, sources[0].directory, names, self._meter, self._options.dereference)
            await copy_within(sources, met.location, met.plan, replace(self._options, read_only=met.link))
            self._meter.is_expected()
        except (WarmshellError, OSError) as error:
            self._failures[str(spot)] = error

    async def _resumed(
        self, sources: list[Source], far: list[tuple[Spot, Plan]]
    ) -> tuple[list[Source], list[tuple[Spot, Plan]]]:
        """Copy files one by one, as far as they are not there yet; what is left to send."""
        files = [number for number, source in enumerate(sources) if source.kind == "file"]
        for spot, found in far:
            for number in files:
                try:
                    where, step = found.directory, found.steps[number]
                    await copy_file(sources[number], spot.location, where, step, self._meter)
                except (WarmshellError, OSError) as error:
                    self._failures[str(spot)] = error
                self._meter.next()
        rest = [number for number in range(len(sources)) if number not in files]
        return [sources[number] for number in rest], [
            (spot, replace(found, steps=tuple(found.steps[number] for number in rest)))
            for spot, found in far
            if str(spot) not in self._failures
        ]

    async def _send(self, sources: Sequence[Source], far: Sequence[tuple[Spot, Plan]]) -> None:
        """Send one archive to all destinations that are elsewhere."""
        location = sources[0].location
        site, packer = await asyncio.gather(site_of(location), self._packer(location))
        made = await asyncio.gather(*[self._receiver(spot, found) for spot, found in far])
        receivers = [receiver for receiver in made if receiver is not None]
        if receivers:
            pax = site.knows_pax and all(receiver.site.knows_pax for receiver in receivers)
            sender = Sender(sources, site, packer, pax=pax, dereference=self._options.dereference)
            try:
                await self._transfer(sender, receivers, pax=pax)
            except BaseException:
                await shielded(_aborted(receivers))
                raise
            finally:
                await closed([sender, *receivers])
            failed = [one for one in receivers if one.error is not None]
            self._failures |= {str(one.spot): one.error for one in failed if one.error is not None}

    async def _transfer(self, sender: Sender, receivers: Sequence[Receiver], *, pax: bool) -> None:
        opening = [receiver.open(owner=self._options.owner) for receiver in receivers]
        await asyncio.gather(sender.open(), *opening)
        tops = {name for name in sender.names if name}
        scanner = ArchiveScanner(tops or None, pax=pax, set_id=self._options.owner)
        counting = self._options.progress is not None
        counted = asyncio.ensure_future(sender.count(self._meter)) if counting else None
        try:
            await relay(sender, scanner, receivers, self._meter)
        finally:
            if counted is not None:
                counted.cancel()
                await asyncio.wait([counted])
        await asyncio.gather(*[receiver.finish() for receiver in receivers])

    async def _send_directly(self, sources: Sequence[Source], spot: Spot, found: Plan) -> None:
        """Have the source's location send an archive to a destination by itself."""
        direct, follow = self._options.direct, self._options.dereference
        try:
            words = spot.location.place.words_to() if isinstance(direct, bool) else list(direct)
            site, target = await asyncio.gather(site_of(sources[0].location), site_of(spot.location))
        except (WarmshellError, OSError) as error:
            self._failures[str(spot)] = error
            return
        sender = DirectSender(sources, site, None, pax=site.knows_pax and target.knows_pax, dereference=follow)
        receiver = DirectReceiver(spot, target, found, None)
        try:
            await send_directly(sender, receiver, words, owner=self._options.owner)
        except BaseException:
            await shielded(receiver.abort())
            raise
        finally:
            await closed([sender, receiver])
        if receiver.error is not None:
            self._failures[str(spot)] = receiver.error

    async def _packer(self, location: Location) -> Location | None:
        """This machine, if what goes to or comes from the location is to be packed."""
        if not self._options.compress:
            return None
        here = await self._this_machine()
        if is_same(location, here) or not (await site_of(here)).zstd or not (await site_of(location)).zstd:
            return None
        return here

    async def _receiver(self, spot: Spot, found: Plan) -> Receiver | None:
        try:
            site, packer = await asyncio.gather(site_of(spot.location), self._packer(spot.location))
        except (WarmshellError, OSError) as error:
            self._failures[str(spot)] = error
            return None
        return Receiver(spot, site, found, packer)


class SourceNotFound(CopyError, FileNotFoundError):
    """There is nothing at a source's path. Nothing was copied."""


def _groups(froms: Sequence[Spot]) -> list[list[Spot]]:
    """Sources that fit into one archive: names of one directory at one location.

    What ends in a slash is alone: its contents may be what is copied, or it may lead elsewhere.
    """
    groups: dict[tuple[object, ...], list[Spot]] = {}
    for number, spot in enumerate(froms):
        parts = spot.parts
        alone = number if parts.slash else -1
        groups.setdefault((id(spot.location), parts.directory, alone), []).append(spot)
    return list(groups.values())


async def _aborted(receivers: Sequence[Receiver]) -> None:
    await asyncio.gather(*[receiver.abort() for receiver in receivers])
