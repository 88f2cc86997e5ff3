"""The words of Compose and its answers, without a daemon."""

from __future__ import annotations

import json

import pytest

import warmshell
from warmshell.connector.compose_words import (
    ComposeOptions,
    compose_words,
    containers,
    docker_words,
    down_words,
    labels,
    project,
    up_words,
)
from warmshell.connector.docker_words import LABEL
from warmshell.deployment.file import Deployment
from warmshell.deployment.manager import DeploymentManager
from warmshell.deployment.typed import check

ALL = {
    "files": ["a.yaml", "b.yaml"], "projectName": "p", "projectDirectory": "/d", "host": "unix:///s",
    "logLevel": "warn",
    "tls": True, "tlscacert": "ca", "tlscert": "cert", "tlskey": "key", "tlsverify": True, "skipHostnameCheck": True,
    "noAnsi": True, "verbose": True, "compatibility": True, "build": True, "noBuild": False, "noDeps": True,
    "noStart": False, "noRecreate": False, "forceRecreate": True, "alwaysRecreateDeps": True, "renewAnonVolumes": True,
    "removeOrphans": True, "removeVolumes": True, "timeout": 3, "wait": True, "transferBufferSize": 65536,
}  # fmt: skip


def test_words() -> None:
    assert check(ALL, ComposeOptions) == []
    options = ComposeOptions(**ALL)  # type: ignore[arg-type]
    docker = docker_words(options)
    assert docker == ["docker", "--host", "unix:///s", "--log-level=warn", "--tls", "--tlscacert=ca", "--tlscert=cert",
                      "--tlskey=key", "--tlsverify"]  # fmt: skip
    assert compose_words(options, ["docker-compose"], ["/x/a.yaml", "/x/b.yaml"]) == [
        "docker-compose", "--ansi=never", "--file=/x/a.yaml", "--file=/x/b.yaml", "--project-directory=/d",
        "--compatibility", "--project-name=p",
    ]  # fmt: skip
    assert up_words(options) == [
        "up", "--detach", "--wait", "--build", "--no-deps", "--force-recreate", "--always-recreate-deps",
        "--renew-anon-volumes", "--remove-orphans", "--timeout=3",
    ]  # fmt: skip
    assert down_words(options) == ["down", "--remove-orphans", "--volumes", "--timeout=3"]


def test_what_is_not_given_is_no_word() -> None:
    options = ComposeOptions(files=["f"], wait=False, scale={"web": 2, "none": 0}, profiles=["x"], envFile=["e"])
    assert docker_words(options) == ["docker"]
    assert compose_words(options, ["c"], ["f"]) == ["c", "--ansi=never", "--file=f", "--profile=x", "--env-file=e"]
    assert up_words(options) == ["up", "--detach", "--scale=web=2", "--scale=none=0"]
    assert up_words(ComposeOptions(files=["f"], noStart=True)) == ["up", "--no-start"]
    assert down_words(options) == ["down"]


ROWS = [
    {"Name": "p-a-1", "Service": "a", "State": "running", "Health": "healthy", "ExitCode": 0, "ID": "1"},
    {"Name": "p-b-1", "Service": "b", "State": "exited", "Health": "", "ExitCode": 3, "Publishers": None},
    {"Name": "p-c-1", "Service": "c", "State": "running", "Health": "unhealthy"},
    {"Name": "p-d-1", "Service": "d", "State": "restarting", "Health": "", "ExitCode": 1},
]


@pytest.mark.parametrize(
    "text", [json.dumps(ROWS), json.dumps(ROWS, indent=1), "".join(json.dumps(row) + "\n" for row in ROWS)]
)
def test_containers_are_read_as_a_list_and_as_lines(text: str) -> None:
    found = containers(text)
    assert [(each.name, each.service) for each in found] == [(f"p-{name}-1", name) for name in "abcd"]
    assert [each.ails for each in found] == [
        None, "has ended with status 3", "is unhealthy", "starts again and again",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n", "[]"])
def test_there_may_be_none(text: str) -> None:
    assert containers(text) == []


@pytest.mark.parametrize("text", ["{", "3", "[3]", '{"Name": "x"}', "NAME   STATE"])
def test_another_answer_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        containers(text)
    with pytest.raises(ValueError, match=r"."):
        project(text)


def test_a_project_and_whose_it_is() -> None:
    assert project('{"name": "p", "services": {"b": {}, "a": {}}, "networks": {}}') == ("p", ["b", "a"])
    assert project('{"name": "p"}') == ("p", [])
    assert json.loads(labels(["a"], "me")) == {"services": {"a": {"labels": {LABEL: "me"}}}}


def test_a_mistake_in_a_file_is_told() -> None:
    manager = DeploymentManager([Deployment("c", "docker-compose", {"file": ["x"]})])
    with pytest.raises(warmshell.LocationError, match=r"'file'.*'files'"):
        manager.connector("c")
