"""The options of SSH hosts, by their published names: what each must be, and the places that they make."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from warmshell.connector.openssh import Proxy, Target
from warmshell.connector.ssh import SshPlace
from warmshell.errors import LocationError

RETRIES, RETRY_DELAY = 6, 0.2
CONNECT_TIMEOUT = 30.0

Check = Callable[[str, Any], Any]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise LocationError(f"{name}= is a text, not {value!r}")
    return value


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise LocationError(f"{name}= is true or false, not {value!r}")
    return value


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise LocationError(f"{name}= is a positive number of seconds, not {value!r}")
    return float(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise LocationError(f"{name}= is a whole number, not {value!r}")
    return value


def _positive(name: str, value: Any) -> int:
    if _count(name, value) < 1:
        raise LocationError(f"{name}= is a whole number of at least 1, not {value!r}")
    return int(value)


def _transport(name: str, value: Any) -> str:
    if value not in ("openssh", "asyncssh"):
        raise LocationError(f"{name}= is openssh or asyncssh, not {value!r}")
    return str(value)


def _any(_name: str, value: Any) -> Any:
    return value


HOST: dict[str, Check] = {
    "config": _text, "username": _text, "sshKey": _text, "sshKeyPassphraseFile": _text, "passwordFile": _text,
    "checkHostKey": _truth, "connectTimeout": _seconds, "tunnel": _any,
}  # fmt: skip
"""Options of one host, which it inherits from its deployment if it has none of its own."""

SESSIONS: dict[str, Check] = {
    "retries": _count, "retryDelay": _seconds, "maxConcurrentSessions": _positive, "maxConnections": _positive,
    "server": _truth, "cwd": _text, "transport": _transport,
}  # fmt: skip
"""Options of the connections to a host, the same for all hosts of a deployment."""


def checked(given: Mapping[str, Any], known: Mapping[str, Check], where: str) -> dict[str, Any]:
    """The options that were given, each of them what it must be; ``None`` counts as not given.

    Raises:
        LocationError: one is not known, or has a bad value.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"is it {near[0]!r}?" if near else "it has " + ", ".join(known)
            raise LocationError(f"{where}: has no option {name!r}", hint=hint)
    return {name: known[name](name, value) for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Host:
    """One host: how to get in.

    Attributes:
        name: as it was written, with the port: the name of its location.
        host: its name or alias in the ssh configuration.
        options: those of :data:`HOST`, checked.
        port: its port, if it was given.
        base: the directory that names of files are relative to.
    """

    name: str
    host: str
    options: Mapping[str, Any] = field(default_factory=dict)
    port: int | None = None
    base: str | None = None

    @classmethod
    def of(cls, given: object, inherited: Mapping[str, Any], base: str | None, what: str) -> Host:
        """The host that an entry of a deployment means: ``host``, ``host:port``, or an object with ``hostname``.

        Args:
            given: the entry.
            inherited: options that it has unless it says otherwise.
            base: the directory that names of files are relative to.
            what: the entry, for errors.

        Raises:
            LocationError: it means none.
        """
        entry = {"hostname": given} if isinstance(given, str) else given
        if not isinstance(entry, Mapping) or not isinstance(entry.get("hostname"), str):
            raise LocationError(f"{what} is a host's name, or an object with its hostname, not {given!r}")
        options = checked({k: v for k, v in entry.items() if k != "hostname"}, HOST, what)
        inherited = {name: value for name, value in inherited.items() if name not in entry}  # null takes away
        host, port = _split(entry["hostname"], what)
        return cls(entry["hostname"], host, {**inherited, **options}, port, base)

    def target(self, label: str | None = None) -> Target:
        """How the ssh client gets in.

        Args:
            label: the name of its location; that of the host by default.
        """
        options = self.options
        tunnel = options.get("tunnel")
        proxy = None if tunnel is None or isinstance(tunnel, str) else self._proxy(tunnel)
        user, _, host = self.host.rpartition("@")
        return Target(
            host=host, user=user or options.get("username"), port=self.port, config=self._file("config"),
            identity=self._file("sshKey"), jump=tunnel if isinstance(tunnel, str) else None, proxy=proxy,
            check_host_key=options.get("checkHostKey", True),
            connect_timeout=options.get("connectTimeout", CONNECT_TIMEOUT), asks=any(self.secrets()),
            label=label,
        )  # fmt: skip

    def _proxy(self, tunnel: object) -> Proxy:
        inherited = {name: value for name, value in self.options.items() if name != "tunnel"}
        on_the_way = Host.of(tunnel, inherited, self.base, "tunnel")
        return Proxy(on_the_way.target(), *on_the_way.secrets())

    def secrets(self) -> tuple[str | None, str | None]:
        """The files with its password and with the passphrase of its key.

        Raises:
            LocationError: one cannot be read.
        """
        return self._secret("passwordFile"), self._secret("sshKeyPassphraseFile")

    def _secret(self, name: str) -> str | None:
        path = self._file(name)
        if path is None:
            return None
        path = os.path.abspath(os.path.expanduser(path))
        if not os.access(path, os.R_OK):
            raise LocationError(f"{name}: {path!r} cannot be read")
        return path

    def _file(self, name: str) -> str | None:
        path: str | None = self.options.get(name)
        return path if path is None or self.base is None else os.path.join(self.base, os.path.expanduser(path))

    def place(
        self, sessions: Mapping[str, Any], shell: str, name: str | None = None, *, detach: Any = None
    ) -> SshPlace:
        """What reaches it.

        Args:
            sessions: the options of :data:`SESSIONS`, checked.
            shell: the shell for isolated commands.
            name: the name of its location; that of the host by default.
            detach: how its session outlives its connection.
        """
        password, passphrase = self.secrets()
        return SshPlace(
            self.target(name), shell=shell, password=password, passphrase=passphrase,
            retries=sessions.get("retries", RETRIES), retry_delay=sessions.get("retryDelay", RETRY_DELAY),
            sessions=sessions.get("maxConcurrentSessions"), connections=sessions.get("maxConnections"),
            server=sessions.get("server", True), transport=sessions.get("transport"), cwd=sessions.get("cwd"),
            detach=detach,
        )  # fmt: skip


def _split(hostname: str, what: str) -> tuple[str, int | None]:
    """The name and the port of ``host:port``; an IPv6 address with a port stands in brackets."""
    host, colon, port = hostname.rpartition(":")
    if hostname.startswith("[") and hostname.endswith("]"):
        host, port = hostname[1:-1], ""
    elif not colon or (":" in host and not host.endswith("]")):
        host, port = hostname, ""
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise LocationError(f"{what}: a port is a number up to 65535, not {port!r}")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or host.startswith("-") or "@-" in host or any(c.isspace() or c == "\0" for c in host):
        raise LocationError(f"{what}: not the name of a host: {hostname!r}")
    return host, int(port) if port else None
