"""The OpenSSH client's words and what its messages mean: pure functions, no processes."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace

from warmshell.errors import AuthenticationError, ConnectError, HostKeyError

GCM = "aes128-gcm@openssh.com"
"""The cipher that costs least on processors of today; put first unless somebody's configuration chooses."""

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
        proxy: the same, where that host has options of its own.
        check_host_key: whether the host's key must be known.
        connect_timeout: seconds to connect in.
        alive: seconds between signs of life; three without an answer end the connection.
        asks: whether a helper answers for a password or passphrase.
        label: the name of its location; the host as people write it, by default.
    """

    host: str
    user: str | None = None
    port: int | None = None
    config: str | None = None
    identity: str | None = None
    jump: str | None = None
    proxy: Proxy | None = None
    check_host_key: bool = True
    connect_timeout: float = 30.0
    alive: int = 10
    asks: bool = False
    label: str | None = None

    @property
    def name(self) -> str:
        """The name of its location."""
        if self.label is not None:
            return self.label
        return f"{self.user}@{self.host}" if self.user else self.host


@dataclass(frozen=True, slots=True)
class Proxy:
    """A host to go through, with options of its own.

    Attributes:
        target: the host and how to get in.
        password: a file with a password, or ``None``.
        passphrase: a file with the passphrase of its key, or ``None``.
        asked: ``user@host`` as questions for its password name it.
    """

    target: Target
    password: str | None = None
    passphrase: str | None = None
    asked: str = ""


# -- the user's configuration ------------------------------------------------------------------------------------------


def config_words(target: Target) -> list[str]:
    """The words that ask what the user's configuration says of the host (``ssh -G``)."""
    return ["ssh", *_named(target), "-G", "--", target.host]


def default_words(target: Target) -> list[str]:
    """The words that ask what holds for the host without any configuration."""
    return config_words(replace(target, config="none", jump=None, proxy=None))


def parse_config(text: str) -> dict[str, str]:
    """The options that ``ssh -G`` prints, by name; of repeated ones the last."""
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def own_master(config: dict[str, str]) -> str | None:
    """The socket of the connection that the user shares, if the configuration says so."""
    path = config.get("controlpath", "none")
    return None if path == "none" else path


def ciphers(config: dict[str, str], default: dict[str, str]) -> str | None:
    """The ciphers to ask for, or ``None`` where somebody's configuration has chosen, or there is nothing to gain."""
    names = config.get("ciphers", "").split(",")
    if config.get("ciphers") != default.get("ciphers") or GCM not in names:
        return None
    return ",".join([GCM, *[name for name in names if name != GCM]])


def asked_as(config: dict[str, str]) -> str:
    """``user@host`` as the client's questions for a password name it."""
    host = config.get("hostkeyalias", "none")
    return f"{config.get('user', '')}@{config.get('hostname', '') if host == 'none' else host}"


# -- the words of connections and channels -----------------------------------------------------------------------------


def check_words(target: Target, socket: str) -> list[str]:
    """The words that ask whether a shared connection lives."""
    return ["ssh", *_named(target), "-S", socket, "-O", "check", "--", target.host]


def master_words(
    target: Target, socket: str, log: str, config: dict[str, str], cipher: str | None = None, *, helper: str = "false"
) -> list[str]:
    """The words that make a connection for others to use; it says :data:`READY` on standard output when it is up.

    Args:
        target: the host.
        socket: where others find the connection.
        log: the file for the client's own messages.
        config: what the client says of the host, which also tells which options it knows.
        cipher: the ciphers to ask for.
        helper: the program that the client asks for secrets.
    """
    options = {
        "ControlMaster": "yes", "ControlPersist": "no",
        "PermitLocalCommand": "yes", "LocalCommand": f"echo {READY.decode()}",
        "ClearAllForwardings": "yes", "ExitOnForwardFailure": "no",
        "ConnectTimeout": str(max(1, round(target.connect_timeout))),
        "ServerAliveInterval": str(target.alive), "ServerAliveCountMax": "3",
        "BatchMode": "no" if target.asks else "yes",
        **_common(config, "none"),
    }  # fmt: skip
    options |= _trust(target, config.get("stricthostkeychecking", "ask") == "ask")
    if cipher is not None:
        options["Ciphers"] = cipher
    ways = [*_way(target, helper), *_as_words(options), *([] if "SessionType" in options else ["-N"])]
    return ["ssh", *_named(target), "-E", log, "-S", socket, *ways, "-T", "--", target.host]


def _trust(target: Target, asks: bool) -> dict[str, str]:
    """Options about keys of hosts, and about questions."""
    options: dict[str, str] = {}
    if target.asks:
        options["NumberOfPasswordPrompts"] = "1"
        if asks:
            options["StrictHostKeyChecking"] = "yes"  # the helper is to answer no other question
    if not target.check_host_key:
        options |= dict.fromkeys(("UserKnownHostsFile", "GlobalKnownHostsFile"), "/dev/null")
        options["StrictHostKeyChecking"] = "no"
    return options


def _way(target: Target, helper: str) -> list[str]:
    """The key, and the host to go through."""
    words = [] if target.identity is None else ["-i", target.identity, "-o", "IdentitiesOnly=yes"]
    if target.jump is not None:
        words += ["-J", target.jump]
    if target.proxy is not None:
        words += ["-o", "ProxyCommand=" + proxy_command(target.proxy, helper)]
    return words


def proxy_command(proxy: Proxy, helper: str) -> str:
    """The line that goes through a host with options of its own; the client puts the target's name into it.

    Args:
        proxy: the host.
        helper: the program that the client asks for secrets; the line holds names of files only.
    """
    target = proxy.target
    options = {
        "ControlMaster": "no", "ControlPath": "none", "BatchMode": "no" if target.asks else "yes",
        "ConnectTimeout": str(max(1, round(target.connect_timeout))), "ServerAliveInterval": str(target.alive),
        "ServerAliveCountMax": "3", "ClearAllForwardings": "yes", **_trust(target, asks=True),
    }  # fmt: skip
    env = askpass_environment(helper, proxy.asked, proxy.password, proxy.passphrase) if target.asks else {}
    words = [*(["env", *(f"{k}={v}" for k, v in env.items())] if env else []), "ssh", *_named(target)]
    line = shlex.join([*words, *_way(target, helper), *_as_words(options)]).replace("%", "%%")
    return f"{line} -W '[%h]:%p' -- {shlex.quote(target.host).replace('%', '%%')}"


def channel_words(
    target: Target, socket: str, log: str, line: str, config: dict[str, str], *, terminal: bool = False
) -> list[str]:
    """The words that run one line of the far login shell over a shared connection, and only over that one.

    The client would log in anew where the connection takes no more sessions; a proxy that does nothing keeps it from
    that, so that it ends and says why.
    """
    options = {"ControlMaster": "no", "ProxyCommand": "false", "BatchMode": "yes", **_common(config, "default")}
    if terminal:
        options["RequestTTY"] = "force"
    way = ["-tt" if terminal else "-T", "--", target.host, line]
    return ["ssh", *_named(target), "-E", log, "-S", socket, *_as_words(options), *way]


def _common(config: dict[str, str], session: str) -> dict[str, str]:
    """Options that keep a configuration meant for terminals from what is no terminal."""
    options = {
        "LogLevel": "INFO", "EscapeChar": "none", "ForwardX11": "no", "RequestTTY": "no", "RemoteCommand": "none",
        "Tunnel": "no",
    }  # fmt: skip
    later = {"StdinNull": "no", "ForkAfterAuthentication": "no", "SessionType": session}
    # Clients before 8.7 end at options that they do not know.
    return options | {name: value for name, value in later.items() if name.lower() in config}


def _as_words(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _named(target: Target) -> list[str]:
    words: list[str] = []
    for flag, value in (("-F", target.config), ("-l", target.user), ("-p", target.port)):
        if value is not None:
            words += [flag, str(value)]
    return words


# -- the helper that answers for a password ----------------------------------------------------------------------------

_ASKPASS = """\
#!/bin/sh
# $1 is the question. Whatever is asked for another account, or is no secret, gets no answer.
case $1 in
*assphrase*) exec cat -- "${WARMSHELL_PASSPHRASE_FILE:?}" ;;
*@*"'"* | *"("*@*")"*)
    case $1 in *"$WARMSHELL_ASKED_AS'"* | *"($WARMSHELL_ASKED_AS)"*) ;; *) exit 1 ;; esac
    ;;
esac
case $1 in
*assword* | *ASSWORD*) exec cat -- "${WARMSHELL_PASSWORD_FILE:?}" ;;
*) exit 1 ;;
esac
"""


def askpass() -> str:
    """The program that the client asks for secrets: it prints a file, which no command line ever holds."""
    return _ASKPASS


def askpass_environment(program: str, asked: str, password: str | None, passphrase: str | None) -> dict[str, str]:
    """The variables that have the client ask the program; they hold names of files, not secrets."""
    env = {"SSH_ASKPASS": program, "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "none", "WARMSHELL_ASKED_AS": asked}
    if password is not None:
        env["WARMSHELL_PASSWORD_FILE"] = password
    if passphrase is not None:
        env["WARMSHELL_PASSPHRASE_FILE"] = passphrase
    return env


# -- what the client says ----------------------------------------------------------------------------------------------

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
        r"UNPROTECTED PRIVATE KEY|: bad permissions", AuthenticationError,
        "the private key's file may be read by others, so it is not used", "chmod 600 it",
    ),
    (
        r"incorrect passphrase|bad decrypt", AuthenticationError, "the passphrase of the private key is wrong",
        "correct sshKeyPassphraseFile",
    ),
    (
        r"Load key .*: (?:invalid format|error in libcrypto|unknown or unsupported)", AuthenticationError,
        "the private key's file holds no key that can be used", "correct sshKey",
    ),
    (
        r"Identity file .* not accessible", AuthenticationError, "the private key's file is not there",
        "correct sshKey",
    ),
    (
        r"Too many authentication failures", AuthenticationError, "too many keys were offered before the right one",
        "name that one with sshKey",
    ),
    (
        r"Permission denied", AuthenticationError, "the host accepts none of the keys or passwords",
        "check the user name, the key and the agent ('ssh -v' tells more)",
    ),
    (r"Could not resolve hostname", ConnectError, "no host has this name", "correct it or the ssh configuration"),
    (r"Connection refused", ConnectError, "the connection was refused", "is sshd running there, at this port?"),
    (r"No route to host|Network is unreachable", ConnectError, "there is no way to the host", "check the network"),
    (
        r"timed out|Timeout, server", ConnectError, "the host does not answer in time",
        "check the network, or raise connectTimeout",
    ),
    (
        r"Bad configuration option|Can't open user config|terminating, \d+ bad conf|Bad owner or permissions",
        ConnectError, "the ssh configuration cannot be read", "correct it",
    ),
    (r"Unable to negotiate|no matching .* found", ConnectError, "client and host have no algorithm in common",
     "see 'ssh -v'"),
    (
        r"administratively prohibited|open failed|open refused", ConnectError, "the host takes no more sessions",
        "its sshd_config may set MaxSessions to 0",
    ),
    (
        r"kex_exchange_identification|Connection closed by|Connection reset by|banner exchange", ConnectError,
        "the host closed the connection", "it may have too many at once (MaxStartups)",
    ),
)  # fmt: skip

_DENIED = re.compile(r"Permission denied|Host key verification|HAS CHANGED|Too many authentication|Could not resolve")
_BUSY = re.compile(r"kex_exchange_identification|Connection (?:closed|reset) by|Exceeded MaxStartups|banner exchange")
_FULL = re.compile(r"session request failed|Session open refused|open failed")


def cause(said: str, host: str, location: str) -> ConnectError:
    """The error that the client's own messages mean.

    Args:
        said: its messages, also those of the clients that it goes through.
        host: the host, for people.
        location: the name of the location.
    """
    for pattern, kind, text, hint in _CAUSES:
        found = re.search(pattern, said)
        if found:
            return kind(f"{_speaker(said, found) or host}: {text}", location=location, hint=hint)
    last = said.strip().splitlines()
    return ConnectError(f"{host}: {last[-1] if last else 'ssh ended without a word'}", location=location)


def _speaker(said: str, found: re.Match[str]) -> str | None:
    """Who refused, where the message says it: a host on the way may have."""
    start = said.rfind("\n", 0, found.start()) + 1
    words = re.match(r"(\S+@\S+): $", said[start : found.start()])
    return words[1] if words else None


def is_busy(said: str) -> bool:
    """Whether the host turned the connection away for now: it has too many, and may take it a little later."""
    return _BUSY.search(said) is not None and _DENIED.search(said) is None


def is_full(said: str) -> bool:
    """Whether a connection that works takes no further session (``MaxSessions``)."""
    return _FULL.search(said) is not None
