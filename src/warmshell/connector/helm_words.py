"""The words of ``helm``: what installs a release and takes it away; what its answers mean. Nothing here runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from warmshell.connector.kubernetes.options import ClusterOptions
from warmshell.errors import ConnectError, LocationError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}


@dataclass(frozen=True, kw_only=True)
class HelmOptions(ClusterOptions):
    """A release of Helm.

    Attributes:
        chart: the chart: a reference, a directory, an archive or a URL
        releaseName: what the release is called; made up by default. Of an external deployment, the one that is there
        program: the helm program
        burstLimit: requests to the API server at once, by helm
        caFile: who may vouch for the server of charts
        cascade: how what depends on an object is deleted with it
        certFile: the certificate that is shown to the server of charts
        chartVersion: the version of the chart
        commandLineValues: values, as for --set
        createNamespace: make the namespace, if it is not there
        dependencyUpdate: fetch charts that it depends on
        depUp: the former name of dependencyUpdate
        description: a description of the release
        devel: use versions that are in development too
        disableOpenapiValidation: do not compare what is rendered with what the cluster knows
        enableDns: names may be looked up while it is rendered
        fileValues: values from files, as for --set-file
        generateFlag: have a name made up, which is so by default
        hideNotes: do not show the notes of the chart
        insecureSkipTLSVerify: do not check the certificate of the server of charts
        keepHistory: keep the history of the release when it is taken away
        keyFile: the key of certFile
        keyring: the public keys that charts are verified with
        kubeApiserver: the address of the API server
        kubeAsGroup: groups to act as
        kubeAsUser: a user to act as
        kubeCaFile: who may vouch for the API server
        kubeInsecureSkipTLSVerify: do not check the certificate of the API server
        kubeTLSServerName: the name that the certificate of the API server has to bear
        kubeToken: a token for the API server; it stands on no command line
        labels: labels of the release
        nameTemplate: a template for the name of the release
        noHooks: run no hooks
        output: of no use here, as the output is read by this program
        passCredentials: show the credentials to all servers
        password: the password for the server of charts; helm takes it on its command line only
        plainHttp: fetch charts without TLS
        postRendererArgs: words for the post-renderer
        queriesPerSecond: requests to the API server in a second, by helm
        registryConfig: the file about registries
        renderSubchartNotes: render the notes of charts inside of it
        replace: use a name again that is in the history
        repo: the URL of the repository of the chart
        repositoryCache: the directory of indexes of repositories
        repositoryConfig: the file about repositories
        rollbackOnFailure: have helm take away what fails; it is taken away in any case
        atomic: the former name of rollbackOnFailure
        setJson: values, as for --set-json
        setLiteral: values, as for --set-literal
        skipCrds: install no definitions of kinds
        skipSchemaValidation: do not compare the values with the schema of the chart
        stringValues: values that are texts, as for --set-string
        takeOwnership: take over objects that are there
        timeout: how long helm may wait, such as 5m or 1h30m
        username: the user for the server of charts
        verify: verify the chart
        waitForJobs: wait for jobs to end
        yamlValues: files of values
    """

    chart: str
    releaseName: str | None = None  # noqa: N815 - these are the published names
    program: str = "helm"
    burstLimit: int | None = None  # noqa: N815
    caFile: str | None = None  # noqa: N815
    cascade: Literal["background", "foreground", "orphan"] | None = None
    certFile: str | None = None  # noqa: N815
    chartVersion: str | None = None  # noqa: N815
    commandLineValues: str | None = None  # noqa: N815
    createNamespace: bool = False  # noqa: N815
    dependencyUpdate: bool = False  # noqa: N815
    depUp: bool = False  # noqa: N815
    description: str | None = None
    devel: bool = False
    disableOpenapiValidation: bool = False  # noqa: N815
    enableDns: bool = False  # noqa: N815
    fileValues: str | None = None  # noqa: N815
    generateFlag: bool = False  # noqa: N815
    hideNotes: bool = False  # noqa: N815
    insecureSkipTLSVerify: bool = False  # noqa: N815
    keepHistory: bool = False  # noqa: N815
    keyFile: str | None = None  # noqa: N815
    keyring: str | None = None
    kubeApiserver: str | None = None  # noqa: N815
    kubeAsGroup: list[str] | None = None  # noqa: N815
    kubeAsUser: str | None = None  # noqa: N815
    kubeCaFile: str | None = None  # noqa: N815
    kubeInsecureSkipTLSVerify: bool = False  # noqa: N815
    kubeTLSServerName: str | None = None  # noqa: N815
    kubeToken: str | None = None  # noqa: N815
    labels: str | None = None
    nameTemplate: str | None = None  # noqa: N815
    noHooks: bool = False  # noqa: N815
    output: Literal["json", "table", "yaml"] | None = None
    passCredentials: bool = False  # noqa: N815
    password: str | None = None
    plainHttp: bool = False  # noqa: N815
    postRendererArgs: list[str] | None = None  # noqa: N815
    queriesPerSecond: float | None = None  # noqa: N815
    registryConfig: str | None = None  # noqa: N815
    renderSubchartNotes: bool = False  # noqa: N815
    replace: bool = False
    repo: str | None = None
    repositoryCache: str | None = None  # noqa: N815
    repositoryConfig: str | None = None  # noqa: N815
    rollbackOnFailure: bool = False  # noqa: N815
    atomic: bool = False
    setJson: list[str] | None = None  # noqa: N815
    setLiteral: list[str] | None = None  # noqa: N815
    skipCrds: bool = False  # noqa: N815
    skipSchemaValidation: bool = False  # noqa: N815
    stringValues: str | None = None  # noqa: N815
    takeOwnership: bool = False  # noqa: N815
    timeout: str = "10m"
    username: str | None = None
    verify: bool = False
    waitForJobs: bool = False  # noqa: N815
    yamlValues: list[str] | None = None  # noqa: N815


@dataclass(frozen=True, kw_only=True)
class Helm3Options(HelmOptions):
    """A release of Helm 3.

    Attributes:
        force: replace objects that cannot be changed
        postRenderer: the program that what is rendered goes through
        wait: whether to wait until everything is ready
    """

    force: bool = False
    postRenderer: str | None = None  # noqa: N815
    wait: bool = True


@dataclass(frozen=True, kw_only=True)
class Helm4Options(HelmOptions):
    """A release of Helm 4.

    Attributes:
        contentCache: the directory of fetched charts
        forceConflicts: take over fields that others manage
        forceReplace: replace objects that cannot be changed
        postRenderer: the plugin that what is rendered goes through
        serverSide: whether the server merges what is applied
        wait: what to wait for
    """

    contentCache: str | None = None  # noqa: N815
    forceConflicts: bool = False  # noqa: N815
    forceReplace: bool = False  # noqa: N815
    postRenderer: str | None = None  # noqa: N815
    serverSide: bool | None = None  # noqa: N815
    wait: Literal["watcher", "hookOnly", "legacy"] = "watcher"


_GLOBAL = {
    "burstLimit", "contentCache", "debug", "kubeApiserver", "kubeAsGroup", "kubeAsUser", "kubeCaFile", "kubeContext",
    "kubeInsecureSkipTLSVerify", "kubeTLSServerName", "kubeconfig", "namespace", "queriesPerSecond", "registryConfig",
    "repositoryCache", "repositoryConfig",
}  # fmt: skip
_UNINSTALL = {"cascade", "keepHistory"}
_APART = {"chart", "releaseName", "program", "kubeToken", "output", "generateFlag", "timeout", "wait", "nameTemplate",
          "atomic", "rollbackOnFailure", "depUp"}  # fmt: skip
_NAMES = {
    "chartVersion": "version", "commandLineValues": "set", "fileValues": "set-file", "stringValues": "set-string",
    "yamlValues": "values", "queriesPerSecond": "qps", "kubeTLSServerName": "kube-tls-server-name",
    "insecureSkipTLSVerify": "insecure-skip-tls-verify", "kubeInsecureSkipTLSVerify": "kube-insecure-skip-tls-verify",
}  # fmt: skip
_OWN = {field.name for kind in (Helm3Options, Helm4Options) for field in fields(kind)}
_OWN -= {field.name for field in fields(ClusterOptions)}


def flag(name: str) -> str:
    """The flag for an option: ``skipCrds`` is ``--skip-crds``."""
    return "--" + _NAMES.get(name, re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", name).lower())


def _flags(options: HelmOptions, names: set[str]) -> list[str]:
    words: list[str] = []
    for name in sorted(names):
        value = getattr(options, name, None)
        if value is None or value is False or (name == "chartVersion" and value == "latest"):
            continue
        several = value if isinstance(value, list) else [value]
        words += [flag(name) if one is True else f"{flag(name)}={one}" for one in several]
    if "serverSide" in names and getattr(options, "serverSide", None) is False:
        words.append("--server-side=false")
    return words


def base_words(options: HelmOptions) -> list[str]:
    """What every call begins with."""
    return [options.program, *_flags(options, _GLOBAL)]


def environment(options: HelmOptions) -> dict[str, str]:
    """What stands on no command line."""
    return {} if options.kubeToken is None else {"HELM_KUBETOKEN": options.kubeToken}


def install_words(options: HelmOptions, name: str) -> list[str]:
    """What installs the release.

    Args:
        options: of the deployment.
        name: what it is called, unless its name comes from a template.
    """
    words = [*base_words(options), "install"]
    if options.nameTemplate is None:
        words.append(name)
    else:
        words.append(f"--name-template={options.nameTemplate}")
    words.append(options.chart)
    words += _flags(options, _OWN - _GLOBAL - _UNINSTALL - _APART)
    if options.depUp and not options.dependencyUpdate:
        words.append("--dependency-update")
    # One whose name nobody knows could be taken away by nobody else.
    if options.atomic or options.rollbackOnFailure or options.nameTemplate is not None:
        words.append("--rollback-on-failure" if isinstance(options, Helm4Options) else "--atomic")
    return [*words, *_waiting(options), f"--timeout={options.timeout}", "--output=json"]


def _waiting(options: HelmOptions) -> list[str]:
    wait = getattr(options, "wait", None)
    return [f"--wait={wait}"] if isinstance(wait, str) else ["--wait"] if wait else []


def status_words(options: HelmOptions, name: str) -> list[str]:
    """What tells of a release."""
    return [*base_words(options), "status", name, "--output=json"]


def uninstall_words(options: HelmOptions, name: str) -> list[str]:
    """What takes a release away."""
    hooks = ["--no-hooks"] if options.noHooks else []
    return [*base_words(options), "uninstall", name, *_flags(options, _UNINSTALL), *hooks, "--timeout=60s"]


def list_words(options: HelmOptions, beginning: str) -> list[str]:
    """What lists releases whose names begin so, in whatever state."""
    return [*base_words(options), "list", "--all", f"--filter=^{re.escape(beginning)}", "--output=json"]


class Release(NamedTuple):
    """What helm tells of a release.

    Attributes:
        name: what it is called.
        namespace: where it is.
        status: ``deployed``, ``failed``, ``pending-install`` …
        manifest: the objects that it consists of, as text.
    """

    name: str
    namespace: str | None
    status: str
    manifest: str


def release(said: str) -> Release:
    """What the output of ``install`` or ``status`` means.

    Raises:
        ConnectError: it is none.
    """
    start = said.find("{")  # some plugins write before it
    try:
        found = json.loads(said[start:]) if start >= 0 else None
    except ValueError:
        found = None
    info = found.get("info") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(info, Mapping) or not isinstance(found.get("name"), str):
        raise ConnectError(f"helm tells of no release, but {said.strip()[:200]!r}")
    namespace = found.get("namespace")
    return Release(
        found["name"], namespace if isinstance(namespace, str) and namespace else None,
        str(info.get("status", "unknown")), str(found.get("manifest") or ""),
    )  # fmt: skip


def names(said: str) -> list[str]:
    """The names in the output of ``list``."""
    try:
        found: Any = json.loads(said or "[]")
    except ValueError:
        return []
    return [str(each["name"]) for each in found or () if isinstance(each, Mapping) and "name" in each]


def seconds(duration: str) -> float:
    """A duration as Go writes it.

    Raises:
        LocationError: it is none.
    """
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise LocationError(f"timeout= is a duration such as 90s, 5m or 1h30m, not {duration!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
