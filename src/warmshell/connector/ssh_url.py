"""From ``ssh://user@host:port`` and options to a place."""

from __future__ import annotations

import os
from typing import Any

from warmshell.connector.openssh import Target
from warmshell.connector.ssh import SshPlace
from warmshell.errors import LocationError
from warmshell.shell.detachable import lease_of


def make(url: str, options: dict[str, Any]) -> SshPlace:
    """The place for ``ssh://user@host:port`` and options.

    Raises:
        LocationError: there is no host in the URL, or an option has a bad value.
    """
    host, user, port = _parse(url)
    for name in ("connectTimeout", "retryDelay"):
        value = options.get(name, 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise LocationError(f"{name}= is a positive number of seconds, not {value!r}")
    retries = options.get("retries", 6)
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise LocationError(f"retries= is a whole number, not {retries!r}")
    if options.get("transport") not in (None, "openssh", "asyncssh"):
        raise LocationError(f"transport= is openssh or asyncssh, not {options['transport']!r}")
    password, passphrase = (_file(options.get(name), name) for name in ("passwordFile", "sshKeyPassphraseFile"))
    target = Target(
        host=host,
        user=user or options.get("username"),
        port=port,
        config=options.get("config"),
        identity=options.get("sshKey"),
        jump=options.get("tunnel"),
        check_host_key=options.get("checkHostKey", True),
        connect_timeout=options.get("connectTimeout", 30.0),
        asks=password is not None or passphrase is not None,
    )
    return SshPlace(
        target, shell=options.get("shell", "sh"), retries=retries, retry_delay=options.get("retryDelay", 0.2),
        server=options.get("server", True), password=password, passphrase=passphrase,
        transport=options.get("transport"),
        cwd=options.get("cwd"),
        detach=lease_of(options.get("detach")),
    )  # fmt: skip


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


def _file(path: str | None, name: str) -> str | None:
    if path is None:
        return None
    path = os.path.abspath(os.path.expanduser(path))
    if not os.access(path, os.R_OK):
        raise LocationError(f"{name}: {path!r} cannot be read")
    return path
