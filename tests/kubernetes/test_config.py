"""Which server is meant, and who asks: kubeconfig files, pods, proxies."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import warmshell
from warmshell.connector.kubernetes.config import access, proxy_of
from warmshell.connector.kubernetes.credentials import Credentials


def file(path: Path, **more: Any) -> str:
    path.write_text(json.dumps({
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "n"}},
                     {"name": "two", "context": {"cluster": "c"}}, {"name": "bad", "context": {"cluster": "none"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://c:6443/"}}],
        "users": [{"name": "u", "user": {"token": "12345"}}], **more,
    }))  # fmt: skip
    return str(path)


def test_contexts(tmp_path: Path) -> None:
    path = file(tmp_path / "config")
    found = access(path, None, {})
    assert (found.name, found.server, found.namespace, found.user["token"]) == ("one", "https://c:6443", "n", "12345")
    assert access(path, "two", {}).namespace == "default"
    assert access(None, None, {"KUBECONFIG": path}).name == "one"


def test_of_several_files_the_first_that_says_something_is_right(tmp_path: Path) -> None:
    first = file(tmp_path / "a", contexts=[{"name": "one", "context": {"cluster": "d"}}], clusters=[], users=[])
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "ca").write_text("PEM")
    cluster = {"server": "https://d", "certificate-authority": "ca"}
    second = file(tmp_path / "sub" / "b", clusters=[{"name": "d", "cluster": cluster}])
    found = access(None, None, {"KUBECONFIG": f"{first}:{tmp_path}/none:{second}"})
    assert (found.server, found.authority) == ("https://d", "PEM")


@pytest.mark.parametrize(
    ("context", "more", "words"),
    [
        ("none", {}, "there is no context 'none'.*there are one, two, bad"),
        ("bad", {}, "there is no cluster 'none'"),
        (None, {"current-context": ""}, "no present context"),
        (None, {"clusters": [{"name": "c", "cluster": {}}]}, "no server's URL"),
        (None, {"clusters": [{"name": "c", "cluster": {"server": "https://c", "certificate-authority": "/none"}}]},
         "'/none' cannot be read"),
        (None, {"clusters": [{"name": "c", "cluster": {"server": "https://c", "certificate-authority-data": "%"}}]},
         "no base64"),
    ],
)  # fmt: skip
def test_what_a_file_lacks(tmp_path: Path, context: str | None, more: dict[str, Any], words: str) -> None:
    with pytest.raises(warmshell.LocationError, match=words):
        access(file(tmp_path / "config", **more), context, {})


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(warmshell.LocationError, match="there is no kubeconfig file"):
        access(str(tmp_path / "none"), None, {})
    (tmp_path / "a").write_text("[1, 2]")
    with pytest.raises(warmshell.LocationError, match="holds no configuration"):
        access(str(tmp_path / "a"), None, {})
    (tmp_path / "a").write_text("{")
    with pytest.raises(warmshell.LocationError, match="is no YAML"):
        access(str(tmp_path / "a"), None, {})


def test_in_a_pod(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(warmshell.LocationError, match="not inside of a pod"):
        access(None, None, {}, in_cluster=True, pod=str(tmp_path))
    for name, text in {"token": "t", "ca.crt": "PEM", "namespace": "mine\n"}.items():
        (tmp_path / name).write_text(text)
    nowhere = {"KUBECONFIG": str(tmp_path / "none")}
    for given in ({**environ, **nowhere}, environ):
        found = access(None, None, given, in_cluster=given is environ, pod=str(tmp_path))
        assert (found.server, found.namespace, found.authority) == ("https://10.0.0.1:443", "mine", "PEM")
        assert found.user["tokenFile"] == str(tmp_path / "token")


async def test_certificates_that_are_none(tmp_path: Path) -> None:
    data = base64.b64encode(b"no certificate").decode()
    users = [{"name": "u", "user": {"client-certificate-data": data, "client-key-data": data}}]
    with pytest.raises(warmshell.LocationError, match="a certificate or its key cannot be used"):
        await Credentials(access(file(tmp_path / "config", users=users), None, {})).show()
    users = [{"name": "u", "user": {"auth-provider": {"name": "gcp"}}}]
    with pytest.raises(warmshell.LocationError, match="auth-provider"):
        Credentials(access(file(tmp_path / "config", users=users), None, {}))


@pytest.mark.parametrize(
    ("user", "headers"),
    [
        ({"username": "a", "password": "b"}, [("Authorization", "Basic YTpi")]),
        ({"token": "t", "as": "x", "as-groups": ["g", "h"]},
         [("Impersonate-User", "x"), ("Impersonate-Group", "g"), ("Impersonate-Group", "h"),
          ("Authorization", "Bearer t")]),
    ],
)  # fmt: skip
async def test_headers(tmp_path: Path, user: dict[str, Any], headers: list[tuple[str, str]]) -> None:
    path = file(tmp_path / "config", users=[{"name": "u", "user": user}])
    assert (await Credentials(access(path, None, {})).show()).headers == headers


@pytest.mark.parametrize(
    ("without", "proxied"),
    [
        ("", True), ("other.org", True), ("example.org", False), (".example.org", False),
        ("k8s.example.org:6443", False), ("k8s.example.org:443", True), ("*", False), ("le.org", True),
    ],
)  # fmt: skip
def test_proxies_and_who_does_without(without: str, proxied: bool) -> None:
    environ = {"HTTPS_PROXY": "proxy:3128", "no_proxy": without}
    found = proxy_of("https://k8s.example.org:6443", environ)
    assert found == ("http://proxy:3128" if proxied else None)


def test_addresses_and_proxies() -> None:
    environ = {"https_proxy": "http://proxy", "NO_PROXY": "10.0.0.0/8,192.168.1.1"}
    assert proxy_of("https://10.1.2.3", environ) is None
    assert proxy_of("https://192.168.1.1", environ) is None
    assert proxy_of("https://192.168.1.2", environ) == "http://proxy"
    assert proxy_of("http://192.168.1.2", environ) is None
    assert proxy_of("https://127.3.4.5", environ) is None
    assert proxy_of("https://localhost:1", environ) is None
