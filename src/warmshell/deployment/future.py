"""A connector that is deployed when it is first used."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from warmshell.connector.base import Connector, Member

_LIFE = ("deploy", "undeploy", "bring_up", "take_down")


class FutureConnector(Connector):
    """Stands for a connector that may not be deployed yet, and deploys it when it is first asked for anything.

    All that ask before it is deployed wait for the same attempt, and are told the same cause if it fails; whoever asks
    after that tries again. ``isinstance`` takes it for its connector's class, whose attributes it has.

    Args:
        inner: the connector.
        ready: returns when the connector is deployed.
        end: takes it down, after what wraps it.
    """

    def __init__(
        self, inner: Connector, ready: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]
    ) -> None:
        # Nothing of its own: whatever Connector keeps is looked up in the one that it stands for.
        self._inner = inner
        self._ready = ready
        self._end = end

    @property  # type: ignore[misc]
    def __class__(self) -> type[Connector]:  # type: ignore[override]
        """The class of the connector that it stands for."""
        return type(self._inner)

    @property
    def inner(self) -> Connector:
        """The connector that it stands for, as it is now."""
        return self._inner

    def __getattr__(self, name: str) -> Any:
        if name in ("_inner", "_ready", "_end"):  # a copy without its __init__
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def deploy(self, external: bool = False) -> None:
        """Nothing: it is deployed on first use."""

    async def undeploy(self, external: bool = False) -> None:  # noqa: ARG002 - what it is, its deployment says
        """Take it down, after what wraps it; if it is external, only disconnect from it. It may be deployed again."""
        await self._end()

    async def places(self, service: str | None = None) -> Sequence[Member]:
        await self._ready()
        return await self._inner.places(service)

    def __repr__(self) -> str:
        return f"<FutureConnector of {self._inner!r}>"


def _on_use(name: str) -> Callable[..., Awaitable[Any]]:
    """The method of this name, once the connector is deployed."""

    @functools.wraps(getattr(Connector, name))
    async def method(self: FutureConnector, *args: Any, **options: Any) -> Any:
        await self._ready()
        return await getattr(self._inner, name)(*args, **options)

    return method


def _as_it_is(name: str) -> Callable[..., Any]:
    """What waits for nothing is asked of the connector as it is, deployed or not."""

    @functools.wraps(getattr(Connector, name))
    def method(self: FutureConnector, *args: Any, **options: Any) -> Any:
        return getattr(self._inner, name)(*args, **options)

    return method


for _name, _member in inspect.getmembers(Connector):
    if _name.startswith("_") or _name in _LIFE or _name in vars(FutureConnector):
        continue
    if inspect.iscoroutinefunction(_member):
        setattr(FutureConnector, _name, _on_use(_name))
    elif inspect.isfunction(_member):
        setattr(FutureConnector, _name, _as_it_is(_name))
    elif isinstance(_member, property):
        setattr(FutureConnector, _name, property(operator.attrgetter(f"_inner.{_name}"), doc=_member.__doc__))
