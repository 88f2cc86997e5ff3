"""Connections that end, or say something, in a moment that no real server can be told to choose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

import warmshell
from warmshell.connector.kubernetes import websocket
from warmshell.connector.kubernetes.api import Api
from warmshell.connector.kubernetes.config import Access
from warmshell.connector.kubernetes.session import ExecProcess
from warmshell.protocol.websocket import BINARY, CLOSE, accepted
from warmshell.testing import eventually

SUCCESS = b"\x03" + json.dumps({"status": "Success"}).encode()
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(opcode: int, data: bytes) -> bytes:
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + size + data


async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *then: bytes) -> None:
    """The handshake, and what comes in one piece with it."""
    found = re.search(rb"(?i)sec-websocket-key: (\S+)", await reader.readuntil(b"\r\n\r\n"))
    assert found is not None
    lines = (
        "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accepted(found[1].decode())}", "Sec-WebSocket-Protocol: v5.channel.k8s.io", "", "",
    )  # fmt: skip
    writer.write("\r\n".join(lines).encode() + b"".join(then))
    await writer.drain()


@asynccontextmanager
async def serving(talk: Talk, *, seconds: float = 30.0) -> AsyncIterator[Api]:
    """The client of a server that talks so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    api = Api(Access(name="x", server=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), seconds=seconds)
    try:
        yield api
    finally:
        await api.aclose()
        server.close()


def execute(api: Api) -> Awaitable[ExecProcess]:
    return api.execute("default", "pod", "main", ["true"])


async def test_all_of_it_comes_with_the_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer, frame(BINARY, b"\x01hello\n"), frame(BINARY, SUCCESS), frame(CLOSE, b"\x03\xe8"))
        await reader.read()

    async with serving(talk) as api:
        process = await execute(api)
        assert (await process.stdout.read(), await process.wait()) == (b"hello\n", 0)
        assert not api._programs
        await process.aclose()


async def test_output_behind_the_status_is_whole_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmshell.connector.kubernetes.session._REST_SECONDS", 0.5)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer, frame(BINARY, SUCCESS))
        for number in range(10):
            writer.write(frame(BINARY, b"\x01%d" % number))
            await asyncio.sleep(0.1)  # what the server does is not waited for
        await reader.read()  # it never says that it was all

    async with serving(talk) as api:
        process = await execute(api)
        assert (await process.stdout.read(), await process.wait()) == (b"0123456789", 0)
        await process.aclose()


async def test_a_cancelled_end_leaves_no_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "_CLOSE_SECONDS", 60.0)
    asked, over = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer)
        await reader.readexactly(2)
        asked.set()  # to end it, which it does not
        await reader.read()
        over.set()

    async with serving(talk) as api:
        process = await execute(api)
        ending = asyncio.ensure_future(process.kill())
        await asked.wait()
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        await asyncio.wait_for(over.wait(), 20)


async def test_how_it_ended_does_not_change_any_more() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer)
        await reader.readexactly(2)
        writer.write(b"\xff\xff")
        await reader.read()

    async with serving(talk) as api:
        process = await execute(api)
        await process.kill()
        assert await process.wait() == 137
        await eventually(process._socket._lost.is_set)
        assert await process.wait() == 137


async def test_a_server_that_stops_while_much_is_sent() -> None:
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer)
        writer.write_eof()
        await over.wait()

    async with serving(talk) as api:
        process = await execute(api)
        async with asyncio.timeout(20):
            with pytest.raises(BrokenPipeError):
                while True:
                    await process.stdin.send(bytes(1 << 20))
            assert await process.wait() == 255
        over.set()


@pytest.mark.parametrize("size", [10, 1 << 30])
async def test_no_more_of_a_refusal_is_read_than_people_read(size: int) -> None:
    """Also of one that does not come to its end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(min(size // 65536, 2000)):
            writer.write(b"a" * 65536)
            await writer.drain()
        await reader.read()

    async with serving(talk) as api:
        with pytest.raises(warmshell.ConnectError, match=r"refuses \(status 404\)") as error:
            await asyncio.wait_for(execute(api), 20)
        assert len(str(error.value)) < 1000
