"""StreamFlow's files, as they are: every option that it has for the types that both know, with a value of its kind."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from warmshell.deployment.file import DeploymentFile, file_schema
from warmshell.deployment.manager import DeploymentManager
from warmshell.errors import LocationError

TEXTS = ["a", "b"]


def of(names: str, value: Any) -> dict[str, Any]:
    """Options that have values of the same kind."""
    return dict.fromkeys(re.findall(r"\w+", names), value)


# The published names by the kind of their values.
DOCKER: dict[str, Any] = {
    **of(
        """
        addHost capAdd capDrop command device deviceCgroupRule deviceReadBps deviceReadIops deviceWriteBps
        deviceWriteIops dns dnsOption dnsSearch envFile groupAdd label labelFile link linkLocalIP logOpt mount network
        networkAlias publish securityOpt storageOpt sysctl tmpfs ulimit volume volumesFrom
        """,
        TEXTS,
    ),
    **of("blkioWeightDevice expose", [100]),
    **of(
        """
        blkioWeight cpuPeriod cpuQuota cpuRTPeriod cpuRTRuntime cpuShares healthRetries kernelMemory memory
        memoryReservation memorySwap memorySwappiness oomScoreAdj pidsLimit shmSize stopTimeout transferBufferSize
        """,
        1,
    ),
    **of(
        """
        cgroupParent cgroupns cidfile containerId cpusetCpus cpusetMems detachKeys domainname entrypoint gpus healthCmd
        healthInterval healthStartPeriod healthTimeout hostname image ip ip6 ipc isolation logDriver macAddress pid
        restart runtime stopSignal user userns uts volumeDriver workdir
        """,
        "a",
    ),
    **of("disableContentTrust init noHealthcheck oomKillDisable privileged publishAll readOnly rm sigProxy", True),
    "cpus": 1.5,
    "env": ["A=1"],
}

SINGULARITY: dict[str, Any] = {
    **of("bind blkioWeightDevice command fusemount mount networkArgs noMount overlay scratch security", TEXTS),
    **of("blkioWeight cpuShares pidsLimit transferBufferSize", 1),
    **of(
        """
        addCaps applyCgroups cpus cpusetCpus cpusetMems dns dockerHost dropCaps envFile home hostname image instanceName
        memory memoryReservation memorySwap network pemPath pidFile workdir
        """,
        "a",
    ),
    **of(
        """
        allowSetuid boot cleanenv compat contain containall disableCache fakeroot ipc keepPrivs net noEval noHome
        noHttps noInit noPrivs noUmask nv nvccli oomKillDisable rocm userns uts writable writableTmpfs
        """,
        True,
    ),
    "env": ["A=1"],
}

HOST: dict[str, Any] = {
    "checkHostKey": False, "connectTimeout": 30, "passwordFile": "a", "sshKey": "a", "sshKeyPassphraseFile": "a",
    "username": "a",
}  # fmt: skip
SSH: dict[str, Any] = {
    **HOST, "nodes": ["a", {**HOST, "hostname": "b:22", "tunnel": {**HOST, "hostname": "c"}}],
    "dataTransferConnection": {"hostname": "a"}, "file": "a", "services": {"a": "b"}, "sharedPaths": TEXTS,
    "retries": 3, "retryDelay": 5, "maxConcurrentSessions": 10, "maxConnections": 1, "transferBufferSize": 65536,
    "tunnel": {"hostname": "a"},
}  # fmt: skip

FILE = """\
#!/usr/bin/env streamflow
version: v1.0
workflows:
  extract:
    type: cwl
    config: {file: cwl/main.cwl, settings: cwl/config.yaml}
    bindings:
      - step: /compile
        target: {deployment: javac, service: openjdk}
      - step: /untar
        target: {deployment: files, workdir: /tmp}
database:
  type: sqlite
scheduling:
  scheduler: {type: default}
deployments:
  files:
    type: docker
    config:
      image: alpine:3.20
      memory: 536870912
      volume: [/tmp:/tmp]
  running:
    type: docker
    external: true
    config: {image: alpine:3.20, containerId: 0123456789ab}
  javac:
    type: kubernetes-of-tomorrow
    config: {files: [pod.yml]}
  frontend:
    type: ssh
    config: {nodes: [login.example.org], username: alice, sshKey: id_ed25519}
    workdir: /scratch
  queue:
    type: slurm
    config:
      maxConcurrentJobs: 10
      services: {long: {partition: long, time: "24:00:00"}}
    wraps: frontend
  image:
    type: singularity
    config: {image: tools.sif, bind: [/scratch]}
    wraps: {deployment: frontend}
"""


@pytest.mark.parametrize(
    ("kind", "config"),
    [("docker", DOCKER), ("singularity", SINGULARITY), ("ssh", SSH), ("local", {"transferBufferSize": 65536})],
)
def test_every_option_of_streamflow_is_taken(kind: str, config: dict[str, Any]) -> None:
    file = DeploymentFile("streamflow.yml", json.dumps({"deployments": {"x": {"type": kind, "config": config}}}))
    assert file.check() == []
    document = {"deployments": {"x": {"type": kind, "config": config}}}
    assert [error.message for error in jsonschema.Draft202012Validator(file_schema()).iter_errors(document)] == []


def test_a_file_with_types_that_are_not_known_here() -> None:
    manager = DeploymentManager(DeploymentFile("streamflow.yml", FILE))
    for name in ("files", "running", "frontend", "image"):
        assert manager.connector(name).deployment_name == name
    assert manager.connector("image").connector.deployment_name == "frontend"  # type: ignore[attr-defined]
    for name, line in (("javac", 28), ("queue", 35)):
        with pytest.raises(
            LocationError, match=rf"streamflow\.yml:{line}:11: deployments\.{name}\.type: .*there is no type"
        ):
            manager.connector(name)
