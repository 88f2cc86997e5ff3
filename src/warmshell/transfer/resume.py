"""One large file, in a way that can go on where it was interrupted.

What has arrived stays beside the final name, under a name made of the source's name, size and time. The next copy of
the same file compares the checksums of that much at both ends, and goes on behind it. The file gets its final name once
all of it is there and the source is still what it was at the beginning. Holes arrive as zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from warmshell.errors import CopyError
from warmshell.protocol.quoting import quote
from warmshell.transfer import scripts
from warmshell.transfer.destination import inside
from warmshell.transfer.ends import FileReceiver, FileSender

if TYPE_CHECKING:
    from warmshell.fileops.base import Facts
    from warmshell.location import Location
    from warmshell.transfer.destination import Step
    from warmshell.transfer.options import Source
    from warmshell.transfer.progress import Meter

_SET_ID = 0o6000


async def copy_file(source: Source, location: Location, directory: bytes, step: Step, meter: Meter) -> None:
    """Copy a file, from where an earlier copy of it stopped.

    Args:
        source: the file.
        location: where it goes.
        directory: the directory that it goes to.
        step: its name there.
        meter: is told how far it is.

    Raises:
        CopyError: it was not copied; what has arrived stays for the next time.
    """
    path = inside(source.directory, source.sent)
    facts = await source.location.files.stat(path)
    name = _name(source, step, facts)
    part = inside(directory, name)
    offset = await _there(source.location, path, location, part, facts)
    meter.reached(offset, 0, source.name)
    sender, receiver = FileSender(source, offset), FileReceiver(location, directory, name)
    await _rest(sender, receiver, offset, facts.size, meter)
    now, arrived = await source.location.files.stat(path), await location.files.stat(part)
    if (now.size, now.mtime_ns) != (facts.size, facts.mtime_ns) or arrived.size != facts.size:
        raise CopyError(
            "the source changed while it was copied", location=source.location.name, hint="copy it once more"
        )
    await location.files.chmod(part, facts.mode & ~_SET_ID)
    await location.files.utime(part, facts.mtime_ns, facts.mtime_ns)
    await location.files.rename(part, inside(directory, step.target))
    meter.reached(facts.size, 1, source.name)


def _name(source: Source, step: Step, facts: Facts) -> bytes:
    """The name of a part: the same for the same file, and short, so that it is possible wherever the final one is."""
    what = (source.name, step.target, str(facts.size).encode(), str(facts.mtime_ns).encode())
    return b".warm-part-" + hashlib.sha256(b"\0".join(what)).hexdigest()[:16].encode()


async def _there(near: Location, path: bytes, far: Location, part: bytes, facts: Facts) -> int:
    """How many bytes of the part are right; one that is not is taken away."""
    try:
        size = (await far.files.stat(part, follow=False)).size
    except FileNotFoundError:
        return 0
    if 0 < size <= facts.size:
        one, other = await _digest(near, path, size), await _digest(far, part, size)
        if one == other:
            return size
    await far.files.remove(part)
    return 0


async def _digest(location: Location, path: bytes, size: int) -> str:
    script = b"set -- %s %d\n%s" % (quote(path), size, scripts.DIGEST.encode())
    return (await location.run(script.decode("utf-8", "surrogateescape"))).check().text


async def _rest(sender: FileSender, receiver: FileReceiver, offset: int, size: int, meter: Meter) -> None:
    """Send what is behind the offset."""
    try:
        await sender.open()
        await receiver.open()
        async for data in _up_to(size - offset, sender):
            await receiver.give(data)
            offset += len(data)
            meter.reached(offset, 0, b"")
        if receiver.lives:
            await sender.check()
        await receiver.check()
    finally:
        await receiver.aclose()
        await sender.aclose()


async def _up_to(size: int, sender: FileSender) -> AsyncIterator[bytes]:
    """No more than there was at the beginning: a file that grows would never end."""
    async for data in sender:
        yield data[:size]
        size -= len(data)
        if size <= 0:
            return
