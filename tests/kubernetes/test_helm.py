"""Releases of Helm: the words and the answers of its program, and their life with a stand-in for it."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

import warmshell
from kubernetes.lab import Kubernetes, container, spec
from warmshell.connector.helm import Helm3Connector
from warmshell.connector.helm_words import (
    Helm3Options,
    Helm4Options,
    base_words,
    environment,
    install_words,
    list_words,
    names,
    release,
    seconds,
    status_words,
    uninstall_words,
)
from warmshell.deployment.types import connector_class

LABELS = {"app.kubernetes.io/instance": "RELEASE", "app.kubernetes.io/name": "tools"}


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stand-in: its name."""
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("HELM_STUB", str(tmp_path / "state"))
    program = tmp_path / "helm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("helm_stub.py")} "$@"\n')
    program.chmod(stat.S_IRWXU)
    return str(program)


def chart(path: Path, *containers: dict[str, Any], labels: dict[str, str] = LABELS) -> str:
    """A chart of one Deployment."""
    template = {"metadata": {"labels": labels}, "spec": spec(*containers)}
    path.write_text(json.dumps({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "RELEASE-tools", "labels": labels},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }))  # fmt: skip
    return str(path)


def connector(kube: Kubernetes, helm: str, **options: Any) -> Helm3Connector:
    given = {"kubeconfig": kube.kubeconfig, "namespace": kube.namespace, "program": helm, **options}
    return Helm3Connector("lab", **given)


def asked(tmp_path: Path) -> list[list[str]]:
    return [json.loads(line)[0] for line in (tmp_path / "state" / ".asked").read_text().splitlines()]


@pytest.mark.parametrize("kubectl", [None, "kubectl"])
async def test_a_release_is_installed_used_and_taken_away(
    kube: Kubernetes, helm: str, tmp_path: Path, kubectl: str | None
) -> None:
    options = {"chart": chart(tmp_path / "chart"), "commandLineValues": "a=b", "kubectl": kubectl}
    async with connector(kube, helm, **options) as lab:
        found = await lab.get_available_locations()
        assert len(found) == 2
        assert {each.service for each in found.values()} == {"main"}
        for name in found:
            assert (await lab.run(name, ["echo", "in"], capture_output=True)).text == "in\n"
        [install] = [words for words in asked(tmp_path) if "install" in words]
        assert "--set=a=b" in install
        held = lab.held()
        other = connector(kube, helm, **{**options, **held})
        await other.deploy(external=True)
        assert set(await other.get_available_locations()) == set(found)
        await other.undeploy(external=True)
        assert len(await lab.get_available_locations()) == 2
    assert kube.names() == []
    assert [path.name for path in (tmp_path / "state").iterdir()] == [".asked"]


async def test_pods_without_the_usual_label_are_found_by_what_selects_them(
    kube: Kubernetes, helm: str, tmp_path: Path
) -> None:
    options = {"chart": chart(tmp_path / "chart", labels={"mine": "RELEASE"}), "wait": False, "releaseName": "plain"}
    async with connector(kube, helm, **options) as lab:
        kube.within("wait", "deployment/plain-tools", "--for=condition=Available", "--timeout=60s")
        assert len(await lab.get_available_locations()) == 2


async def test_a_name_from_a_template(kube: Kubernetes, helm: str, tmp_path: Path) -> None:
    async with connector(kube, helm, chart=chart(tmp_path / "chart"), nameTemplate="made-{{ .N }}") as lab:
        assert all(name.startswith("made-7-tools-") for name in await lab.get_available_locations())
        [install] = [words for words in asked(tmp_path) if "install" in words]
        assert "--atomic" in install
    assert kube.names() == []


async def test_what_fails_is_told_with_what_the_pods_say_and_taken_away(
    kube: Kubernetes, helm: str, tmp_path: Path
) -> None:
    broken = chart(tmp_path / "chart", container("warm/nowhere:1"))
    lab = connector(kube, helm, chart=broken, timeout="4s")
    with pytest.raises(warmshell.ConnectError, match=r"context deadline exceeded.*image 'warm/nowhere:1'"):
        await lab.deploy()
    assert kube.names() == []
    assert [path.name for path in (tmp_path / "state").iterdir()] == [".asked"]


@pytest.mark.parametrize(
    ("options", "external", "words"),
    [
        ({"chart": "none"}, False, 'path "none" not found'),
        ({"program": "no-helm-here"}, False, "no-helm-here"),
        ({}, True, "set releaseName="),
        ({"releaseName": "none"}, True, "release: not found"),
        ({"releaseName": "pending"}, True, "the release 'pending' is pending-install"),
        ({"releaseName": "pending"}, False, "there is a release 'pending' already"),
    ],
)
async def test_what_cannot_be(
    kube: Kubernetes, helm: str, tmp_path: Path, options: dict[str, str], external: bool, words: str
) -> None:
    info = {"name": "pending", "info": {"status": "pending-install"}, "manifest": ""}
    (tmp_path / "state" / "pending").write_text(json.dumps(info))
    lab = connector(kube, helm, **{"chart": chart(tmp_path / "chart"), **options})
    with pytest.raises(warmshell.WarmshellError, match=words):
        await lab.deploy(external=external)
    await lab.undeploy(external=external)
    assert (tmp_path / "state" / "pending").exists()


async def test_what_a_dead_client_left_is_taken_away(kube: Kubernetes, helm: str, tmp_path: Path) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    left = json.dumps({"name": "x", "info": {"status": "deployed"}, "manifest": "{}"})
    for name in (f"warm-{boot}-1-1-abcdef", f"warm-{boot}-{os.getpid()}-x-abcdef", "warm-00000000-1-1-abcdef"):
        (tmp_path / "state" / name).write_text(left)
    async with connector(kube, helm, chart=chart(tmp_path / "chart"), wait=False):
        there = {path.name for path in (tmp_path / "state").iterdir()}
        assert f"warm-{boot}-1-1-abcdef" not in there
        assert {f"warm-{boot}-{os.getpid()}-x-abcdef", "warm-00000000-1-1-abcdef"} <= there


# -- words ------------------------------------------------------------------------------------------------------------


def test_words_of_helm_3() -> None:
    options = Helm3Options(
        chart="repo/chart", namespace="n", kubeContext="c", chartVersion="1.2", yamlValues=["a.yaml", "b.yaml"],
        commandLineValues="a=1", skipCrds=True, enableDns=True, queriesPerSecond=2.5, kubeToken="secret", depUp=True,
        postRenderer="./p", cascade="foreground", keepHistory=True, noHooks=True, rollbackOnFailure=True, debug=True,
        disableOpenapiValidation=True, insecureSkipTLSVerify=True, kubeTLSServerName="k", setJson=['a={"b":1}'],
    )  # fmt: skip
    base = ["helm", "--debug", "--kube-context=c", "--kube-tls-server-name=k", "--namespace=n", "--qps=2.5"]
    assert base_words(options) == base
    assert environment(options) == {"HELM_KUBETOKEN": "secret"}
    words = install_words(options, "r")
    assert words == [
        *base, "install", "r", "repo/chart", "--version=1.2", "--set=a=1", "--disable-openapi-validation",
        "--enable-dns", "--insecure-skip-tls-verify", "--no-hooks", "--post-renderer=./p", '--set-json=a={"b":1}',
        "--skip-crds", "--values=a.yaml", "--values=b.yaml", "--dependency-update", "--atomic", "--wait",
        "--timeout=10m", "--output=json",
    ]  # fmt: skip
    assert not any("secret" in word for word in words)
    assert status_words(options, "r") == [*base, "status", "r", "--output=json"]
    assert uninstall_words(options, "r") == [
        *base, "uninstall", "r", "--cascade=foreground", "--keep-history", "--no-hooks", "--timeout=60s",
    ]  # fmt: skip
    assert list_words(options, "warm-")[-3:] == ["--all", "--filter=^warm\\-", "--output=json"]


def test_words_of_helm_4() -> None:
    options = Helm4Options(
        chart="./c", chartVersion="latest", rollbackOnFailure=True, serverSide=False, forceConflicts=True, wait="legacy"
    )
    assert install_words(options, "r") == [
        "helm", "install", "r", "./c", "--force-conflicts", "--server-side=false", "--rollback-on-failure",
        "--wait=legacy", "--timeout=10m", "--output=json",
    ]  # fmt: skip
    assert "--wait" not in install_words(Helm3Options(chart="c", wait=False), "r")


INSTALLED = """WARNING: Kubernetes configuration file is group-readable. This is insecure.
{"name":"web","info":{"first_deployed":"2024-05-06T07:08:09.123456789+02:00","last_deployed":
"2024-05-06T07:08:09.123456789+02:00","deleted":"","description":"Install complete","status":"deployed",
"notes":"1. Get the URL\\n"},"chart":{"metadata":{"name":"web","version":"0.1.0"}},"config":{"replicaCount":2},
"manifest":"---\\n# Source: web/templates/a.yaml\\napiVersion: v1\\nkind: Service\\n","version":1,"namespace":"apps"}
"""


def test_what_helm_tells() -> None:
    """Written as helm is known to write it; none could be recorded here."""
    found = release(INSTALLED)
    assert (found.name, found.namespace, found.status) == ("web", "apps", "deployed")
    assert found.manifest.startswith("---\n# Source")
    assert release('{"name": "a", "info": {}}').status == "unknown"
    for said in ("", "release installed", "[]", "{", '{"name": 1, "info": {}}', '{"info": {}}'):
        with pytest.raises(warmshell.ConnectError, match="helm tells of no release"):
            release(said)
    assert names('[{"name":"a","namespace":"n","revision":"1","status":"failed"},{"name":"b"}]') == ["a", "b"]
    assert names("") == names("null") == names("nonsense") == []


def test_durations() -> None:
    assert [seconds(text) for text in ("90s", "5m", "1h30m", "1.5h", "500ms")] == [90, 300, 5400, 5400, 0.5]
    for text in ("", "5", "5 m", "m", "5m x"):
        with pytest.raises(warmshell.LocationError, match="timeout= is a duration"):
            seconds(text)


def test_types() -> None:
    assert connector_class("helm").config is connector_class("helm4").config is Helm4Options
    assert connector_class("helm3").config is Helm3Options
