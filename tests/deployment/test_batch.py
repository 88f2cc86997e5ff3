"""What keeps sessions open cannot be inside of what executes through a queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from warmshell.connector.base import Connector, Member
from warmshell.connector.batch import BatchConnector
from warmshell.connector.docker import DockerConnector
from warmshell.connector.local import LocalPlace
from warmshell.connector.wrapper import ConnectorWrapper
from warmshell.deployment import types
from warmshell.deployment.file import Deployment, DeploymentFile, Wraps
from warmshell.deployment.manager import DeploymentManager
from warmshell.errors import LocationError


class Queue(ConnectorWrapper[Any], BatchConnector):
    """A queue of somebody else's package, which is at a host, and tells what is submitted."""

    keeps_sessions = False

    async def places(self, service: str | None = None) -> Sequence[Member]:
        around = await self.one_around()
        return [Member("queue", lambda: LocalPlace(name="queue"), wraps=self.seen(around))]


class Bare(BatchConnector):
    """One that is at no host."""

    async def places(self, service: str | None = None) -> Sequence[Member]:
        return [Member("bare", lambda: LocalPlace(name="bare"))]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Queue", "Bare"):
        monkeypatch.setitem(types._OWN, name.lower(), f"{__name__}:{name}")


WRAPPERS: list[tuple[str, dict[str, Any]]] = [
    ("command", {"exec": "chroot /"}), ("docker", {"image": "i"}), ("podman", {"image": "i"}),
    ("docker-compose", {"files": ["f"]}), ("occam", {}), ("singularity", {"image": "i"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config"), WRAPPERS)
@pytest.mark.parametrize("queue", ["queue", "bare"])
async def test_one_clear_sentence_wherever_it_is_asked_for(kind: str, config: dict[str, Any], queue: str) -> None:
    words = r"'box' keeps sessions open .* 'jobs' cannot have: .* job of a queue"
    deployments = [Deployment("jobs", queue, {}), Deployment("box", kind, config, wraps=Wraps("jobs"))]
    async with DeploymentManager(deployments) as manager:
        with pytest.raises(LocationError, match=words) as error:
            manager.connector("box")
        assert "wrap what the queue is reached through" in str(error.value)
        outer: Connector = manager.connector("jobs")  # one that is deployed on first use hides nothing
        with pytest.raises(LocationError, match=words):
            types.connector_class(kind)("box", connector=outer, **config)  # type: ignore[call-arg]


def test_a_file_is_checked_without_deploying() -> None:
    text = """deployments:
  jobs: {type: queue, wraps: host}
  host: {type: local}
  box:
    type: docker
    config: {image: i}
    wraps: jobs
  fine: {type: docker, config: {image: i}, wraps: host}
  more: {type: queue, wraps: jobs}
"""
    [problem] = DeploymentFile("f", text).check()
    assert problem.startswith("f:7:12: deployments.box.wraps: 'box' keeps sessions open")


async def test_a_queue_itself_can_be_at_a_host_and_at_another_queue() -> None:
    deployments = [
        Deployment("host", "local", {}),
        Deployment("jobs", "queue", {}, wraps=Wraps("host")),
        Deployment("more", "queue", {}, wraps=Wraps("jobs")),
    ]
    async with DeploymentManager(deployments) as manager:
        assert isinstance(manager.connector("jobs"), BatchConnector)
        found = await manager.connector("more").get_available_locations()
        assert found["queue"].wraps is not None


def test_from_python() -> None:
    with pytest.raises(LocationError, match=r"'d' keeps sessions open.*'q' cannot have"):
        DockerConnector("d", connector=Bare("q"), image="i")
