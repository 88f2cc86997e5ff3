"""From ``ssh://user@host:port`` and options to a place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmshell.connector.ssh_config import HOST, SESSIONS, Host, checked
from warmshell.errors import LocationError
from warmshell.shell.detachable import detach_of

if TYPE_CHECKING:
    from warmshell.connector.ssh import SshPlace


def make(url: str, options: dict[str, Any]) -> SshPlace:
    """The place for ``ssh://user@host:port`` and options.

    Raises:
        LocationError: there is no host in the URL, or an option has a bad value.
    """
    host, user, port = _parse(url)
    named = {name: value for name, value in options.items() if name not in ("shell", "detach")}
    given = checked(named, {**HOST, **SESSIONS}, "ssh")
    own = {name: value for name, value in given.items() if name in HOST}
    if user is not None:
        own["username"] = user
    sessions = {name: value for name, value in given.items() if name in SESSIONS}
    detach = detach_of(options.get("detach"))
    return Host(host, host, own, port).place(sessions, options.get("shell", "sh"), detach=detach)


def _parse(url: str) -> tuple[str, str | None, int | None]:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    hint = "write ssh://user@host:port"
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise LocationError(f"bad location {url!r}: {error}", hint=hint) from None
    if not host or parts.path.strip("/"):
        raise LocationError(f"no host in {url!r}" if not host else f"a host has no path: {url!r}", hint=hint)
    if parts.password is not None:
        raise LocationError("a password does not belong into a URL", hint="give passwordFile")
    written = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if written.lower() == host:  # urlsplit gives it in lower case, which aliases need not be in
        host = written
    user = unquote(parts.username) if parts.username else None
    if host.startswith("-") or (user is not None and user.startswith("-")):
        raise LocationError(f"a name cannot begin with '-': {url!r}", hint=hint)
    return host, user, port
