"""From ``k8s://NAMESPACE/POD/CONTAINER`` and options to a place."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from warmshell.connector.kubernetes.api import CONNECTIONS, Api
from warmshell.connector.kubernetes.config import access
from warmshell.connector.kubernetes.kubectl import base_words, exec_wrap
from warmshell.connector.kubernetes.place import KubernetesPlace
from warmshell.connector.place import Place
from warmshell.connector.wrapped import CONNECT_TIMEOUT, Here, WrappedPlace
from warmshell.errors import LocationError


class OwnServer:
    """The API server for one place alone.

    Args:
        options: of the URL.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._api: Api | None = None

    async def enter(self) -> Api:
        given = self._options
        found = access(
            given.get("kubeconfig"), given.get("kubeContext"), os.environ, in_cluster=bool(given.get("inCluster"))
        )
        self._api = Api(
            found, seconds=given.get("connectTimeout", CONNECT_TIMEOUT),
            connections=given.get("maxConcurrentConnections", CONNECTIONS),
        )  # fmt: skip
        return self._api

    async def leave(self) -> None:
        api, self._api = self._api, None
        if api is not None:
            await api.aclose()


def make(url: str, options: dict[str, Any]) -> Place:
    """The place inside of a running container.

    Raises:
        LocationError: the URL names no pod.
    """
    namespace, pod, container = _named(url)
    rest = {"shell": options["shell"], "cwd": options.get("cwd"),
            "connect_timeout": options.get("connectTimeout", CONNECT_TIMEOUT)}  # fmt: skip
    name = ":".join([pod, container] if container else [pod])
    use_server = options.get("server", True)
    if options.get("kubectl"):
        words = base_words(options["kubectl"], options.get("kubeconfig"), options.get("kubeContext"))
        wrap = exec_wrap(words, namespace, pod, container)
        return WrappedPlace(name, Here(), wrap, server=use_server, **rest)
    return KubernetesPlace(name, OwnServer(options), namespace, pod, container, use_server=use_server, **rest)


def _named(url: str) -> tuple[str, str, str | None]:
    parts = [unquote(part) for part in url.partition(":")[2].removeprefix("//").rstrip("/").split("/")]
    right = len(parts) in (2, 3) and all(_is_name(part) for part in parts)
    if not right or urlsplit(url).query or not url.partition(":")[2].startswith("//"):
        raise LocationError(
            f"no container in {url!r}", hint="write k8s://NAMESPACE/POD or k8s://NAMESPACE/POD/CONTAINER"
        )
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _is_name(text: str) -> bool:
    return bool(text) and text[0].isalnum() and all(sign.isalnum() or sign in "-." for sign in text) and text.isascii()
