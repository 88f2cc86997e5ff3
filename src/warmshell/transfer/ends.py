"""The two ends of a copy: what sends an archive, and what puts it together and gives it its names."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from warmshell.errors import CopyError, WarmshellError
from warmshell.protocol.archive import trailer
from warmshell.shield import shielded
from warmshell.transfer import scripts
from warmshell.transfer.destination import Plan
from warmshell.transfer.options import Source, Spot
from warmshell.transfer.site import UNZSTD, ZSTD, Site, remove, totals
from warmshell.transfer.streams import Tail

if TYPE_CHECKING:
    from warmshell.location import Location
    from warmshell.process import ByteReceiveStream, ByteSendStream, Process
    from warmshell.transfer.progress import Meter

PIECE = 256 * 1024
_UNDO_SECONDS = 10.0  # for a far end to take away what it has put together
_SAID = 2000
_KILLED = 128


class _End:
    """A process of a copy, with what it goes through on this machine."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._stack = AsyncExitStack()
        self._process: Process | None = None
        self._messages: Tail | None = None
        self._pumps: list[asyncio.Task[None]] = []

    async def _start(self, location: Location, words: list[bytes]) -> Process:
        return await self._stack.enter_async_context(location.open(words, bulk=True))

    async def _begin(self, words: list[bytes]) -> Process:
        process = self._process = await self._start(self.location, words)
        self._messages = Tail(process.stderr)
        self._stack.push_async_callback(self._messages.aclose)
        return process

    def _pump(self, source: ByteReceiveStream, sink: ByteSendStream) -> None:
        task = asyncio.ensure_future(_pumped(source, sink))
        self._pumps.append(task)
        self._stack.push_async_callback(_stopped, task)

    async def _ended(self) -> tuple[int, str]:
        """Status and last words."""
        if self._process is None or self._messages is None:
            return 0, ""
        status = await self._process.wait()
        return status, (await self._messages.ended())[-_SAID:].decode("utf-8", "replace").strip()

    async def aclose(self) -> None:
        """End what still runs."""
        await self._stack.aclose()


class Sender(_End):
    """Sends an archive.

    Args:
        sources: names of one directory.
        site: what their location offers.
        here: this machine, for what has to be unpacked here; ``None``: nothing has.
        pax: whether its readers know pax headers and sparse files.
        dereference: whether links are followed.

    Attributes:
        names: what is sent.
    """

    def __init__(
        self, sources: Sequence[Source], site: Site, here: Location | None, *, pax: bool, dereference: bool
    ) -> None:
        super().__init__(sources[0].location)
        self.names = [source.sent for source in sources]
        self._directory = sources[0].directory
        self._site = site
        self._here = here
        self._pax = pax
        self._dereference = dereference
        self._stream: ByteReceiveStream | None = None

    async def open(self) -> None:
        """Begin to send."""
        create = self._site.create(pax=self._pax, dereference=self._dereference)
        script = scripts.send(create, None if self._here is None else ZSTD)
        names = [b"./" + name for name in self.names]
        process = await self._begin([b"sh", b"-c", script.encode(), b"sh", self._directory, *names])
        await process.stdin.aclose()
        self._stream = process.stdout
        if self._here is not None:
            unpacker = await self._start(self._here, UNZSTD.encode().split())
            self._pump(process.stdout, unpacker.stdin)
            self._stream = unpacker.stdout

    async def count(self, meter: Meter) -> None:
        """Tell the meter how much there is to send."""
        await totals(self.location, self._directory, self.names, meter, self._dereference)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self._stream is not None  # noqa: S101 - for the type checker
        while data := await self._stream.receive(PIECE):
            yield data

    async def check(self) -> None:
        """Wait for its end.

        Raises:
            CopyError: it could not read everything.
        """
        status, said = await self._ended()
        if status:
            raise CopyError(
                f"the source could not be read: {said or f'status {status}'}", location=self.location.name,
                hint="it changed while it was read" if "changed as we read" in said else None,
            )  # fmt: skip


class Receiver(_End):
    """Puts an archive together at one destination.

    Args:
        spot: the destination, as it was given.
        site: what its location offers.
        plan: where everything goes.
        here: this machine, for what is to be packed here; ``None``: nothing is.

    Attributes:
        error: why it has failed, once it has.
        site: what its location offers.
    """

    def __init__(self, spot: Spot, site: Site, plan: Plan, here: Location | None) -> None:
        super().__init__(spot.location)
        self.spot = spot
        self.plan = plan
        self.error: Exception | None = None
        self.site = site
        self._here = here
        self._name = b".warm-" + secrets.token_hex(6).encode()
        self._mark = b".warm-" + secrets.token_hex(12).encode()
        self._sink: ByteSendStream | None = None
        self._broken = False

    def _extract(self, *, owner: bool) -> str:
        return self.site.extract(owner=owner)

    async def open(self, *, owner: bool) -> None:
        """Be ready for an archive; ``error`` says if that cannot be."""
        extract = self._extract(owner=owner)
        if self._here is not None:
            extract = scripts.grouped(scripts.piped(UNZSTD, extract))
        words = [b"sh", b"-c", scripts.receive(extract, self.site.move).encode(), b"sh"]
        words += [self.plan.directory, self._name, self._mark]
        for step in self.plan.steps:
            words += [step.source, step.target, step.action.encode()]
        try:
            process = await self._begin(words)
            await self._hear(process)
            process.stdin.widen()
            self._sink = process.stdin
            if self._here is not None:
                packer = await self._start(self._here, ZSTD.encode().split())
                self._pump(packer.stdout, process.stdin)
                self._sink = packer.stdin
        except (WarmshellError, OSError) as error:
            self.error = error

    async def _hear(self, process: Process) -> None:
        self._stack.push_async_callback(Tail(process.stdout).aclose)

    def give_some(self, data: bytes) -> int:
        """Hand over what goes without waiting; all, once it takes nothing any more."""
        if self._broken or self._sink is None:
            return len(data)
        try:
            return self._sink.send_some(data)
        except OSError:
            self._broken = True
            return len(data)

    async def give(self, data: bytes | memoryview) -> None:
        """Hand over all of it."""
        if self._broken or self._sink is None:
            return
        try:
            await self._sink.send(data if isinstance(data, bytes) else bytes(data))
        except (OSError, WarmshellError):
            self._broken = True

    @property
    def lives(self) -> bool:
        """Whether it takes more."""
        return self.error is None and not self._broken

    async def finish(self) -> None:
        """All has been given: have it take its names. ``error`` says if that went wrong."""
        if self.error is None:
            try:
                await self.give(trailer(self._mark, int(time.time())))
                await self._finish()
            except (WarmshellError, OSError) as error:
                self.error = error
            if self.error is not None:
                await self.abort()

    async def _finish(self) -> None:
        if self._sink is not None:
            await self._sink.aclose()
        status, said = await self._ended()
        if status:
            self.error = CopyError(said or f"it ended with status {status}", location=self.location.name)

    async def ended(self) -> None:
        """Return when it has ended, for whatever reason."""
        if self._process is not None:
            await self._process.wait()

    async def abort(self) -> None:
        """Not all will come: have everything taken away again."""
        try:
            async with asyncio.timeout(_UNDO_SECONDS):
                await self._undo()
        except (TimeoutError, WarmshellError, OSError):
            pass  # the location is lost, and takes it away itself; or it is very slow
        finally:
            await self.aclose()

    async def _undo(self) -> None:
        """The end of its input without the mark tells it; where it was killed itself, another takes its place."""
        status = _KILLED
        with contextlib.suppress(WarmshellError, OSError):
            if self._process is not None:
                if self._sink is not None and self._sink is not self._process.stdin:
                    await self._stop_packing()
                await self._process.stdin.aclose()
                status = await self._process.wait()
        if status >= _KILLED:
            await remove(self.location, self.plan.directory, self._name)

    async def _stop_packing(self) -> None:
        """No more is packed: what was packed so far has no end, and so is seen to be cut short."""
        for pump in self._pumps:
            await _stopped(pump)


class FileSender(_End):
    """Sends a file from an offset on.

    Args:
        source: the file.
        offset: how many bytes are left out.
    """

    def __init__(self, source: Source, offset: int) -> None:
        super().__init__(source.location)
        self._words = [source.directory, b"%d" % (offset + 1), b"./" + source.sent]

    async def open(self) -> None:
        """Begin to send."""
        process = await self._begin([b"sh", b"-c", scripts.SEND_FILE.encode(), b"sh", *self._words])
        await process.stdin.aclose()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._process is not None and (data := await self._process.stdout.receive(PIECE)):
            yield data

    async def check(self) -> None:
        """Wait for its end, if it is at its end.

        Raises:
            CopyError: it could not be read.
        """
        if self._process is not None and await self._process.stdout.receive(1):
            return  # it has grown
        status, said = await self._ended()
        if status:
            raise CopyError(f"the source could not be read: {said}", location=self.location.name)


class FileReceiver(_End):
    """Appends to a file.

    Args:
        location: where it is.
        directory: its directory.
        name: its name there.

    Attributes:
        lives: whether it takes more.
    """

    def __init__(self, location: Location, directory: bytes, name: bytes) -> None:
        super().__init__(location)
        self._where = [directory, name]
        self.lives = True

    async def open(self) -> None:
        """Be ready for bytes."""
        await self._begin([b"sh", b"-c", scripts.RECEIVE_FILE.encode(), b"sh", *self._where])

    async def give(self, data: bytes) -> None:
        """Hand over all of it."""
        if self._process is not None and self.lives:
            try:
                await self._process.stdin.send(data)
            except OSError:
                self.lives = False

    async def check(self) -> None:
        """Wait until all is written.

        Raises:
            CopyError: it could not be.
        """
        if self._process is not None:
            await self._process.stdin.aclose()
        status, said = await self._ended()
        if status or not self.lives:
            raise CopyError(said or f"it ended with status {status}", location=self.location.name)


async def _pumped(source: ByteReceiveStream, sink: ByteSendStream) -> None:
    """Hand on what comes, and the end."""
    with contextlib.suppress(OSError, WarmshellError):
        async for data in source:
            await sink.send(data)
        await sink.aclose()
        return
    with contextlib.suppress(OSError, WarmshellError):
        await source.aclose()  # nobody reads it any more: what writes it is to know


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def closed(ends: Sequence[Sender | Receiver]) -> None:
    """End all of them."""
    await asyncio.gather(*[shielded(end.aclose()) for end in ends])
