"""The client of one API server: requests, and programs in containers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from warmshell.connector.kubernetes.config import Access
from warmshell.connector.kubernetes.credentials import Credentials
from warmshell.connector.kubernetes.websocket import WebSocket, upgrade_headers
from warmshell.errors import AuthenticationError, ConnectError, LocationError, WarmshellError
from warmshell.protocol.remotecommand import OFFERED, ProtocolError, Receiver
from warmshell.protocol.websocket import WebSocketError, new_key

if TYPE_CHECKING:
    import aiohttp

    from warmshell.connector.kubernetes.session import ExecProcess

_log = logging.getLogger(__name__)

CONNECTIONS = 4096
_ALIVE_SECONDS = 20.0  # between signs of life, so that nothing on the way takes a connection for unused
_SAID = 64 * 1024  # bytes of an answer that says no
_SAID_SECONDS = 5.0
_SWITCHED = 101  # to the protocol that was asked for
_AGENT = "warmshell"
Parameters = Iterable[tuple[str, str]]


class Refusal(ConnectError):
    """The API server says no.

    Attributes:
        code: the HTTP status.
        reason: Kubernetes' word for it.
    """

    code = 0
    reason = ""


class NotAllowed(Refusal, AuthenticationError):
    """Because of who asks."""


class Api:
    """The client of one API server.

    Args:
        access: where it is, and who asks.
        seconds: how long a request may take.
        connections: how many connections there may be at once.
        debug: whether every request is logged.
    """

    def __init__(
        self, access: Access, *, seconds: float = 30.0, connections: int = CONNECTIONS, debug: bool = False
    ) -> None:
        self.access = access
        self._seconds = seconds
        self._level = logging.INFO if debug else logging.DEBUG
        self._credentials = Credentials(access)
        self._proxy = access.through(os.environ)
        if self._proxy is not None and not self._proxy.startswith(("http://", "https://")):
            raise LocationError(f"the proxy {self._proxy!r} cannot be used", hint="it has to be an HTTP proxy")
        self._http = _client(connections)
        self._programs: set[ExecProcess] = set()
        self._alive: asyncio.Task[None] | None = None

    # -- requests ---------------------------------------------------------------------------------------------------

    async def ask(
        self, method: str, path: str, *, params: Parameters = (), body: object = None, kind: str = "application/json"
    ) -> Any:
        """The answer to one request.

        Args:
            method: of HTTP.
            path: of the API.
            params: the query.
            body: what is sent as JSON.
            kind: what kind of JSON that is.

        Raises:
            Refusal: the server says no.
            AuthenticationError: it does not know who asks.
            ConnectError: it cannot be reached.
        """
        data = await self.text(method, path, params=params, body=body, kind=kind)
        try:
            return json.loads(data)
        except ValueError:
            raise ConnectError(f"{self.access.server} is no API server of Kubernetes", location=self.access.name,
                               hint="check the server of the context, and the proxy") from None  # fmt: skip

    async def text(
        self, method: str, path: str, *, params: Parameters = (), body: object = None, kind: str = "application/json"
    ) -> str:
        """The same as it came."""
        data = None if body is None else json.dumps(body).encode()
        for again in (True, False):
            shown = await self._credentials.show()
            headers = [("User-Agent", _AGENT), ("Accept", "application/json, */*"), ("Content-Type", kind)]
            async with self._reaching(), asyncio.timeout(self._seconds), self._http.request(
                method, self.access.server + path, params=list(params), data=data, proxy=self._proxy,
                headers=[*headers, *shown.headers], ssl=shown.tls, server_hostname=self.access.server_name,
                allow_redirects=False,
            ) as response:  # fmt: skip
                said = await response.text("utf-8", "replace")
            _log.log(self._level, "%s %s: %d", method, path, response.status)
            if response.status == 401 and again and self._credentials.forget():
                continue
            break
        if response.status >= 300:
            raise self.refusal(response.status, said)
        return said

    @contextlib.asynccontextmanager
    async def _reaching(self) -> AsyncIterator[None]:
        """What fails inside means that the server cannot be reached."""
        import aiohttp

        server, name = self.access.server, self.access.name
        try:
            yield
        except WarmshellError:
            raise
        except aiohttp.ClientConnectorCertificateError as error:
            raise ConnectError(
                f"the certificate of {server} is not right: {error.certificate_error}", location=name,
                hint="check certificate-authority and tls-server-name of the cluster",
            ) from None  # fmt: skip
        except TimeoutError:
            raise ConnectError(f"the API server {server} has not answered within {self._seconds:g} s", location=name,
                               hint="check that it runs and can be reached from here") from None  # fmt: skip
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ConnectError(f"the API server {server} cannot be reached: {_why(error)}", location=name,
                               hint="check that it runs and can be reached from here") from error  # fmt: skip

    def refusal(self, code: int, said: str) -> Refusal:
        """The error for an answer that is none."""
        try:
            status = json.loads(said)
        except ValueError:
            status = None
        message = reason = ""
        if isinstance(status, Mapping):
            message, reason = str(status.get("message") or ""), str(status.get("reason") or "")
        if code == 401:
            error: Refusal = NotAllowed(
                f"the API server does not know the user of context {self.access.name!r}: {message or 'Unauthorized'}",
                location=self.access.name, hint="its token or certificate may have expired: log in again",
            )  # fmt: skip
        elif code == 403:
            error = NotAllowed(
                f"the user of context {self.access.name!r} may not do that: {message or 'Forbidden'}",
                location=self.access.name, hint="ask for a role that allows it, or take another context",
            )  # fmt: skip
        else:
            text = message or said.strip()[:400] or "without a word"
            error = Refusal(f"the API server refuses (status {code}): {text}", location=self.access.name)
        error.code, error.reason = code, reason
        return error

    # -- programs ---------------------------------------------------------------------------------------------------

    async def execute(
        self, namespace: str, pod: str, container: str, words: Sequence[str], *, terminal: bool = False
    ) -> ExecProcess:
        """Start a program in a container.

        Args:
            namespace: where the pod is.
            pod: its name.
            container: of the pod.
            words: the program's.
            terminal: whether its streams are a terminal.

        Raises:
            Refusal: the server says no: there is no such container, or it does not run.
            ConnectError: it cannot be reached, or speaks no version that is known.
        """
        from warmshell.connector.kubernetes.session import ExecProcess

        asked = ["stdin", "stdout", "tty" if terminal else "stderr"]
        params = [("container", container), *[(name, "true") for name in asked], *[("command", word) for word in words]]
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        async with self._reaching(), asyncio.timeout(self._seconds):
            socket = await self._socket(path, params)
        try:
            receiver = Receiver(socket.protocol)
        except ProtocolError as error:
            socket.abort()
            raise ConnectError(f"no program can be started: {error}", location=self.access.name) from None
        process = ExecProcess(socket, receiver, self._programs.discard)
        self._programs.add(process)
        process.start()
        if self._alive is None or self._alive.done():
            self._alive = asyncio.ensure_future(self._keep_alive())
        return process

    async def _socket(self, path: str, params: Parameters) -> WebSocket:
        """A connection for one program."""
        for again in (True, False):
            shown = await self._credentials.show()
            key = new_key()
            response = await self._http.get(
                f"{self.access.server}{path}", params=list(params), proxy=self._proxy, ssl=shown.tls,
                headers=[("User-Agent", _AGENT), *shown.headers, *upgrade_headers(key, OFFERED)],
                server_hostname=self.access.server_name, allow_redirects=False, read_until_eof=False,
            )  # fmt: skip
            _log.log(self._level, "GET %s: %d", path, response.status)
            if response.status == _SWITCHED:
                return _upgraded(response, key)
            said = await _beginning(response)
            if response.status == 401 and again and self._credentials.forget():
                continue
            raise self.refusal(response.status, said)
        raise AssertionError("unreachable")

    async def _keep_alive(self) -> None:
        while self._programs:
            await asyncio.sleep(_ALIVE_SECONDS)
            await asyncio.gather(*[program.show_life() for program in self._programs])

    async def aclose(self) -> None:
        """End all that goes through it, and let go of its connections."""
        await asyncio.gather(*[program.aclose() for program in list(self._programs)])
        if self._alive is not None:
            self._alive.cancel()
            await asyncio.wait([self._alive])
        await self._http.close()


def _client(connections: int) -> aiohttp.ClientSession:
    try:
        import aiohttp
    except ImportError:
        raise LocationError("the API server of Kubernetes is reached by aiohttp",
                            hint="install warmshell[kubernetes], or set kubectl=") from None  # fmt: skip
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, limit_per_host=0),
        timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True,
    )  # fmt: skip


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """What an answer says, as far as people read; nothing if it does not come to that."""
    import aiohttp

    try:
        async with asyncio.timeout(_SAID_SECONDS):
            return (await response.content.read(_SAID)).decode("utf-8", "replace")
    except (aiohttp.ClientError, OSError):
        return ""
    finally:
        response.close()


def _upgraded(response: aiohttp.ClientResponse, key: str) -> WebSocket:
    try:
        return WebSocket(response, key)
    except WebSocketError:
        response.close()
        raise


def _why(error: Exception) -> str:
    inner = getattr(error, "os_error", None)
    return str(inner or error) or type(error).__name__
