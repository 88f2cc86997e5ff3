"""This machine as a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from warmshell.connector.base import TRANSFER_BUFFER, Connector, Member
from warmshell.connector.local import Framing, LocalPlace
from warmshell.connector.options import Options
from warmshell.errors import LocationError

if TYPE_CHECKING:
    from warmshell.shell.shells import Limits

LOCAL = "local"
"""The name of its one location."""


@dataclass(frozen=True, kw_only=True)
class LocalOptions(Options):
    """This machine.

    Attributes:
        cwd: the directory in which commands run by default; the present one
        framing: how shells tell commands apart; auto takes pipes where there is /proc
    """

    cwd: str | None = None
    framing: Framing = "auto"


class LocalConnector(Connector):
    """This machine: one location, there already.

    Args:
        deployment_name: the deployment's name.
        config_dir: where relative names of files begin.
        cwd: where commands run by default; the present directory.
        framing: see :class:`~warmshell.connector.local.LocalPlace`.
        transferBufferSize: bytes of one piece of a stream.
        shell: the shell for isolated commands.
        limits: how many warm shells there are, and for how long.
    """

    config: ClassVar[type] = LocalOptions

    def __init__(
        self, deployment_name: str = LOCAL, config_dir: str | None = None, *, cwd: str | None = None,
        framing: Framing = "auto", transferBufferSize: int = TRANSFER_BUFFER, shell: str = "sh",  # noqa: N803
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            deployment_name, config_dir, transfer_buffer_size=transferBufferSize, shell=shell, limits=limits
        )
        self._cwd = cwd
        self._framing: Framing = framing

    async def places(self, service: str | None = None) -> Sequence[Member]:
        if service is not None:
            raise LocationError(f"{self.deployment_name}: there is no service {service!r}: this machine has none")
        return [Member(LOCAL, self._place, local=True)]

    def _place(self) -> LocalPlace:
        return LocalPlace(shell=self._shell, framing=self._framing, cwd=self._cwd)
