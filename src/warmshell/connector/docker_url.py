"""From ``docker://CONTAINER`` and options to a place."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from warmshell.connector.docker_words import DockerOptions, exec_wrap
from warmshell.connector.wrapped import CONNECT_TIMEOUT, Here, WrappedPlace
from warmshell.errors import LocationError


def make(url: str, options: dict[str, Any]) -> WrappedPlace:
    """The place inside of a running container.

    Raises:
        LocationError: the URL names no container.
    """
    scheme, _, rest = url.partition(":")
    name = unquote(rest.removeprefix("//").rstrip("/"))
    if not name or "/" in name or urlsplit(url).query or name.startswith("-"):
        raise LocationError(f"no container in {url!r}", hint=f"write {scheme}://CONTAINER, its name or its id")
    inside = {key: options[key] for key in ("host", "context", "user", "workdir") if key in options}
    given = DockerOptions(containers=[name], program=scheme, **inside)
    return WrappedPlace(
        name, Here(), exec_wrap(given, name, ours=False), shell=options["shell"], server=options.get("server", True),
        cwd=options.get("cwd"), connect_timeout=options.get("connectTimeout", CONNECT_TIMEOUT),
    )  # fmt: skip
