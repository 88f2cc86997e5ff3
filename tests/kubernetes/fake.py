"""A stand-in for the API server: of version 5 of the protocol, which no cluster that can run here speaks.

It answers for one pod, whose container is this machine: programs are real processes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import WSMsgType, web

POD = {"metadata": {"name": "pod", "namespace": "default"}, "spec": {"containers": [{"name": "main"}]},
       "status": {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}}  # fmt: skip


class Fake:
    """A server on a loopback port.

    Attributes:
        url: where it is.
        protocols: the versions that it speaks.
        token: the only one that it takes; any if there is none.
        most: bytes of output after which it sends no more, as servers did that lost the last of it.
        cut: whether it ends the connection without a status.
        says: what it says instead of starting a program.
        asked: the requests that it got.
        pings: how many signs of life.
        chosen: the versions that were agreed upon.
    """

    def __init__(self) -> None:
        self.url = ""
        self.protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
        self.token: str | None = None
        self.most: int | None = None
        self.cut = False
        self.says: bytes | str | None = None
        self.asked: list[web.BaseRequest] = []
        self.pings = 0
        self.chosen: list[str | None] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response(
                {"kind": "Status", "message": "Unauthorized", "reason": "Unauthorized"}, status=401
            )
        if request.path.endswith("/exec"):
            return await self._execute(request)
        return web.json_response(POD if request.path.endswith("/pods/pod") else {}, status=200)

    async def _execute(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=self.protocols, autoping=False)
        await socket.prepare(request)
        self.chosen.append(socket.ws_protocol)
        if isinstance(self.says, str):
            await socket.send_str(self.says)
        elif self.says is not None:
            await socket.send_bytes(self.says)
            return socket
        process = await asyncio.create_subprocess_exec(
            *request.query.getall("command"), stdin=-1, stdout=-1, stderr=-1, start_new_session=True
        )
        reading = asyncio.ensure_future(self._feed(socket, process))
        pumps = [self._pump(socket, 1, process.stdout), self._pump(socket, 2, process.stderr)]
        with contextlib.suppress(ConnectionError, RuntimeError):
            await asyncio.gather(*pumps)
            status = await process.wait()
            if not self.cut:
                await socket.send_bytes(b"\x03" + json.dumps(_status(status)).encode())
            await socket.close()
        await process.wait()
        reading.cancel()
        await asyncio.wait([reading])
        return socket

    async def _pump(self, socket: web.WebSocketResponse, channel: int, stream: Any) -> None:
        sent = 0
        while data := await stream.read(30_000):
            room = len(data) if self.most is None or channel == 2 else max(0, self.most - sent)
            sent += len(data)
            with contextlib.suppress(
                ConnectionError, RuntimeError
            ):  # nobody is there any more: it is read all the same
                if room:
                    await socket.send_bytes(bytes([channel]) + data[:room])

    async def _feed(self, socket: web.WebSocketResponse, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            async for message in socket:
                if message.type is WSMsgType.PING:
                    self.pings += 1
                    await socket.pong(message.data)
                elif message.data[:1] == b"\xff":
                    assert socket.ws_protocol == "v5.channel.k8s.io"
                    process.stdin.close()
                elif message.data[:1] == b"\x00":
                    process.stdin.write(message.data[1:])
                    await process.stdin.drain()
        process.stdin.close()


def _status(code: int) -> dict[str, object]:
    if code == 0:
        return {"status": "Success"}
    cause = {"reason": "ExitCode", "message": str(code if code >= 0 else 128 - code)}
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [cause]}}


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Fake]:
    """The stand-in, serving."""
    fake = Fake()
    runner = web.ServerRunner(web.Server(fake.answer), shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        await runner.cleanup()


def kubeconfig(server: str, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    """A file's text for one server."""
    return json.dumps({
        "current-context": "fake", "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
        "clusters": [{"name": "fake", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "me", "user": user or {}}],
    })  # fmt: skip
