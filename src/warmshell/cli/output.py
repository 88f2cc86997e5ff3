"""Writing what jobs wrote: exact bytes, whole jobs, in bounded memory, and never from the event loop's thread."""

from __future__ import annotations

import asyncio
import base64
import codecs
import contextlib
import json
import os
import select
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from warmshell.errors import OutputError

if TYPE_CHECKING:
    from warmshell.command import Output

_PIECE_OF_BASE64 = 3 << 18  # divisible by three, so that the encoded pieces join

T = TypeVar("T")


def write_all(fd: int, data: bytes) -> None:
    """Write everything, also to a descriptor that somebody else made non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])


def write_out(fd: int, data: bytes) -> None:
    """Write to standard output or standard error.

    Raises:
        BrokenPipeError: the reader has gone.
        OutputError: anything else is wrong, such as a full disk.
    """
    try:
        write_all(fd, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if fd == 1 else "standard error"
        raise OutputError(f"cannot write to {name}: {error.strerror}") from None


def tagged(parts: Iterable[bytes], tag: bytes) -> Iterator[bytes]:
    """The same bytes with a tag before every line."""
    at_start = True
    for part in parts:
        if not part:
            continue
        body = part[:-1].replace(b"\n", b"\n" + tag)
        yield (tag if at_start else b"") + body + part[-1:]
        at_start = part.endswith(b"\n")


def is_text(output: Output) -> bool:
    """Whether the bytes are UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in output.chunks():
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def json_text(output: Output) -> Iterator[bytes]:
    """UTF-8 output as a JSON string, in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    yield b'"'
    for piece in output.chunks():
        yield json.dumps(decoder.decode(piece))[1:-1].encode()
    yield b'"'


def json_base64(output: Output) -> Iterator[bytes]:
    """Any output as a JSON string of base64, in pieces."""
    yield b'"'
    for piece in output.chunks(_PIECE_OF_BASE64):
        yield base64.b64encode(piece)
    yield b'"'


class Writer:
    """One daemon thread that runs what may block (writing, reading back files), so that the event loop never waits.

    A thread of the loop's own executor would keep the process alive at exit while a reader of our output sleeps; this
    one is left behind.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def do(self, call: Callable[[], T]) -> T:
        """Run ``call`` in the thread, after all that were given before, and wait for it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                value = call()
            except BaseException as error:  # noqa: BLE001 - it goes to the caller
                _hand_over(loop, future, None, error)
            else:
                _hand_over(loop, future, value, None)

        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="warm-writer", daemon=True)
            self._thread.start()
        self._calls.put(work)
        return await future

    def _serve(self) -> None:
        while True:
            self._calls.get()()


def _hand_over(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], value: T | None, error: BaseException | None
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # None only where T is

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)
