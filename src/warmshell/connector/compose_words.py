"""The words of ``docker compose``, and what it answers. Nothing here runs them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from warmshell.connector.docker_words import LABEL, DaemonOptions, base_words, flag
from warmshell.connector.options import Count


@dataclass(frozen=True, kw_only=True)
class ComposeOptions(DaemonOptions):
    """Services of Compose files; each of their containers is a location.

    Attributes:
        files: the Compose files; what stands in later ones goes before what stands in earlier ones
        projectName: the name of the project, instead of that of the files or of their directory
        projectDirectory: where relative names in the files begin, instead of the directory of the first one
        profiles: the profiles whose services are meant too
        envFile: files of variables for the Compose files
        scale: how many containers a service has, by its name
        logLevel: how much docker's command tells
        tls: use TLS
        tlscacert: the certificates of authorities that are trusted
        tlscert: the client's certificate
        tlskey: the key of that
        tlsverify: use TLS, and verify the daemon
        compatibility: be compatible with version 1, such as in the names of containers
        build: build images before
        noBuild: build no images
        noDeps: start no services that others depend on
        noStart: create the containers only
        noRecreate: leave containers that are there as they are
        forceRecreate: make all containers anew
        alwaysRecreateDeps: make those anew that others depend on
        renewAnonVolumes: make anonymous volumes anew
        removeOrphans: remove containers of services that the files do not have
        removeVolumes: remove the volumes at the end
        timeout: seconds that containers are given to stop
        wait: wait until the services are running, or healthy
        noAnsi: without a meaning, as it is always so
        verbose: without a meaning any more
        skipHostnameCheck: without a meaning any more
    """

    files: list[str]
    projectName: str | None = None  # noqa: N815 - as the published names are, here and below
    projectDirectory: str | None = None  # noqa: N815
    profiles: list[str] | None = None
    envFile: list[str] | None = None  # noqa: N815
    scale: dict[str, Count] | None = None
    logLevel: str | None = None  # noqa: N815
    tls: bool | None = None
    tlscacert: str | None = None
    tlscert: str | None = None
    tlskey: str | None = None
    tlsverify: bool | None = None
    compatibility: bool | None = None
    build: bool | None = None
    noBuild: bool | None = None  # noqa: N815
    noDeps: bool | None = None  # noqa: N815
    noStart: bool | None = None  # noqa: N815
    noRecreate: bool | None = None  # noqa: N815
    forceRecreate: bool | None = None  # noqa: N815
    alwaysRecreateDeps: bool | None = None  # noqa: N815
    renewAnonVolumes: bool | None = None  # noqa: N815
    removeOrphans: bool | None = None  # noqa: N815
    removeVolumes: bool | None = None  # noqa: N815
    timeout: Count | None = None
    wait: bool = True
    noAnsi: bool | None = None  # noqa: N815
    verbose: bool | None = None
    skipHostnameCheck: bool | None = None  # noqa: N815


IGNORED = ("verbose", "skipHostnameCheck")
"""Options that version 1 had, and that mean nothing to version 2."""

_DOCKER = ("logLevel", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify")
_UP = ("build", "noBuild", "noDeps", "noRecreate", "forceRecreate", "alwaysRecreateDeps", "renewAnonVolumes",
       "removeOrphans", "timeout")  # fmt: skip
_DOWN = {"removeOrphans": "--remove-orphans", "removeVolumes": "--volumes", "timeout": "--timeout"}


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a project, as ``ps`` tells it.

    Attributes:
        name: what it is called.
        service: the service that it belongs to.
        state: ``running``, ``exited``, ``restarting`` …
        health: ``healthy``, ``unhealthy``, ``starting``; empty where nobody looks.
        status: what it has ended with.
    """

    name: str
    service: str
    state: str
    health: str
    status: int

    @property
    def ails(self) -> str | None:
        """What is wrong with it."""
        if self.health == "unhealthy":
            return "is unhealthy"
        if self.state in ("exited", "dead"):
            return f"has ended with status {self.status}"
        return "starts again and again" if self.state == "restarting" else None


def docker_words(options: ComposeOptions) -> list[str]:
    """What every call of docker begins with."""
    return base_words(options) + _flags(options, _DOCKER)


def compose_words(options: ComposeOptions, program: Sequence[str], files: Sequence[str]) -> list[str]:
    """What every call of Compose for the project begins with.

    Args:
        options: of the deployment.
        program: Compose itself, such as ``docker compose``.
        files: the names of the files.
    """
    words = [*program, "--ansi=never"]
    words += [f"--file={name}" for name in files]
    for name, values in (("--profile", options.profiles), ("--env-file", options.envFile)):
        words += [f"{name}={value}" for value in values or ()]
    if options.projectDirectory is not None:
        words.append(f"--project-directory={options.projectDirectory}")
    if options.compatibility:
        words.append("--compatibility")
    return words + ([] if options.projectName is None else [f"--project-name={options.projectName}"])


def up_words(options: ComposeOptions) -> list[str]:
    """What brings a project up, behind :func:`compose_words`."""
    words = ["up", "--no-start"] if options.noStart else ["up", "--detach", *(["--wait"] if options.wait else [])]
    words += _flags(options, _UP)
    return words + [f"--scale={name}={count}" for name, count in (options.scale or {}).items()]


def down_words(options: ComposeOptions) -> list[str]:
    """What takes it down."""
    values = [(word, getattr(options, name)) for name, word in _DOWN.items()]
    return ["down", *[word if value is True else f"{word}={value}" for word, value in values if _given(value)]]


def _flags(options: ComposeOptions, names: Iterable[str]) -> list[str]:
    values = [(flag(name), getattr(options, name)) for name in names]
    return [word if value is True else f"{word}={value}" for word, value in values if _given(value)]


def _given(value: object) -> bool:
    return value is not None and value is not False


def labels(services: Iterable[str], client: str) -> bytes:
    """A Compose file that says whose the containers of the services are."""
    return json.dumps({"services": {name: {"labels": {LABEL: client}} for name in services}}).encode()


def project(text: str) -> tuple[str, list[str]]:
    """The name of a project and its services, from what ``config --format json`` prints.

    Raises:
        ValueError: that is something else.
    """
    found = json.loads(text)
    try:
        return str(found["name"]), list(found.get("services") or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no project") from error


def containers(text: str) -> list[Container]:
    """The containers, from what ``ps --format json`` prints: one list, or an object a line.

    Raises:
        ValueError: that is something else.
    """
    text = text.strip()
    rows: Any = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    try:
        return [
            Container(
                row["Name"], row["Service"], row["State"].lower(), (row.get("Health") or "").lower(),
                int(row.get("ExitCode") or 0),
            )
            for row in rows
        ]  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a container without {error}") from error
