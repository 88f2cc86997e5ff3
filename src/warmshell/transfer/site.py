"""What a location offers to copies, and what stands at its paths."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from warmshell.errors import CopyError
from warmshell.protocol.quoting import quote, quote_all
from warmshell.transfer import scripts
from warmshell.transfer.destination import Kind, Seen

if TYPE_CHECKING:
    from warmshell.connector.place import Place
    from warmshell.location import Location
    from warmshell.transfer.progress import Meter

_KINDS: dict[str, Kind] = {"-": "missing", "f": "file", "d": "directory", "l": "link", "o": "other"}
ZSTD = "zstd -q -c -1"
UNZSTD = "zstd -q -d -c"


@dataclass(frozen=True, slots=True)
class Site:
    """What a location offers to copies.

    Attributes:
        tar: ``gnu``, ``bsdtar``, ``busybox``, ``other``; ``python`` where there is none but a Python; ``-``: neither.
        zstd: whether there is a ``zstd`` program.
        gnu_cp: whether ``cp`` is that of GNU.
        root: whether the account may give files to others.
        move: the words that rename.
    """

    tar: str
    zstd: bool
    gnu_cp: bool
    root: bool
    move: str

    @property
    def knows_pax(self) -> bool:
        """Whether what extracts here knows pax headers and sparse files."""
        return self.tar in ("gnu", "bsdtar", "python")

    @property
    def _records(self) -> str:
        """Fewer and larger reads and writes than the 10 kB that tapes once had."""
        return " -b 128" if self.tar in ("gnu", "bsdtar") else ""

    def create(self, *, pax: bool, dereference: bool) -> str:
        """The words that write an archive of ``"$@"``.

        Args:
            pax: whether its readers know pax headers (which carry parts of seconds) and sparse files.
            dereference: whether links are followed.
        """
        follow = (" -h" if dereference else "") + self._records
        if self.tar == "python":
            return f'{_python()} create {"pax" if pax else "gnu"}{" follow" if dereference else ""} -- "$@"'
        options = ""
        if self.tar == "gnu":
            options = " --no-unquote --format=gnu"
            if pax:
                options = " --no-unquote --sparse --format=posix --pax-option=delete=atime,delete=ctime"
        elif self.tar == "bsdtar":
            options = f" --format={'pax' if pax else 'gnutar'} --no-xattrs --no-acls --no-fflags"
        return f'env LC_ALL=C tar -c -f -{follow}{options} -- "$@"'

    def extract(self, *, owner: bool) -> str:
        """The words that extract standard input into ``"$s"``."""
        if self.tar == "python":
            return f'{_python()} extract{" owner" if owner else ""} -- "$s"'
        mine = ("" if owner else " -o") + self._records
        return f'env LC_ALL=C tar -x -p -f -{mine} -C "$s"'

    def copy(self, *, owner: bool, dereference: bool) -> str:
        """The words that copy ``"./$1"`` into ``"$here/$s"``."""
        if self.gnu_cp:
            kept = "mode,timestamps,links" + (",ownership" if owner else "")
            return f'cp -R -{"L" if dereference else "P"} --preserve={kept} -- "./$1" "$here/$s/"'
        create = self.create(pax=self.knows_pax, dereference=dereference).replace('"$@"', '"./$1"')
        return scripts.grouped(scripts.piped(create, self.extract(owner=owner).replace('"$s"', '"$here/$s"')))


def _python() -> str:
    from warmshell.server import pack

    return f"python3 -c {shlex.quote(pack.packer_text())}"


_known: WeakKeyDictionary[Place, asyncio.Future[Site]] = WeakKeyDictionary()


async def site_of(location: Location) -> Site:
    """What the location offers: asked for once.

    Raises:
        CopyError: it has neither ``tar`` nor a Python.
    """
    known = _known.get(location.place)
    if known is None or (known.done() and known.cancelled()) or known.get_loop() is not asyncio.get_running_loop():
        known = _known[location.place] = asyncio.ensure_future(_probe(location))
    try:
        site = await asyncio.shield(known)
    except BaseException:
        if known.done():
            _known.pop(location.place, None)
        raise
    if site.tar == "-":
        raise CopyError("there is neither tar nor Python 3.8 there", location=location.name, hint="install tar")
    return site


async def _probe(location: Location) -> Site:
    result = (await location.run(scripts.PROBE)).check()
    tar, zstd, cp, user, move = result.text.strip().split(" ", 4)
    return Site(tar, zstd == "zstd", cp == "gnu", user == "0", move)


async def look(location: Location, paths: Sequence[bytes]) -> list[Seen]:
    """What stands at the paths, in one round trip."""
    script = b"set -- " + quote_all(paths) + scripts.LOOK.encode()
    result = (await location.run(script.decode("utf-8", "surrogateescape"))).check()
    fields = result.stdout.split(b"\0")[:-1]
    return [
        Seen(_KINDS[chr(letters[0])], _KINDS[chr(letters[1])], real)
        for letters, real in zip(fields[::2], fields[1::2], strict=True)
    ]


async def remove(location: Location, directory: bytes, name: bytes) -> None:
    """Take away a directory in which something was put together."""
    script = b"set -- %s %s\n%s" % (quote(directory), quote(name), scripts.REMOVE.encode())
    await location.run(script.decode("utf-8", "surrogateescape"))


async def totals(location: Location, directory: bytes, names: Sequence[bytes], meter: Meter, dereference: bool) -> None:
    """Count what is there, and tell the meter; an estimate is better than nothing."""
    script = b"set -- %s %s\n%s" % (
        quote(directory), quote_all([b"./" + name for name in names]), scripts.total(dereference=dereference).encode()
    )  # fmt: skip
    result = await location.run(script.decode("utf-8", "surrogateescape"))
    words = result.stdout.split()
    if len(words) == 2:
        meter.expect(int(words[0]), int(words[1]))
