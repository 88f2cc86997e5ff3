"""Reading deployment files: StreamFlow's own form, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from warmshell.deployment import types
from warmshell.deployment.file import Deployment, DeploymentFile, DeploymentFileError, Wraps, file_schema, find
from warmshell.errors import LocationError

STREAMFLOW = """\
version: v1.0
workflows:
  genomes:
    type: cwl
    config: {file: main.cwl, settings: config.yml}
    bindings:
      - step: /
        target: {deployment: inside, service: x}
deployments:
  cluster: &cluster
    type: ssh
    config:
      nodes: [node1, {hostname: "node2:2222", sshKey: id}]
      username: alice
      checkHostKey: false
      maxConcurrentSessions: 10
      retries: 3
      retryDelay: 5
      transferBufferSize: 65536
    workdir: /scratch
  again:
    <<: *cluster
    external: yes please
  batch:
    type: slurm
    config: {maxConcurrentJobs: 2}
    wraps: cluster
  inside:
    type: command
    config: {exec: nsenter -t 1}
    lazy: false
    external: true
    wraps: {deployment: cluster, service: gpu}
"""


def test_a_streamflow_file_is_read_as_it_is():
    file = DeploymentFile("streamflow.yml", STREAMFLOW)
    assert file.names == ["cluster", "again", "batch", "inside"]
    cluster = file.deployment("cluster")
    assert (cluster.type, cluster.workdir, cluster.lazy, cluster.external) == ("ssh", "/scratch", True, False)
    assert cluster.config["nodes"][1] == {"hostname": "node2:2222", "sshKey": "id"}
    inside = file.deployment("inside")
    assert inside == Deployment(
        "inside", "command", {"exec": "nsenter -t 1"}, True, False, Wraps("cluster", "gpu"), None
    )  # fmt: skip


def test_only_the_deployments_that_are_used_have_to_be_right():
    file = DeploymentFile("streamflow.yml", STREAMFLOW)
    with pytest.raises(DeploymentFileError, match=r"streamflow\.yml:25:11: deployments\.batch\.type: .* 'slurm'"):
        file.deployment("batch")
    with pytest.raises(DeploymentFileError, match=r":23:15: deployments\.again\.external: has to be true or false"):
        file.deployment("again")
    assert [problem.split(": ")[0] for problem in file.check()] == ["streamflow.yml:23:15", "streamflow.yml:25:11"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deployments:\n  a: {typ: local}", ["f:2:7: deployments.a: there is no 'typ'; is it 'type'?",
                                             "f:2:6: deployments.a: 'type' is missing"]),
        ("deployments:\n  a:\n    type: locl", ["f:3:11: deployments.a.type: there is no type 'locl'; is it 'local'?"]),
        ("deployments:\n  a:\n    type: ssh\n    config:\n      nodez: [x]",
         ["f:5:7: deployments.a.config: there is no 'nodez'; is it 'nodes'?",
          "f:5:7: deployments.a.config: 'nodes' is missing"]),
        ("deployments:\n  a:\n    type: ssh\n    config: {nodes: [x, {hostname: y, sshkey: z}]}",
         ["f:4:39: deployments.a.config.nodes.1: there is no 'sshkey'; is it 'sshKey'?"]),
        ("deployments:\n  a:\n    type: ssh\n    config: {nodes: [x, {hostname: y, tunnel: {hostnam: z}}]}",
         ["f:4:48: deployments.a.config.nodes.1.tunnel: there is no 'hostnam'; is it 'hostname'?",
          "f:4:47: deployments.a.config.nodes.1.tunnel: 'hostname' is missing"]),
        ("deployments:\n  a: {type: ssh}", ["f:2:3: deployments.a.config: 'nodes' is missing"]),
        ("deployments:\n  a: {type: local, config: {shells: 0}}",
         ["f:2:37: deployments.a.config.shells: has to be at least 1, not 0"]),
        ("deployments:\n  a: {type: local, config: {idle: .inf}}",
         ["f:2:35: deployments.a.config.idle: has to be greater than 0, not inf"]),
        ("deployments:\n  a: {type: local, config: {shells: yes}}",
         ["f:2:37: deployments.a.config.shells: has to be a whole number, not 'yes'"]),
        ("deployments:\n  a: {type: local, config: {framing: pipe}}",
         ["f:2:38: deployments.a.config.framing: 'pipe' is none of auto, pipes, markers; is it 'pipes'?"]),
        ("deployments:\n  a: {type: command, config: {exec: {a: 1}}}",
         ["f:2:37: deployments.a.config.exec: has to be a text or a list, not keys with values"]),
        ("deployments:\n  a: {type: command, config: {exec: [a, 1]}}",
         ["f:2:41: deployments.a.config.exec.1: has to be a text, not 1"]),
        ("deployments:\n  a: {type: local, wraps: a}", [("f:2:20: deployments.a: a deployment of type 'local' wraps no"
                                                        " other")]),
        ("deployments:\n  a: {type: command, wraps: b, config: {exec: x}}\n  bb: {type: local}",
         ["f:2:29: deployments.a.wraps: there is no deployment 'b'; is it 'bb'?"]),
        (("deployments:\n  a: {type: command, wraps: b, config: {exec: x}}\n"
          "  b: {type: command, wraps: a, config: {exec: x}}"), [
            "f:2:29: deployments.a.wraps: it wraps itself: a in b in a",
            "f:3:29: deployments.b.wraps: it wraps itself: b in a in b"]),
        ("deployments:\n  a/b: {type: local}", [("f:2:3: deployments: the name 'a/b' has '/' or ':' in it, or begins"
                                                " with '-'")]),
        ("deployments:\n  1: {type: local}", ["f:2:3: deployments: the name of a deployment is a text, not 1"]),
        ("deployments:\n  a: 3", ["f:2:6: deployments.a: has to be keys with values, not 3"]),
        ("deployments:\n  a:", ["f:2:5: deployments.a: has to be keys with values, not nothing"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_column(text: str, said: list[str]):
    assert DeploymentFile("f", text).check() == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deploymnts: {}", "f:1:1: there is no 'deploymnts'; is it 'deployments'?"),
        ("", "f:1:1: there is no 'deployments' in it"),
        ("[1]", "f:1:1: there is no 'deployments' in it"),
        ("deployments: 3", "f:1:14: deployments: has to be names with deployments"),
        ("deployments: [", "f:1:15: expected the node content, but found '<stream end>'"),
        ("a: 1\na: 2", "f:2:1: 'a' is there twice"),
        ("deployments: &x {y: *x}", "f:1:14: an alias refers to what it stands in"),
        ("deployments: !!python/name:os.system ''", ("f:1:14: values of the kind 'tag:yaml.org,2002:python/name:os."
                                                    "system' have no meaning here")),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
        ), "there is too much in it"),
        ("x: " + "[" * 2000, "it cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_deployment_file_is_refused(text: str, said: str):
    with pytest.raises(LocationError) as error:
        DeploymentFile("f", text)
    assert said in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(LocationError, match="No such file"):
        DeploymentFile(str(tmp_path / "nothing"))
    (tmp_path / "latin").write_bytes(b"deployments: \xe4")
    with pytest.raises(LocationError, match="not UTF-8"):
        DeploymentFile(str(tmp_path / "latin"))


def test_yaml_is_that_of_version_1_2():
    text = "deployments: {a: {type: local, config: {cwd: no}}, b: {type: local, config: {cwd: 0x1F}}}"
    file = DeploymentFile("f", text)
    assert file.deployment("a").config == {"cwd": "no"}
    assert file.check() == ["f:1:83: deployments.b.config.cwd: has to be a text, not 31"]


def test_old_streamflow_files_call_them_models():
    assert DeploymentFile("f", "models: {a: {type: local}}").deployment("a").type == "local"


def test_which_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WARMSHELL_FILE", raising=False)
    assert find() is None
    (tmp_path / "warmshell.yaml").touch()
    assert find() == "warmshell.yaml"
    monkeypatch.setenv("WARMSHELL_FILE", "other.yaml")
    assert find() == "other.yaml"
    assert find("given.yaml") == "given.yaml"


# -- schema ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "right"),
    [
        ({"type": "local"}, True),
        ({"type": "local", "config": {"shells": 4, "framing": "pipes"}}, True),
        ({"type": "local", "config": {"shells": 0}}, False),
        ({"type": "local", "config": {"shell": 3}}, False),
        ({"type": "locl"}, False),
        ({"type": "local", "confg": {}}, False),
        ({"type": "ssh"}, False),
        ({"type": "ssh", "config": {"nodes": ["a", {"hostname": "b", "tunnel": {"hostname": "c"}}]}}, True),
        ({"type": "ssh", "config": {"nodes": ["a", {"hostname": "b", "tunnel": {"host": "c"}}]}}, False),
        ({"type": "ssh", "config": {"nodes": ["a"], "retryDelay": 0}}, False),
        ({"type": "command", "config": {"exec": ["a"]}, "wraps": "x"}, True),
        ({"type": "command", "config": {"exec": "a"}, "wraps": {"deployment": "x", "service": "y"}}, True),
        ({"type": "command", "config": {}}, False),
        ({"type": "occam", "config": {"file": "x", "sshKey": "y", "username": "z"}}, True),
    ],
)
def test_schema_and_checks_agree(entry: dict[str, Any], right: bool):
    whole = json.loads(json.dumps(file_schema()))
    document = {"deployments": {"a": entry, "x": {"type": "local"}}, "workflows": {}}
    assert jsonschema.Draft202012Validator(whole).is_valid(document) is right
    assert (DeploymentFile("f", json.dumps(document)).check() == []) is right


def test_schema_is_one():
    whole = json.loads(json.dumps(file_schema()))
    assert whole["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(whole)
    with pytest.raises(jsonschema.SchemaError):  # that it can tell
        jsonschema.Draft202012Validator.check_schema({**whole, "type": "objekt"})


def test_each_option_is_explained():
    whole = file_schema()
    silent = [
        f"{kind}.{name}"
        for kind, each in whole["$defs"].items()
        for name, entry in each["properties"].items()
        if not entry.get("description") and "$ref" not in entry
    ]
    assert silent == []


def test_types_that_others_register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "their_package.py").write_text(
        "from warmshell.connector.local_connector import LocalConnector\n"
        "class Theirs(LocalConnector):\n    config = None\n"
        "no_connector = 3\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[warmshell.connectors]\ntheirs = their_package:Theirs\nbad = their_package:no_connector\n"
        "worse = their_package:missing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "theirs" in types.known()
    assert types.connector_class("theirs").__name__ == "Theirs"
    for name, said in (("bad", "is no connector"), ("worse", "cannot be loaded")):
        with pytest.raises(LocationError, match=said):
            types.connector_class(name)
    text = "deployments: {a: {type: theirs, config: {anything: 1}}, b: {type: their}}"
    assert DeploymentFile("f", text).check() == [
        "f:1:67: deployments.b.type: there is no type 'their'; is it 'theirs'?"
    ]
