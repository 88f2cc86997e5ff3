"""One guardian for all tests of a file; and connectors that tell what is done to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from warmshell.connector.base import Member
from warmshell.connector.local import LocalPlace
from warmshell.connector.options import Options
from warmshell.connector.wrapper import ConnectorWrapper
from warmshell.deployment import types
from warmshell.errors import ConnectError
from warmshell.guardian import client


@pytest.fixture(scope="module", autouse=True)
def one_guardian() -> Iterator[None]:
    guardian = client.acquire()
    yield
    asyncio.run(client.release(guardian))


@dataclass(frozen=True, kw_only=True)
class ToldOptions(Options):
    """What tells.

    Attributes:
        fails: how often it cannot be deployed
        stays: whether it cannot be taken down
    """

    fails: int = 0
    stays: bool = False


class Told(ConnectorWrapper[ToldOptions]):
    """A deployment on this machine that tells what is done to it, and fails when it is asked to."""

    config: ClassVar[type] = ToldOptions
    story: ClassVar[list[str]] = []
    gates: ClassVar[dict[str, asyncio.Event]] = {}

    def __init__(self, name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(name, config_dir, **options)
        self._fails = self.options.fails
        self._stays = self.options.stays

    async def bring_up(self, external: bool) -> None:
        await super().bring_up(external)
        await self.around()
        self.story.append(f"up {self.deployment_name}" + (" external" if external else ""))
        if self.deployment_name in self.gates:
            await self.gates[self.deployment_name].wait()
        if self._fails:
            self._fails -= 1
            raise ConnectError("the power is off", location=self.deployment_name)

    async def take_down(self, external: bool) -> None:
        if self.connector.state == "deployed":  # what it is inside of must be there until it is gone
            await self.around()
        self.story.append(f"down {self.deployment_name}" + (" external" if external else ""))
        await super().take_down(external)
        if self._stays:
            raise ConnectError("it does not go", location=self.deployment_name)

    def held(self) -> dict[str, Any]:
        return {"fails": 0}

    def template(self, service: str | None) -> str | None:
        return "told"

    async def places(self, service: str | None = None) -> Sequence[Member]:
        return [Member(self.deployment_name, lambda: LocalPlace(name=self.deployment_name))]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Told]]:
    """The type ``told``, as somebody else's package would register it."""

    class Entry:
        name = "told"

        def load(self) -> Any:
            return Told

    own = types._others
    monkeypatch.setattr(types, "_others", lambda: {**own(), "told": Entry()})
    Told.story.clear()
    Told.gates.clear()
    yield Told
    Told.gates.clear()
