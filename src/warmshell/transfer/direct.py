"""From one location straight to another one: the bytes do not pass through this machine, nor are they looked at.

The destination waits at a pipe with a name, into which the source writes by an ``ssh`` of its own; this machine tells
the destination when all of it was sent, and hears what came of it.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from warmshell.errors import CopyError, WarmshellError
from warmshell.protocol.quoting import quote
from warmshell.transfer import scripts
from warmshell.transfer.ends import Receiver, Sender

if TYPE_CHECKING:
    from warmshell.process import Process

_KILL_SECONDS = 3.0


class DirectReceiver(Receiver):
    """Puts together what another location sends by itself."""

    pipe = b""

    def _extract(self, *, owner: bool) -> str:
        return scripts.awaited(super()._extract(owner=owner))

    async def _hear(self, process: Process) -> None:
        """Learn where it waits, unless it has ended: what it started may hold its streams open."""
        hearing = asyncio.ensure_future(_up_to_nul(process))
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait([hearing, ended], return_when=asyncio.FIRST_COMPLETED)
            self.pipe = hearing.result() if hearing.done() else b""
        finally:
            for task in (hearing, ended):
                task.cancel()
            await asyncio.wait([hearing, ended])
        if not self.pipe:
            _, words = await self._ended()
            raise CopyError(words or "it does not wait for anything", location=self.location.name)
        await super()._hear(process)

    async def finish(self) -> None:
        if self.error is None:
            await self.give(b"whole\n")
            try:
                await self._finish()
            except (WarmshellError, OSError) as error:
                self.error = error
        if self.error is not None:
            await self.abort()

    async def _undo(self) -> None:
        """It may wait at its pipe for ever; so it is told by a signal."""
        if self._process is not None:
            await self._process.kill(_KILL_SECONDS)
        await super()._undo()


async def _up_to_nul(process: Process) -> bytes:
    """What it prints up to the first NUL; nothing if there is none."""
    said = b""
    while data := await process.stdout.receive():
        said += data
        if b"\0" in said:
            return said.partition(b"\0")[0]
    return b""


class DirectSender(Sender):
    """Sends an archive to one other location."""

    async def send_to(self, receiver: DirectReceiver, words: Sequence[str]) -> None:
        """Send all of it.

        Args:
            receiver: waits for it.
            words: run a line of sh text there.

        Raises:
            CopyError: it could not be read, or not sent.
        """
        create = self._site.create(pax=self._pax, dereference=self._dereference)
        script = scripts.send_directly(create, shlex.join(words))
        pipe = quote(receiver.pipe)
        line = b"exec sh -c " + quote(b"test -p %s && exec cat >%s" % (pipe, pipe))
        names = [b"./" + name for name in self.names]
        process = await self._begin([b"sh", b"-c", script.encode(), b"sh", self._directory, line, *names])
        await process.stdin.aclose()
        status, said = await self._ended()
        if status:
            raise CopyError(f"the source could not send it: {said}", location=self.location.name)


async def send_directly(sender: DirectSender, receiver: DirectReceiver, words: Sequence[str], *, owner: bool) -> None:
    """Send an archive to one location; the receiver's ``error`` says if that went wrong."""
    await receiver.open(owner=owner)
    if receiver.error is None:
        ended = asyncio.ensure_future(receiver.ended())
        sending = asyncio.ensure_future(sender.send_to(receiver, words))
        try:
            await asyncio.wait([ended, sending], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except (WarmshellError, OSError) as error:
            receiver.error = error
        finally:
            for task in (ended, sending):
                task.cancel()
            await asyncio.wait([ended, sending])
            await sender.aclose()  # first of all nobody writes into the pipe any more
    await receiver.finish()
