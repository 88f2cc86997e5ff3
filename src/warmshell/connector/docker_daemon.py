"""What Docker's and Compose's deployments ask of a daemon, and whose a container is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmshell.connector.docker_words import LABEL
from warmshell.connector.owner import is_dead
from warmshell.errors import CommandTimeout, ConnectError

if TYPE_CHECKING:
    from warmshell.command import Result
    from warmshell.location import Location

ASK_SECONDS = 60.0
_SAID = 600  # bytes of docker's complaint that are passed on
_PROJECT = "com.docker.compose.project"


@dataclass(frozen=True, slots=True)
class Owned:
    """A container that belongs to a client.

    Attributes:
        name: its id.
        client: whose it is.
        project: the project of Compose that it belongs to; empty if to none.
    """

    name: str
    client: str
    project: str

    @property
    def is_left_behind(self) -> bool:
        """Whether its client was one of this machine that has ended."""
        return is_dead(self.client)


class Daemon:
    """A daemon, by the words of its program at a location.

    Args:
        location: where the program is.
        words: what every call begins with.
        deployment: who asks, for errors.
    """

    def __init__(self, location: Location, words: Sequence[str], deployment: str) -> None:
        self._location = location
        self._words = list(words)
        self._deployment = deployment

    async def run(self, *words: str) -> Result:
        """Run the program, whatever its status.

        Raises:
            ConnectError: it does not end.
        """
        try:
            return await self._location.run([*self._words, *words], timeout=ASK_SECONDS)
        except CommandTimeout:
            raise ConnectError(
                f"{self._words[0]} does not answer within {ASK_SECONDS:g} s", location=self._deployment
            ) from None

    async def ask(self, *words: str) -> str:
        """What it answers.

        Raises:
            ConnectError: it does not.
        """
        result = await self.run(*words)
        if not result.ok:
            raise self.silent(result)
        return result.text

    def silent(self, result: Result) -> ConnectError:
        """The error for an answer that is none."""
        text = said(result.stderr)
        return ConnectError(f"{self._words[0]} does not answer: {text}", location=self._deployment, hint=hint(text))

    async def owned(self) -> list[Owned]:
        """The containers that belong to clients of this kind.

        Raises:
            ConnectError: it does not answer.
        """
        names = (await self.ask("ps", "--all", "--quiet", "--no-trunc", f"--filter=label={LABEL}")).split()
        if not names:
            return []
        # Not by `ps`, whose templates know no labels in podman. Of one that has gone meanwhile nothing is said.
        labels = [f'{{{{index .Config.Labels "{label}"}}}}' for label in (LABEL, _PROJECT)]
        shape = "\t".join(["{{.Id}}", *labels])
        found = await self.run("inspect", "--type=container", f"--format={shape}", *names)
        return [Owned(*fields) for line in found.text.splitlines() if len(fields := line.split("\t")) == 3]

    async def sweep(self) -> None:
        """Remove what clients of this machine that have ended left behind.

        Raises:
            ConnectError: it does not answer.
        """
        left = [each for each in await self.owned() if each.is_left_behind]
        if left:
            await self.run("rm", "--force", *[each.name for each in left])
        for project in {each.project for each in left if each.project}:
            networks = await self.ask("network", "ls", "--quiet", f"--filter=label={_PROJECT}={project}")
            if networks:
                await self.run("network", "rm", *networks.split())


def said(data: bytes) -> str:
    """The end of a complaint."""
    return data.decode("utf-8", "replace").strip()[-_SAID:]


def hint(text: str) -> str | None:
    """What to do about docker's commonest complaints."""
    low = text.lower()
    if "permission denied" in low and ("socket" in low or "daemon" in low):
        return "this account may not use the daemon's socket: add it to the group that owns it, or use podman"
    if "cannot connect to the docker daemon" in low or "connection refused" in low:
        return "start the daemon, or say where it is: host, or DOCKER_HOST"
    if "no such image" in low or "unable to find image" in low or "not found" in low or "pull access denied" in low:
        return "check the image's name, and whether this machine can pull it"
    if "is already in use" in low:
        return "another container has this name"
    return None
