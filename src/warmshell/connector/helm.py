"""Releases of Helm: installed and taken away by the ``helm`` program, their pods used as those of Kubernetes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from warmshell import marked_yaml
from warmshell.connector import helm_words as words
from warmshell.connector.helm_words import Helm3Options, Helm4Options, HelmOptions, Release
from warmshell.connector.kubernetes import judge
from warmshell.connector.kubernetes.config import Access
from warmshell.connector.kubernetes.connector import PodsConnector
from warmshell.connector.kubernetes.objects import Source, gone, pods_of
from warmshell.connector.owner import is_dead, this_client
from warmshell.errors import AuthenticationError, ConnectError, LocationError, WarmshellError
from warmshell.shield import shielded

_OURS = "warm-"
_SEPARATOR = "-"
_ASK_SECONDS = 60.0
_MORE_SECONDS = 60.0  # than helm is to wait itself
_LABEL = "app.kubernetes.io/instance"


class HelmConnector(PodsConnector[HelmOptions]):
    """The containers of a release.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        **options: those of :class:`~warmshell.connector.helm_words.Helm4Options` and of
            :class:`~warmshell.connector.wrapper.ConnectorWrapper`; the connector is the one at whose location
            ``helm`` is, and then ``kubectl`` too.

    Raises:
        LocationError: an option has a bad value.
    """

    config: ClassVar[type[Any]] = Helm4Options

    def __init__(self, deployment_name: str, config_dir: str | None = None, **options: Any) -> None:
        super().__init__(deployment_name, config_dir, **options)
        self._seconds = words.seconds(self.options.timeout)
        self._release: Release | None = None
        self._installing: str | None = None
        self._sources: list[Source] = []

    # -- life -------------------------------------------------------------------------------------------------------

    async def bring_up(self, external: bool) -> None:
        try:
            await super().bring_up(external)
            self._release = await (self._found() if external else self._installed())
            self._sources = self._sources_of(self._release)
        except BaseException:
            await shielded(self.take_down(external))
            raise

    async def take_down(self, external: bool) -> None:
        installed, self._installing = self._installing, None
        sources, self._sources = self._sources, []
        self._release = None
        try:
            if installed is not None and not external:
                await self._uninstall(installed)
                await gone(self.cluster, [], sources, self.deployment_name)
        finally:
            await super().take_down(external)

    async def _found(self) -> Release:
        name = self.options.releaseName
        if name is None:
            raise LocationError(f"{self.deployment_name}: an external deployment names its release: set releaseName=")
        found = words.release(await self._helm(words.status_words(self.options, name)))
        if found.status != "deployed":
            raise ConnectError(f"the release {name!r} is {found.status}", location=self.deployment_name)
        return found

    async def _installed(self) -> Release:
        options = self.options
        await self._sweep()
        name = options.releaseName or f"{_OURS}{this_client(_SEPARATOR, short=True)}-{secrets.token_hex(3)}"
        if options.nameTemplate is None:
            self._sources = [self._by_label(name, options.namespace or self.cluster.namespace)]
            if options.releaseName is not None:
                await self._check_free(name)
            self._installing = name
        try:
            said = await self._helm(words.install_words(options, name), self._seconds + _MORE_SECONDS)
        except AuthenticationError:
            raise
        except ConnectError as error:
            why = await self._why()
            raise ConnectError(error.message + why, command=error.command, location=self.deployment_name,
                               hint=error.hint) from None  # fmt: skip
        found = words.release(said)
        self._installing = found.name
        return found

    async def _check_free(self, name: str) -> None:
        """A release that is there already is somebody else's, and must not be taken away for this one's failure."""
        if name in words.names(await self._helm(words.list_words(self.options, name))):
            raise ConnectError(f"there is a release {name!r} already", location=self.deployment_name,
                               hint="use another releaseName=, or set external=")  # fmt: skip

    async def _why(self) -> str:
        """What the pods of a release that has failed tell."""
        try:
            for pod in await pods_of(self.cluster, self._sources):
                verdict = judge.of_pod(pod, made=True)
                if verdict.state != "ready":
                    return f"; {verdict.why}"
        except WarmshellError:
            pass
        return ""

    async def _uninstall(self, name: str) -> None:
        try:
            await self._helm(words.uninstall_words(self.options, name), _ASK_SECONDS + _MORE_SECONDS)
        except ConnectError as error:
            if "not found" not in error.message:
                raise

    async def _sweep(self) -> None:
        """Take away what clients of this machine that have ended left, as far as the names tell."""
        for name in words.names(await self._helm(words.list_words(self.options, _OURS))):
            if is_dead(name.removeprefix(_OURS), _SEPARATOR):
                await self._uninstall(name)

    async def _helm(self, said: Sequence[str], seconds: float = _ASK_SECONDS) -> str:
        around = await self.one_around()
        here = self.config_dir if self._own is not None else None
        return await self.say(around, said, seconds, env=words.environment(self.options) or None, cwd=here)

    # -- what there is ----------------------------------------------------------------------------------------------

    def _by_label(self, name: str, namespace: str) -> Source:
        return Source(namespace, selector=f"{_LABEL}={name}")

    def _sources_of(self, found: Release) -> list[Source]:
        """Where the pods of the release are found: by the usual label, and by what its objects select."""
        namespace = found.namespace or self.options.namespace or self.cluster.namespace
        sources = [self._by_label(found.name, namespace)]
        for document in marked_yaml.documents(found.manifest, f"the release {found.name}"):
            wanted = document.value
            if not isinstance(wanted, Mapping) or not isinstance(wanted.get("metadata"), Mapping):
                continue
            where = str(wanted["metadata"].get("namespace") or namespace)
            if wanted.get("kind") == "Pod":
                sources.append(Source(where, pod=str(wanted["metadata"].get("name"))))
            elif (selector := judge.selector_of(wanted)) is not None:
                sources.append(Source(where, selector=selector))
        return sources

    async def pods(self) -> Sequence[Mapping[str, Any]]:
        return await pods_of(self.cluster, self._sources)

    def access(self) -> Access:
        """As helm has it: what options say comes before what the file says."""
        options, found = self.options, super().access()
        if options.kubeApiserver is not None:
            found = replace(found, server=options.kubeApiserver.rstrip("/"))
        if options.kubeCaFile is not None:
            with open(os.path.expanduser(options.kubeCaFile), encoding="utf-8") as file:
                found = replace(found, authority=file.read())
        user = dict(found.user)
        if options.kubeToken is not None:
            user = {"token": options.kubeToken}
        if options.kubeAsUser is not None:
            user |= {"as": options.kubeAsUser, "as-groups": options.kubeAsGroup or []}
        return replace(
            found, user=user, verify=found.verify and not options.kubeInsecureSkipTLSVerify,
            server_name=options.kubeTLSServerName or found.server_name,
        )  # fmt: skip

    def held(self) -> dict[str, Any]:
        return {} if self._release is None else {"releaseName": self._release.name, "nameTemplate": None}


class Helm3Connector(HelmConnector):
    """The same by version 3 of helm, whose words differ a little.

    Args:
        deployment_name: the deployment's name.
        config_dir: the directory that relative names of files begin from.
        **options: those of :class:`~warmshell.connector.helm_words.Helm3Options`, otherwise as for
            :class:`HelmConnector`.
    """

    config: ClassVar[type[Any]] = Helm3Options
