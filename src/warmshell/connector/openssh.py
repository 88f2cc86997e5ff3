"""The OpenSSH client's words and what its messages mean: pure functions, no processes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from warmshell.errors import AuthenticationError, ConnectError, HostKeyError

GCM = "aes128-gcm@openssh.com"
"""The cipher that costs least on processors of today; put first unless the user's configuration chooses."""

READY = b"warmshell-connected"
"""What the connection says of itself, once others can use it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host and how to get in.

    Attributes:
        host: its name or alias in the user's configuration.
        user: the account; that of the configuration by default.
        port: its port; that of the configuration by default.
        config: another configuration file (``-F``).
        identity: a file with a private key.
        jump: a host to go through (``-J``).
        check_host_key: whether the host's key must be known.
        connect_timeout: seconds to connect in.
        alive: seconds between signs of life; three without an answer end the connection.
        asks: whether a helper answers for a password or passphrase.
        cipher: whether to put :data:`GCM` first.
    """

    host: str
    user: str | None = None
    port: int | None = None
    config: str | None = None
    identity: str | None = None
    jump: str | None = None
    check_host_key: bool = True
    connect_timeout: float = 30.0
    alive: int = 10
    asks: bool = False
    cipher: bool = True


def config_words(target: Target) -> list[str]:
    """The words that ask what the user's configuration says of the host (``ssh -G``)."""
    return ["ssh", *_named(target), "-G", target.host]


def parse_config(text: str) -> dict[str, str]:
    """The options that ``ssh -G`` prints, by name; of repeated ones the last."""
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def own_master(config: dict[str, str]) -> str | None:
    """The socket of the connection that the user shares, if the configuration says so."""
    path = config.get("controlpath", "none")
    return None if path == "none" else path


def check_words(target: Target, socket: str) -> list[str]:
    """The words that ask whether a shared connection lives."""
    return ["ssh", *_named(target), "-S", socket, "-O", "check", target.host]


def master_words(target: Target, socket: str, log: str) -> list[str]:
    """The words that make a connection for others to use; it says :data:`READY` on standard output when it is up."""
    return [
        "ssh", *_options(target, log), "-S", socket, "-o", "ControlMaster=yes", "-o", "ControlPersist=no",
        "-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=echo {READY.decode()}", "-N", "-T", target.host,
    ]  # fmt: skip


def channel_words(target: Target, socket: str, log: str, line: str) -> list[str]:
    """The words that run one line of the far login shell over a shared connection.

    Where the server takes no more sessions on it, the client makes a connection of its own.
    """
    return [
        "ssh", *_options(target, log), "-S", socket, "-o", "ControlMaster=no", "-T", "--", target.host, line,
    ]  # fmt: skip


def _named(target: Target) -> list[str]:
    words: list[str] = []
    for flag, value in (("-F", target.config), ("-l", target.user), ("-p", target.port), ("-J", target.jump)):
        if value is not None:
            words += [flag, str(value)]
    return words


def _options(target: Target, log: str) -> list[str]:
    options = {
        "BatchMode": "no" if target.asks else "yes",
        "ConnectTimeout": str(max(1, round(target.connect_timeout))),
        "ServerAliveInterval": str(target.alive),
        "ServerAliveCountMax": "3",
        "EscapeChar": "none",
        "ForwardX11": "no",
        "RequestTTY": "no",
        "StdinNull": "no",
    }
    if target.asks:
        options["NumberOfPasswordPrompts"] = "1"
    if not target.check_host_key:
        options |= {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "GlobalKnownHostsFile": "/dev/null",
        }
    if target.cipher:
        options["Ciphers"] = f"^{GCM}"
    words = [*_named(target), "-E", log]
    if target.identity is not None:
        words += ["-i", target.identity, "-o", "IdentitiesOnly=yes"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    return words


_CAUSES: tuple[tuple[str, type[ConnectError], str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED", HostKeyError, "the host's key is not the one that is known",
        "somebody may be listening; if the host really has a new key, remove the old one with 'ssh-keygen -R'",
    ),
    (
        r"Host key verification failed|No .* host key is known", HostKeyError, "the host's key is not known",
        "connect once by hand with 'ssh', or give checkHostKey=false",
    ),
    (
        r"bad permissions|UNPROTECTED PRIVATE KEY", AuthenticationError, "the private key's file may be read by others",
        "chmod 600 it",
    ),
    (
        r"Identity file .* not accessible|no such identity", AuthenticationError, "the private key's file is not there",
        "correct sshKey",
    ),
    (
        r"Permission denied \(([^)]*)\)", AuthenticationError, "the host accepts none of the keys or passwords",
        "check the user name, the key and the agent ('ssh -v' tells more)",
    ),
    (r"Too many authentication failures", AuthenticationError, "too many keys were offered", "name one with sshKey"),
    (r"Connection refused", ConnectError, "the connection was refused", "is sshd running there, at this port?"),
    (
        r"timed out|Timeout, server|Connection timed out", ConnectError, "the host does not answer in time",
        "check the network, or raise connectTimeout",
    ),
    (r"Could not resolve hostname", ConnectError, "no host has this name", "correct it or the ssh configuration"),
    (r"No route to host|Network is unreachable", ConnectError, "there is no way to the host", "check the network"),
    (
        r"Bad configuration option|Can't open user config|terminating, \d+ bad conf", ConnectError,
        "the ssh configuration cannot be read", "correct it",
    ),
    (
        r"kex_exchange_identification|Connection closed by|Connection reset by|banner exchange", ConnectError,
        "the host closed the connection", "it may have too many at once (MaxStartups)",
    ),
)  # fmt: skip

_BUSY = re.compile(
    r"kex_exchange_identification|Connection (?:closed|reset) by .*port|Exceeded MaxStartups|banner exchange"
)
_REFUSED = re.compile(r"open failed|Session open refused|administratively prohibited")


def cause(log: str, host: str, location: str) -> ConnectError:
    """The error that the client's own messages mean."""
    for pattern, kind, text, hint in _CAUSES:
        if re.search(pattern, log):
            return kind(f"{host}: {text}", location=location, hint=hint)
    last = log.strip().splitlines()
    return ConnectError(f"{host}: {last[-1] if last else 'ssh ended without a word'}", location=location)


def is_busy(log: str) -> bool:
    """Whether the host turned the connection away for now: it has too many, and may take it a little later."""
    return _BUSY.search(log) is not None and "Permission denied" not in log and "Host key" not in log


def is_refused(log: str) -> bool:
    """Whether a channel was refused on a connection that works (``MaxSessions``)."""
    return _REFUSED.search(log) is not None
