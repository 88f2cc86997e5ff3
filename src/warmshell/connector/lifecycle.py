"""Deploying once, whoever asks, and undeploying within bounds, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from warmshell.errors import ClosedError, ConnectError
from warmshell.shield import shielded

Act = Callable[[bool], Awaitable[None]]
State = Literal["not deployed", "deploying", "deployed", "undeploying"]

_UNDEPLOY_SECONDS = 120.0
_CANCEL_SECONDS = 10.0  # for an attempt to deploy to undo what it had begun


class LifeCycle:
    """The life cycle of one deployment.

    Args:
        name: the deployment, for errors.
        up: brings it up.
        down: takes it down.
    """

    def __init__(self, name: str, up: Act, down: Act) -> None:
        self._name = name
        self._up = up
        self._down = down
        self._deploying: asyncio.Task[None] | None = None
        self._undeploying: asyncio.Task[None] | None = None
        self._deployed = self._touched = False

    @property
    def state(self) -> State:
        """Where in its life it is."""
        if self._undeploying is not None:
            return "undeploying"
        return "deployed" if self._deployed else "not deployed" if self._deploying is None else "deploying"

    def check(self) -> None:
        """Whether it can be used.

        Raises:
            ConnectError: it is not deployed.
        """
        if self.state != "deployed":
            raise ConnectError(f"the deployment is {self.state}", location=self._name, hint="await deploy() first")

    async def deploy(self, external: bool) -> None:
        """Bring it up; nothing if it is up.

        Raises:
            ClosedError: it was undeployed meanwhile.
        """
        while self._undeploying is not None:
            await asyncio.wait([self._undeploying])
        if self._deployed:
            return
        if self._deploying is None:
            self._touched = True
            self._deploying = asyncio.ensure_future(self._deploy(external))
            self._deploying.add_done_callback(_looked_at)
        task = self._deploying
        await asyncio.wait([task])  # a caller that is cancelled takes it from no other
        if task.cancelled():
            raise ClosedError("the deployment was undeployed", location=self._name)
        task.result()

    async def _deploy(self, external: bool) -> None:
        try:
            await self._up(external)
            self._deployed = True
        finally:
            self._deploying = None

    async def undeploy(self, external: bool) -> None:
        """Take it down, if anything was ever brought up; all who ask at once wait for the same end."""
        if self._undeploying is None:
            if not self._touched:
                return
            self._undeploying = asyncio.ensure_future(self._undeploy(external))
            self._undeploying.add_done_callback(_looked_at)
        await shielded(_outcome(self._undeploying))

    async def _undeploy(self, external: bool) -> None:
        try:
            if self._deploying is not None:
                self._deploying.cancel()
                await asyncio.wait([self._deploying], timeout=_CANCEL_SECONDS)
            self._deployed = self._touched = False
            async with asyncio.timeout(_UNDEPLOY_SECONDS):
                await self._down(external)
        except TimeoutError:
            raise ConnectError(
                f"the deployment could not be taken down within {_UNDEPLOY_SECONDS:g} s", location=self._name
            ) from None
        finally:
            self._undeploying = None


async def _outcome(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
    task.result()


def _looked_at(task: asyncio.Task[None]) -> None:
    """An error that nobody waits for any more is no mistake."""
    if not task.cancelled():
        task.exception()
