"""Copies for callers that block."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from warmshell.portal import Portal
from warmshell.transfer import api
from warmshell.transfer.options import Copied

if TYPE_CHECKING:
    from warmshell.transfer.blocking_streams import Reader, Writer


class Transfers:
    """What a location that blocks has for copies."""

    ask: Callable[[Callable[[Any], Coroutine[Any, Any, Any]]], Any]
    inner: Any
    portal: Any

    def reader(self, what: Any, **options: Any) -> Reader:
        """What a command writes, as a stream; see :meth:`warmshell.Location.reader`."""
        from warmshell.transfer.blocking_streams import Reader

        return Reader(self.portal, self.inner.reader(what, **options))

    def writer(self, what: Any, **options: Any) -> Writer:
        """A stream that a command reads; see :meth:`warmshell.Location.writer`."""
        from warmshell.transfer.blocking_streams import Writer

        return Writer(self.portal, self.inner.writer(what, **options))

    def put(self, local: api.Many, remote: Any, **options: Any) -> Copied:
        """Copy from this machine to the location; see :meth:`warmshell.Location.put`."""
        copied: Copied = self.ask(lambda inner: inner.put(local, remote, **options))
        return copied

    def get(self, remote: Any, local: api.Many, **options: Any) -> Copied:
        """Copy from the location to this machine; see :meth:`warmshell.Location.get`."""
        copied: Copied = self.ask(lambda inner: inner.get(remote, local, **options))
        return copied


def copy(source: Any, destination: Any, **options: Any) -> Copied:
    """Copy between any two locations; see :func:`warmshell.copy`.

    ``progress`` is called in the thread of the event loop.
    """
    portal = Portal.hold()
    try:
        return portal.call(api.copy, _awaited(source), _awaited(destination), **options)
    finally:
        portal.release()


def _awaited(where: Any) -> Any:
    """The paths that the loop knows for those of locations that block."""
    if isinstance(where, Sequence) and not isinstance(where, str | bytes | api.At):
        return [_awaited(one) for one in where]
    location = getattr(where, "location", None)
    if location is None:
        return where
    return api.At(getattr(location, "inner", location), where.path if isinstance(where, api.At) else bytes(where))
