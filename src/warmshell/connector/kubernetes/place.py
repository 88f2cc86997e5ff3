"""A container of a pod, reached through the API server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from warmshell.connector.far.channel import Channel, rest_of_line
from warmshell.connector.far.framing import hello_line, hello_of, reader_text
from warmshell.connector.far.place import FarPlace
from warmshell.connector.kubernetes.api import Api, NotAllowed, Refusal
from warmshell.connector.kubernetes.judge import why_not_running
from warmshell.connector.kubernetes.session import CountedProcess, ExecProcess
from warmshell.connector.wrapped import CONNECT_TIMEOUT
from warmshell.errors import ConnectError
from warmshell.protocol.counted import counted_text
from warmshell.shield import shielded

_SAID = 400


class Server(Protocol):
    """What holds the client of an API server."""

    async def enter(self) -> Api:
        """It, ready to be used.

        Raises:
            WarmshellError: the server cannot be used.
        """

    async def leave(self) -> None:
        """It is not used any more."""


class KubernetesPlace(FarPlace):
    """One container, by the API server's ``exec`` over WebSockets, one for each channel.

    Args:
        name: the name of its location.
        server: the API server.
        namespace: where the pod is.
        pod: its name.
        container: of the pod; the only one by default.
        shell: the shell for isolated commands.
        use_server: whether to use the session server where there is a Python.
        cwd: where commands run by default.
        connect_timeout: seconds within which a shell inside has to answer.
    """

    def __init__(
        self, name: str, server: Server, namespace: str | None, pod: str, container: str | None, *, shell: str = "sh",
        use_server: bool = True, cwd: str | None = None, connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:  # fmt: skip
        super().__init__(name, shell=shell, server=use_server, cwd=cwd)
        self._api_server = server
        self._namespace = namespace
        self._pod = pod
        self._container = container
        self._connect_timeout = connect_timeout
        self._api: Api | None = None
        self._programs: set[ExecProcess] = set()
        self._half_close = False

    @property
    def reached(self) -> bool:
        return self._api is not None

    async def reach(self) -> None:
        self._api = await self._api_server.enter()
        if self._container is None:
            self._container = await self._only_container(self._api)

    async def leave(self) -> None:
        self._api = None
        await self._api_server.leave()

    async def _only_container(self, api: Api) -> str:
        pod = await self._ask_for_pod(api)
        names = [str(each.get("name")) for each in pod.get("spec", {}).get("containers", ())]
        if len(names) != 1:
            raise ConnectError(f"the pod {self._pod!r} has several containers: {', '.join(names)}",
                               location=self.name, hint="name one: k8s://NAMESPACE/POD/CONTAINER")  # fmt: skip
        return names[0]

    async def _ask_for_pod(self, api: Api) -> dict[str, Any]:
        namespace = self._namespace or api.access.namespace
        try:
            found: dict[str, Any] = await api.ask("GET", f"/api/v1/namespaces/{namespace}/pods/{self._pod}")
        except Refusal as error:
            if error.code != 404:
                raise
            raise ConnectError(f"there is no pod {self._pod!r} in the namespace {namespace!r}",
                               location=self.name, hint="`kubectl get pods` lists them") from None  # fmt: skip
        return found

    # -- channels ---------------------------------------------------------------------------------------------------

    async def channel(self) -> Channel:
        return await self._channel(reader_text)

    async def channel_of_program(self) -> Channel:
        """Where the server speaks version 4 only, standard input is counted: it has no other end."""
        if self._half_close:
            return await self.channel()
        return await self._channel(lambda token: counted_text(reader_text(token)), counted=True)

    async def terminal(self) -> Channel:
        return await self._channel(lambda token: hello_line(token, terminal=True), terminal=True)

    async def _channel(self, text: Callable[[str], str], *, counted: bool = False, terminal: bool = False) -> Channel:
        self._check()
        token = secrets.token_hex(8)
        process = await self._execute(["sh", "-c", text(token)], terminal)
        self._half_close = process.half_close
        channel = Channel(CountedProcess(process) if counted else process, token)
        self._programs.add(process)
        try:
            await self._greet(channel, process)
        except BaseException:
            await shielded(channel.aclose())
            raise
        return channel

    async def _execute(self, words: Sequence[str], terminal: bool) -> ExecProcess:
        api, container = self._api, self._container
        assert api is not None and container is not None  # noqa: S101, PT018 - for the type checker
        self._programs = {program for program in self._programs if program.outcome is None}
        try:
            return await api.execute(
                self._namespace or api.access.namespace, self._pod, container, words, terminal=terminal
            )
        except NotAllowed:
            raise
        except Refusal as error:  # the pod itself tells more
            pod = await self._ask_for_pod(api)
            why = why_not_running(pod, container) or error.message
            raise ConnectError(f"the container {container!r} of the pod {self._pod!r} {why}", location=self.name,
                               hint=f"`kubectl describe pod {self._pod}` tells more") from None  # fmt: skip

    async def _greet(self, channel: Channel, process: ExecProcess) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                hello = await rest_of_line(channel.process.stdout, hello_of(channel.token))
                if hello is None:
                    await process.wait()
        except TimeoutError:
            raise ConnectError(
                f"no shell answers in the container {self._container!r} within {self._connect_timeout:g} s",
                location=self.name,
            ) from None
        if hello is None:
            said = process.stderr.rest().decode("utf-8", "replace").strip()
            why = said or (process.outcome.message if process.outcome is not None else "")
            raise ConnectError(f"no shell starts in the container {self._container!r}: {why[-_SAID:]}",
                               location=self.name, hint="it has to have a program 'sh'")  # fmt: skip
        channel.take_hello(hello)

    async def cut(self) -> None:
        """End all channels: the far end has been silent for too long."""
        await asyncio.gather(*[program.kill(0.0) for program in self._programs])
