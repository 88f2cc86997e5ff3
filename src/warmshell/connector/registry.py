"""From a URL to a place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from warmshell.errors import LocationError

if TYPE_CHECKING:
    from warmshell.connector.place import Place


def _whole(text: str) -> int:
    return int(text)


def _text(text: str) -> str:
    return text


def _truth(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ValueError(f"{text!r} is neither true nor false")
    return known[text.lower()]


def _lease(text: str) -> float | bool:
    try:
        return float(text)
    except ValueError:
        return _truth(text)


# Options of every location: what they are read with when they come from a URL, and what they must be.
_COMMON: dict[str, Callable[[str], Any]] = {
    "shells": _whole, "idle": float, "age": float, "shell": _text, "name": _text,
}  # fmt: skip
_LOCAL: dict[str, Callable[[str], Any]] = {"framing": _text, "cwd": _text, "detach": _lease}

_SSH: dict[str, Callable[[str], Any]] = {
    "config": _text, "username": _text, "sshKey": _text, "sshKeyPassphraseFile": _text, "passwordFile": _text,
    "checkHostKey": _truth, "connectTimeout": float, "tunnel": _text, "retries": _whole, "retryDelay": float,
    "server": _truth, "cwd": _text, "detach": _lease, "transport": _text,
    "maxConcurrentSessions": _whole, "maxConnections": _whole,
}  # fmt: skip

_CONTAINER: dict[str, Callable[[str], Any]] = {
    "host": _text, "context": _text, "user": _text, "workdir": _text, "server": _truth, "cwd": _text,
    "connectTimeout": float,
}  # fmt: skip

_SINGULARITY: dict[str, Callable[[str], Any]] = {
    "bind": _text, "home": _text, "program": _text, "cleanenv": _truth, "contain": _truth, "containall": _truth,
    "fakeroot": _truth, "nv": _truth, "rocm": _truth, "writable": _truth, "writableTmpfs": _truth, "server": _truth,
    "cwd": _text, "connectTimeout": float,
}  # fmt: skip

_POD: dict[str, Callable[[str], Any]] = {
    "kubeconfig": _text, "kubeContext": _text, "inCluster": _truth, "kubectl": _text, "server": _truth, "cwd": _text,
    "connectTimeout": float, "maxConcurrentConnections": _whole,
}  # fmt: skip


def _local(url: str, options: dict[str, Any]) -> Place:
    from warmshell.connector.local import LocalPlace

    parts = urlsplit(url)
    if parts.netloc or parts.path:
        raise LocationError(f"not a local location: {url!r}", hint="write 'local:' and options behind a '?'")
    own = {name: options.pop(name) for name in list(options) if name in _LOCAL}
    if own.get("detach") is not None and own["detach"] is not False:
        from warmshell.connector.local_session import make

        return make(own)
    own.pop("detach", None)
    return LocalPlace(**own)


def _ssh(url: str, options: dict[str, Any]) -> Place:
    from warmshell.connector.ssh_url import make

    own = {name: options.pop(name) for name in list(options) if name in _SSH}
    return make(url, {**own, "shell": options.get("shell", "sh")})


def _container(url: str, options: dict[str, Any]) -> Place:
    from warmshell.connector.docker_url import make

    own = {name: options.pop(name) for name in list(options) if name in _CONTAINER}
    return make(url, {**own, "shell": options.get("shell", "sh")})


def _singularity(url: str, options: dict[str, Any]) -> Place:
    from warmshell.connector.singularity_url import make

    own = {name: options.pop(name) for name in list(options) if name in _SINGULARITY}
    return make(url, {**own, "shell": options.get("shell", "sh")})


def _pod(url: str, options: dict[str, Any]) -> Place:
    from warmshell.connector.kubernetes.url import make

    own = {name: options.pop(name) for name in list(options) if name in _POD}
    return make(url, {**own, "shell": options.get("shell", "sh")})


_SCHEMES: dict[str, tuple[Callable[[str, dict[str, Any]], Place], dict[str, Callable[[str], Any]]]] = {
    "local": (_local, _LOCAL),
    "ssh": (_ssh, _SSH),
    "docker": (_container, _CONTAINER),
    "podman": (_container, _CONTAINER),
    "singularity": (_singularity, _SINGULARITY),
    "apptainer": (_singularity, _SINGULARITY),
    "k8s": (_pod, _POD),
}


def is_url(where: str) -> bool:
    """Whether a word is a URL of a kind known here, or looks like one of another kind."""
    return where in _SCHEMES or ":" in where.partition("/")[0] or not where


def known_schemes() -> str:
    """The kinds of URLs, for people."""
    return ", ".join(f"{name}:" for name in _SCHEMES)


def common(options: dict[str, Any], what: str) -> dict[str, Any]:
    """The options that every location has, checked.

    Raises:
        LocationError: another one, or one with a bad value.
    """
    for name in options:
        if name not in _COMMON:
            raise LocationError(f"{what}: has no option {name!r} beside those of its file",
                                hint="it has " + ", ".join(_COMMON))  # fmt: skip
    _check(options)
    return options


def parse(where: str, options: dict[str, Any]) -> tuple[Place, dict[str, Any]]:
    """The place for a URL, and the options that are the location's own.

    Raises:
        LocationError: an unknown scheme, a bad URL, an unknown option or a bad value.
    """
    url = f"{where}:" if where in _SCHEMES else where
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in _SCHEMES:
        hint = f"a location is a URL of a kind known here: {known_schemes()}"
        raise LocationError(f"unknown location {where!r}", hint=hint)
    make, own = _SCHEMES[scheme]
    merged = {**_query(url, {**_COMMON, **own}), **options}
    for name in merged:
        if name not in _COMMON and name not in own:
            raise LocationError(f"{scheme}: has no option {name!r}", hint="it has " + ", ".join([*_COMMON, *own]))
    _check(merged)
    place = make(url.partition("?")[0], merged)
    return place, merged


def _query(url: str, readers: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    try:
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=bool(urlsplit(url).query))
        return {name: readers.get(name, _text)(value) for name, value in pairs}
    except ValueError as error:
        raise LocationError(f"bad location {url!r}: {error}") from None


def _check(options: dict[str, Any]) -> None:
    shells = options.get("shells", 1)
    if isinstance(shells, bool) or not isinstance(shells, int) or shells < 1:
        raise LocationError(f"shells= is a whole number of at least 1, not {shells!r}")
    for name in ("idle", "age"):
        seconds = options.get(name, 1.0)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise LocationError(f"{name}= is a positive number of seconds, not {seconds!r}")
    if not isinstance(options.get("name", "x"), str) or not options.get("name", "x"):
        raise LocationError(f"name= is a text, not {options['name']!r}")
    if not isinstance(options.get("shell", "sh"), str) or not options.get("shell", "sh").strip():
        raise LocationError(f"shell= is the name of a shell, not {options['shell']!r}")
