"""Locations as file systems of fsspec: ``fsspec.open("warmshell://host/data.csv")``, and so pandas, Dask, zarr …

The URL is ``warmshell://[user@]host[:port]/path`` for an SSH host, or ``warmshell:///path`` with the storage option
``location=`` for any other. The location is connected with the first operation, and closed at the end of the program
or by :meth:`WarmshellFileSystem.close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, ClassVar

from fsspec.asyn import AsyncFileSystem, sync, sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike, stringify_path

from warmshell.connector import connect
from warmshell.fileops.base import Entry, Facts
from warmshell.fileops.errors import checked
from warmshell.path.saving import Saving, save

if TYPE_CHECKING:
    from warmshell.fileops import FileOperations
    from warmshell.location import Location

_PROTOCOL = "warmshell"
_TYPES = {"file": "file", "directory": "directory"}


class Connection:
    """A location that is connected when it is first needed, by whoever needs it first.

    Args:
        url: the location.
        options: of its connector.
    """

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options
        self._location: Location | None = None
        self._connecting: asyncio.Lock | None = None

    async def location(self) -> Location:
        """The location, connected."""
        if self._location is None:
            self._connecting = self._connecting or asyncio.Lock()
            async with self._connecting:
                if self._location is None:
                    self._location = await connect(self._url, **self._options).__aenter__()
        return self._location

    async def aclose(self) -> None:
        """Let it go; another operation connects it anew."""
        location, self._location = self._location, None
        if location is not None:
            await location.aclose()


class WarmshellFileSystem(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The files of one location.

    Args:
        location: its URL, such as ``ssh://user@host``; ``local:`` by default. A host in the URL of a file stands for
            ``ssh://host``.
        options: more options for :func:`warmshell.connect`.
        auto_mkdir: whether directories are made for files that are written into them.
        **storage: options of fsspec.
    """

    protocol: ClassVar[str] = _PROTOCOL
    root_marker: ClassVar[str] = "/"

    def __init__(
        self, location: str = "local:", options: dict[str, Any] | None = None, auto_mkdir: bool = False, **storage: Any
    ) -> None:  # fmt: skip
        super().__init__(**storage)
        self.location = location
        self.auto_mkdir = auto_mkdir
        self._connection = Connection(location, options or {})
        if not self.asynchronous:
            weakref.finalize(self, _close, self.loop, self._connection)

    # -- names ------------------------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = str(stringify_path(path))
        if text.startswith(f"{_PROTOCOL}://"):
            _, slash, rest = text[len(_PROTOCOL) + 3 :].partition("/")
            text = slash + rest
        stripped = text.rstrip("/")
        return stripped or cls.root_marker

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        if not path.startswith(f"{_PROTOCOL}://"):
            return {}
        host = path[len(_PROTOCOL) + 3 :].partition("/")[0]
        return {"location": f"ssh://{host}"} if host else {}

    def unstrip_protocol(self, name: str) -> str:
        """The URL of a name; of a location that is no plain SSH host it says the path only."""
        if name.startswith(f"{_PROTOCOL}://"):
            return name
        host = self.location.removeprefix("ssh://") if self.location.startswith("ssh://") else ""
        host = "" if "?" in host or not name.startswith("/") else host
        return f"{_PROTOCOL}://{host}{name}"

    @property
    def fsid(self) -> str:
        """What tells this file system from others."""
        return f"{_PROTOCOL}-{self.location}"

    def _name(self, path: str) -> bytes:
        return checked(self._strip_protocol(path).encode("utf-8", "surrogateescape"))

    # -- life -------------------------------------------------------------------------------------------------------

    async def _files(self) -> FileOperations:
        return (await self._connection.location()).files

    async def _close(self) -> None:
        """Let the location go; the next operation connects it anew."""
        await self._connection.aclose()

    close = sync_wrapper(_close)

    # -- what is there ----------------------------------------------------------------------------------------------

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        files, name = await self._files(), self._name(path)
        facts = await files.stat(name, follow=False)
        return await self._told(files, name, facts)

    async def _told(self, files: FileOperations, name: bytes, facts: Facts) -> dict[str, Any]:
        """What fsspec wants to know of a file; a link is what it leads to, and says so."""
        text, more = name.decode("utf-8", "surrogateescape"), {}
        if facts.is_symlink:
            more["destination"] = (await files.readlink(name)).decode("utf-8", "surrogateescape")
            with contextlib.suppress(OSError):
                facts = await files.stat(name)
        return {
            "name": text, "size": facts.size, "type": _TYPES.get(facts.kind, "link" if facts.is_symlink else "other"),
            "mtime": facts.st_mtime, "mode": facts.st_mode, "uid": facts.uid, "gid": facts.gid, "ino": facts.inode,
            "nlink": facts.links, "islink": bool(more), **more,
        }  # fmt: skip

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        files, name = await self._files(), self._name(path)
        try:
            entries = [entry async for entry in files.entries(name)]
        except NotADirectoryError:
            info = await self._info(path)
            return [info] if detail else [info["name"]]
        if not detail:
            return [_below(name, entry).decode("utf-8", "surrogateescape") for entry in entries]
        told = await asyncio.gather(*[self._told(files, _below(name, entry), entry.facts) for entry in entries])
        for each in told:
            if each["islink"] and each["type"] == "directory":
                each["type"] = "link"  # so that nobody walks in circles
        return list(told)

    async def _exists(self, path: str, **_: Any) -> bool:
        return await (await self._files()).exists(self._name(path))

    def modified(self, path: str) -> Any:
        """When a file was changed last."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.info(path)["mtime"], tz=UTC)

    async def _checksum_of(self, path: str, algorithm: str = "sha256") -> str:
        """The digest of a file's contents, made where it is."""
        return await (await self._files()).checksum(self._name(path), algorithm)

    checksum_of = sync_wrapper(_checksum_of)

    # -- contents ---------------------------------------------------------------------------------------------------

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        files, name = await self._files(), self._name(path)
        if (start is not None and start < 0) or (end is not None and end < 0):
            size = (await files.stat(name)).size
            start = max(0, size + start) if start is not None and start < 0 else start
            end = max(0, size + end) if end is not None and end < 0 else end
        start = start or 0
        if end is not None and end <= start:
            await files.stat(name)
            return b""
        length = None if end is None else end - start
        return b"".join([piece async for piece in files.stream(name, start, length)])

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        files, name = await self._files(), self._name(path)
        await self._make_room(files, name)
        if mode == "create":
            async with Saving(files, name, exclusive=True) as saving:
                await saving.add(_once(bytes(value)))
        else:
            await save(files, name, bytes(value))

    async def _make_room(self, files: FileOperations, name: bytes) -> None:
        if self.auto_mkdir and os.path.dirname(name):
            await files.mkdir(os.path.dirname(name), parents=True, exist_ok=True)

    async def _put_file(
        self, lpath: str, rpath: str, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **_: Any
    ) -> None:  # fmt: skip
        if os.path.isdir(lpath):  # noqa: ASYNC240 - fsspec does so too
            await self._makedirs(rpath, exist_ok=True)
            return
        files, name = await self._files(), self._name(rpath)
        await self._make_room(files, name)
        with open(lpath, "rb", buffering=0) as file:  # noqa: ASYNC230 - opened at once
            callback.set_size(os.fstat(file.fileno()).st_size)
            async with Saving(files, name, exclusive=mode == "create") as saving:
                await saving.add(_read(file, callback))

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **_: Any) -> None:
        files, name = await self._files(), self._name(rpath)
        facts = await files.stat(name)
        if isfilelike(lpath):
            await _write(lpath, files.stream(name), callback)
            return
        if facts.is_dir:
            os.makedirs(lpath, exist_ok=True)
            return
        callback.set_size(facts.size)
        partial = os.path.join(os.path.dirname(lpath), f".warm-{os.urandom(8).hex()}")
        try:
            with open(partial, "xb", buffering=0) as file:  # noqa: ASYNC230 - opened at once
                await _write(file, files.stream(name), callback)
            os.replace(partial, lpath)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
            raise

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        from warmshell.integrations.fsspec_file import WarmshellFile

        return WarmshellFile(self, self._strip_protocol(path), mode, **options)

    # -- making, changing, removing ---------------------------------------------------------------------------------

    async def _mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        await (await self._files()).mkdir(self._name(path), parents=create_parents)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        await (await self._files()).mkdir(self._name(path), parents=True, exist_ok=exist_ok)

    async def _rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        await (await self._files()).rmdir(self._name(path))

    async def _touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        """Make an empty file, or empty one that is there, unless ``truncate`` says otherwise."""
        files, name = await self._files(), self._name(path)
        await self._make_room(files, name)
        if truncate:
            await files.write(name, b"", truncate=True)
        await files.touch(name)

    async def _cp_file(self, path1: str, path2: str, **_: Any) -> None:
        files, source, target = await self._files(), self._name(path1), self._name(path2)
        if (await files.stat(source)).is_dir:
            await files.mkdir(target, parents=self.auto_mkdir, exist_ok=True)
            return
        await self._make_room(files, target)
        await files.duplicate(source, target)

    async def _mv_file(self, path1: str, path2: str) -> None:
        files, target = await self._files(), self._name(path2)
        await self._make_room(files, target)
        await files.rename(self._name(path1), target)

    async def _rm_file(self, path: str, **_: Any) -> None:
        await (await self._files()).remove(self._name(path))

    async def _rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> None:
        """Remove files; with ``recursive`` directories too, each in one round trip."""
        if recursive and maxdepth is None:
            files = await self._files()
            for each in await self._expand_path(path):
                await files.rmtree(self._name(each), missing_ok=False)
            return
        for each in reversed(await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)):
            await (self._rmdir(each) if recursive and await self._isdir(each) else self._rm_file(each))

    async def _chmod(self, path: str, mode: int) -> None:
        """Set permissions."""
        await (await self._files()).chmod(self._name(path), mode)

    rmdir = sync_wrapper(_rmdir)
    touch = sync_wrapper(_touch)
    chmod = sync_wrapper(_chmod)


def _close(loop: Any, connection: Connection) -> None:
    """At the end of the file system, or of the program."""
    if loop is not None and not loop.is_closed() and loop.is_running():
        with contextlib.suppress(Exception):
            sync(loop, connection.aclose, timeout=10)


def _below(directory: bytes, entry: Entry) -> bytes:
    return os.path.join(directory, entry.name)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _read(file: Any, callback: Any) -> AsyncIterator[bytes]:
    while data := await asyncio.to_thread(file.read, 1024 * 1024):
        yield data
        callback.relative_update(len(data))


async def _write(file: Any, pieces: AsyncIterator[bytes], callback: Any) -> None:
    async for data in pieces:
        view = memoryview(data)
        while view:
            view = view[await asyncio.to_thread(file.write, view) or len(view) :]
        callback.relative_update(len(data))


__all__ = ["WarmshellFileSystem"]
