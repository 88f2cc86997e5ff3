"""What the options of deployments have in common: their typed classes are the source of checks and of the schema.

A connector's options are a dataclass whose fields bear the names that stand in deployment files. Its docstring says
under ``Attributes`` what each means; ``warmshell.deployment.typed`` checks values against it and makes JSON Schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from warmshell.connector.base import TRANSFER_BUFFER
from warmshell.shell.shells import Limits


@dataclass(frozen=True, slots=True)
class Above:
    """A number has to be greater."""

    least: float


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A number has to be as great."""

    least: int


Seconds = Annotated[float, Above(0)]
Count = Annotated[int, AtLeast(0)]
Positive = Annotated[int, AtLeast(1)]
Words = str | list[str]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that every deployment has.

    Attributes:
        shell: the shell for isolated commands
        shells: how many warm shells a location has at most (32)
        idle: seconds until an idle shell is let go (60)
        age: seconds after which a shell is replaced (3600)
        transferBufferSize: bytes of one piece of a stream
    """

    shell: str = "sh"
    shells: Positive | None = None
    idle: Seconds | None = None
    age: Seconds | None = None
    transferBufferSize: Positive = TRANSFER_BUFFER  # noqa: N815 - as published


_LIMITS = {"shells": "most", "idle": "idle_seconds", "age": "age_seconds"}


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The options of a file as the arguments of its connector: those about shells as one, what is null left out."""
    given = {name: value for name, value in config.items() if value is not None}
    limits = {field: given.pop(name) for name, field in _LIMITS.items() if name in given}
    return {**given, "limits": Limits(**limits)} if limits else given
