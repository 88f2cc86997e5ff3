"""Locations of every kind, as URLs and options: what fixtures of other backends add to."""

from __future__ import annotations

from typing import Any

import pytest

from ssh.lab import Lab

KINDS = ("local", "ssh", "ssh-scripts", "docker")


def options_of(kind: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The storage options of a location of this kind, started if need be."""
    if kind == "local":
        return {"location": "local:"}
    if kind == "docker":
        docker, name = request.getfixturevalue("docker_lab"), request.getfixturevalue("shared_container")
        return {"location": f"docker://{name}", "options": {"host": docker.socket, "shells": 1}}
    lab: Lab = request.getfixturevalue("ssh_lab")
    # One shell: what a test leaves of more would be taken for a leak of it.
    return {"location": "ssh://hostA", "options": {"config": lab.config, "server": kind == "ssh", "shells": 1}}
