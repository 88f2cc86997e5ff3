"""Where an API server is and who asks it: kubeconfig files, their contexts, and what a pod is told of its cluster."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from warmshell.errors import LocationError

_POD = "/var/run/secrets/kubernetes.io/serviceaccount"
_PROXIES = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to get at one API server.

    Attributes:
        name: what it is called in messages: the context.
        server: its URL.
        namespace: the namespace that is meant when none is named.
        authority: PEM text of those who may vouch for it; those of the machine by default.
        verify: whether its certificate is checked.
        server_name: the name that its certificate has to bear, if not that of the URL.
        proxy: the proxy to go through; what the environment says by default.
        user: what the file says of the user: token, certificates, program …
    """

    name: str
    server: str
    namespace: str = "default"
    authority: str | None = None
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None
    user: Mapping[str, Any] = field(default_factory=dict)

    def through(self, environ: Mapping[str, str]) -> str | None:
        """The proxy to go through."""
        return self.proxy if self.proxy is not None else proxy_of(self.server, environ)


def access(
    file: str | None, context: str | None, environ: Mapping[str, str], *, in_cluster: bool = False, pod: str = _POD
) -> Access:
    """What is known of the API server.

    Args:
        file: a kubeconfig file; those of ``KUBECONFIG``, or ``~/.kube/config`` by default.
        context: which context of it; the present one by default.
        environ: the environment.
        in_cluster: whether this process is in a pod, whose own cluster is meant.
        pod: where a pod finds its token.

    Raises:
        LocationError: a file cannot be read, or does not tell what is needed.
    """
    paths = [file] if file is not None else (environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
    paths = [os.path.expanduser(path) for path in paths if path]
    there = [path for path in paths if os.path.exists(path)]
    if in_cluster or (file is None and not there and environ.get("KUBERNETES_SERVICE_HOST")):
        return _of_pod(environ, pod)
    if not there:
        raise LocationError(
            f"there is no kubeconfig file {' or '.join(paths)}", hint="set kubeconfig=, KUBECONFIG or inCluster="
        )
    return _Merged([_read(path) for path in there], ", ".join(there)).access(context)


def _of_pod(environ: Mapping[str, str], pod: str) -> Access:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    token, authority = os.path.join(pod, "token"), os.path.join(pod, "ca.crt")
    if not host or not os.path.exists(token):
        raise LocationError("this is not inside of a pod that may ask its cluster", hint="leave out inCluster=")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    try:
        with open(os.path.join(pod, "namespace"), encoding="utf-8") as file:
            namespace = file.read().strip()
    except OSError:
        namespace = "default"
    return Access(
        name="in-cluster", server=server, namespace=namespace or "default",
        authority=_text_of(authority) if os.path.exists(authority) else None, user={"tokenFile": token},
    )  # fmt: skip


# -- files ------------------------------------------------------------------------------------------------------------


def _read(path: str) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError:
        raise LocationError("kubeconfig files need PyYAML", hint="install warmshell[kubernetes]") from None
    try:
        found = yaml.load(_text_of(path), Loader=yaml.BaseLoader)  # noqa: S506 - it makes texts, lists and mappings only
    except yaml.YAMLError as error:
        raise LocationError(f"the kubeconfig file {path!r} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, Mapping):
        raise LocationError(f"the kubeconfig file {path!r} holds no configuration")
    return {**found, "": os.path.dirname(os.path.abspath(path))}


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise LocationError(f"{path!r} cannot be read: {error}") from None


class _Merged:
    """Several files as one: the first that says something is right."""

    def __init__(self, files: list[Mapping[str, Any]], name: str) -> None:
        self._files = files
        self._name = name

    def access(self, context: str | None) -> Access:
        name = context or next((file["current-context"] for file in self._files if file.get("current-context")), None)
        if name is None:
            raise LocationError(f"{self._name}: there is no present context", hint="set kubeContext=")
        found = self._entry("context", name)
        cluster = self._entry("cluster", str(found.get("cluster", "")))
        user = self._entry("user", str(found["user"])) if found.get("user") else {}
        server = str(cluster.get("server", ""))
        if urlsplit(server).scheme not in ("http", "https"):
            raise LocationError(f"{self._name}: the cluster of context {name!r} has no server's URL, but {server!r}")
        return Access(
            name=name, server=server.rstrip("/"), namespace=found.get("namespace") or "default",
            authority=pem(cluster, "certificate-authority", self._name),
            verify=str(cluster.get("insecure-skip-tls-verify", "")).lower() != "true",
            server_name=cluster.get("tls-server-name"), proxy=cluster.get("proxy-url"), user=user,
        )  # fmt: skip

    def _entry(self, kind: str, name: str) -> dict[str, Any]:
        names: list[str] = []
        for file in self._files:
            for entry in file.get(f"{kind}s") or ():
                if isinstance(entry, Mapping) and entry.get("name") == name:
                    return _rooted(entry.get(kind) or {}, file[""])
                names.append(str(entry.get("name")) if isinstance(entry, Mapping) else "?")
        there = ", ".join(names) or "none"
        raise LocationError(f"{self._name}: there is no {kind} {name!r}", hint=f"there are {there}")


_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def _rooted(entry: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """An entry whose relative names of files begin at the directory of its own file."""
    return {
        **{key: os.path.join(directory, value) if key in _FILES else value for key, value in entry.items()},
        "": directory,
    }


def pem(entry: Mapping[str, Any], key: str, what: str) -> str | None:
    """What stands under ``KEY-data`` in base64, or in the file that ``KEY`` names; ``None``: neither is there.

    Raises:
        LocationError: it is no base64, or the file cannot be read.
    """
    data = entry.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise LocationError(f"{what}: {key}-data is no base64 of a text") from None
    return _text_of(entry[key]) if entry.get(key) else None


# -- proxies ----------------------------------------------------------------------------------------------------------


def proxy_of(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for a URL, as ``kubectl`` takes it: never for this machine itself."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    name = f"{parts.scheme}_proxy"
    proxy = environ.get(name) or environ.get(name.upper())
    if not proxy or host == "localhost" or _within(host, "127.0.0.0/8") or _within(host, "::1/128"):
        return None
    without = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if any(_meant(host, parts.port, rule.strip().lower()) for rule in without.split(",") if rule.strip()):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _meant(host: str, port: int | None, rule: str) -> bool:
    if rule == "*" or _within(host, rule):
        return True
    name, _, at = rule.rpartition(":")
    if name and at.isdigit() and ":" not in name:
        if int(at) != (port or 443):
            return False
        rule = name
    return host == rule.lstrip("*.") or host.endswith("." + rule.lstrip("*."))


def _within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
