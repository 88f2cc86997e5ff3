"""The words of ``docker`` and ``podman``: what starts a container, what runs inside of one. Nothing here runs them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Annotated

from warmshell.connector.kept import KeptOptions
from warmshell.connector.options import Words
from warmshell.connector.wrapper import DeployOptions, InsideOptions

LABEL = "warmshell.client"
"""The label of containers that belong to a client: which one, so that what a dead one left can be told."""

# Ends with the client's end of its standard input. `wait` also reaps those whose parents have ended.
_KEEPER = 'trap "exit 143" TERM; exec 3<&0; echo "$1"; cat <&3 >/dev/null & exec 3<&-; wait $!'

Flag = Annotated[bool, "flag"]
Texts = list[str]
Values = list[str | int]
Size = str | int


@dataclass(frozen=True, kw_only=True)
class RunOptions(InsideOptions):
    """The options of ``docker run``, by the names that it has for them.

    Attributes:
        addHost: more names of hosts, NAME:ADDRESS
        annotation: annotations for the runtime
        blkioWeight: share of block I/O, 10 to 1000
        blkioWeightDevice: the same for single devices
        capAdd: capabilities to add
        capDrop: capabilities to take away
        cgroupParent: the control group around it
        cgroupns: the namespace of control groups: host or private
        cidfile: a file that gets its id
        cpuPeriod: period of the CPU quota in microseconds
        cpuQuota: CPU time in each period in microseconds
        cpuRTPeriod: period of real-time CPU time in microseconds
        cpuRTRuntime: real-time CPU time in each period in microseconds
        cpuShares: relative share of CPU time
        cpus: CPUs that it may use, such as 1.5
        cpusetCpus: which CPUs, such as 0-2
        cpusetMems: which memory nodes
        detachKeys: keys that leave a container that is attached to
        device: devices of the host to pass in
        deviceCgroupRule: rules for devices
        deviceReadBps: limits of bytes read per second, DEVICE:RATE
        deviceReadIops: limits of reads per second
        deviceWriteBps: limits of bytes written per second
        deviceWriteIops: limits of writes per second
        disableContentTrust: do not verify the image
        dns: name servers
        dnsOption: options of the resolver
        dnsSearch: domains that names are looked up in
        domainname: its NIS domain
        entrypoint: what the image starts with, instead of its own
        env: variables, NAME=VALUE; their values stand on no command line
        envFile: files of variables
        expose: ports that it listens on
        gpus: GPUs to pass in: all, or a number
        groupAdd: further groups of its user
        healthCmd: the command that tells whether it is healthy
        healthInterval: time between two such checks
        healthRetries: failures until it is unhealthy
        healthStartPeriod: time to start in which failures do not count
        healthTimeout: how long a check may take
        hostname: its host name
        init: an init as its first process, which reaps what others leave
        ip: its IPv4 address
        ip6: its IPv6 address
        ipc: its IPC namespace
        isolation: the technology that isolates it (Windows)
        kernelMemory: limit of kernel memory
        label: labels, NAME=VALUE
        labelFile: files of labels
        link: links to other containers
        linkLocalIP: link-local addresses
        logDriver: where its log goes
        logOpt: options of that
        macAddress: its MAC address
        memory: limit of memory, such as 512m
        memoryReservation: memory that it is to be left when memory is short
        memorySwap: limit of memory and swap together
        memorySwappiness: how ready it is to swap, 0 to 100
        mount: mounts, type=…,source=…,target=…
        network: its network: none, host, bridge or the name of one
        networkAlias: its names in that network
        noHealthcheck: no checks of health
        oomKillDisable: never end it when memory runs out
        oomScoreAdj: how likely it is ended when memory runs out
        pid: its PID namespace: host or container:NAME
        pidsLimit: limit of processes
        platform: the platform of its image
        privileged: all rights of the host
        publish: ports that the host passes on, HOST:CONTAINER
        publishAll: pass on all exposed ports
        pull: when to pull the image: always, missing or never
        readOnly: its root file system cannot be written
        restart: when it is started again; with rm never
        rm: remove it when it has ended
        runtime: the runtime, such as nvidia
        securityOpt: security options
        shmSize: size of /dev/shm
        sigProxy: pass on signals to it
        stopSignal: the signal that ends it
        stopTimeout: seconds until it is killed
        storageOpt: options of its storage
        sysctl: kernel parameters, NAME=VALUE
        tmpfs: directories in memory
        ulimit: limits of its processes
        user: the user that commands run as, NAME or UID:GID
        userns: its user namespace
        uts: its UTS namespace
        volume: directories of the host to mount, HOST:CONTAINER[:ro]
        volumeDriver: what provides volumes
        volumesFrom: containers whose volumes it gets too
        workdir: the directory in which commands run
    """

    addHost: Texts | None = None  # noqa: N815 - docker's names, here and below
    annotation: Texts | None = None
    blkioWeight: int | None = None  # noqa: N815
    blkioWeightDevice: Values | None = None  # noqa: N815
    capAdd: Texts | None = None  # noqa: N815
    capDrop: Texts | None = None  # noqa: N815
    cgroupParent: str | None = None  # noqa: N815
    cgroupns: str | None = None
    cidfile: str | None = None
    cpuPeriod: int | None = None  # noqa: N815
    cpuQuota: int | None = None  # noqa: N815
    cpuRTPeriod: int | None = None  # noqa: N815
    cpuRTRuntime: int | None = None  # noqa: N815
    cpuShares: int | None = None  # noqa: N815
    cpus: str | float | None = None
    cpusetCpus: str | None = None  # noqa: N815
    cpusetMems: str | None = None  # noqa: N815
    detachKeys: str | None = None  # noqa: N815
    device: Texts | None = None
    deviceCgroupRule: Texts | None = None  # noqa: N815
    deviceReadBps: Texts | None = None  # noqa: N815
    deviceReadIops: Texts | None = None  # noqa: N815
    deviceWriteBps: Texts | None = None  # noqa: N815
    deviceWriteIops: Texts | None = None  # noqa: N815
    disableContentTrust: bool | None = None  # noqa: N815
    dns: Texts | None = None
    dnsOption: Texts | None = None  # noqa: N815
    dnsSearch: Texts | None = None  # noqa: N815
    domainname: str | None = None
    entrypoint: str | None = None
    env: Texts | None = None
    envFile: Texts | None = None  # noqa: N815
    expose: Values | None = None
    gpus: str | None = None
    groupAdd: Texts | None = None  # noqa: N815
    healthCmd: str | None = None  # noqa: N815
    healthInterval: str | None = None  # noqa: N815
    healthRetries: int | None = None  # noqa: N815
    healthStartPeriod: str | None = None  # noqa: N815
    healthTimeout: str | None = None  # noqa: N815
    hostname: str | None = None
    init: bool | None = None
    ip: str | None = None
    ip6: str | None = None
    ipc: str | None = None
    isolation: str | None = None
    kernelMemory: Size | None = None  # noqa: N815
    label: Texts | None = None
    labelFile: Texts | None = None  # noqa: N815
    link: Texts | None = None
    linkLocalIP: Texts | None = None  # noqa: N815
    logDriver: str | None = None  # noqa: N815
    logOpt: Texts | None = None  # noqa: N815
    macAddress: str | None = None  # noqa: N815
    memory: Size | None = None
    memoryReservation: Size | None = None  # noqa: N815
    memorySwap: Size | None = None  # noqa: N815
    memorySwappiness: int | None = None  # noqa: N815
    mount: Texts | None = None
    network: Texts | str | None = None
    networkAlias: Texts | None = None  # noqa: N815
    noHealthcheck: bool | None = None  # noqa: N815
    oomKillDisable: bool | None = None  # noqa: N815
    oomScoreAdj: int | None = None  # noqa: N815
    pid: str | None = None
    pidsLimit: int | None = None  # noqa: N815
    platform: str | None = None
    privileged: bool | None = None
    publish: Values | None = None
    publishAll: bool | None = None  # noqa: N815
    pull: str | None = None
    readOnly: bool | None = None  # noqa: N815
    restart: str | None = None
    rm: bool = True
    runtime: str | None = None
    securityOpt: Texts | None = None  # noqa: N815
    shmSize: Size | None = None  # noqa: N815
    sigProxy: bool | None = None  # noqa: N815
    stopSignal: str | None = None  # noqa: N815
    stopTimeout: int | None = None  # noqa: N815
    storageOpt: Texts | None = None  # noqa: N815
    sysctl: Texts | None = None
    tmpfs: Texts | None = None
    ulimit: Texts | None = None
    user: str | None = None
    userns: str | None = None
    uts: str | None = None
    volume: Texts | None = None
    volumeDriver: str | None = None  # noqa: N815
    volumesFrom: Texts | None = None  # noqa: N815
    workdir: str | None = None


@dataclass(frozen=True, kw_only=True)
class DaemonOptions(DeployOptions):
    """Where a daemon is, and by which program it is asked.

    Attributes:
        program: docker, podman, or what takes the same words
        host: the daemon's socket, instead of that of DOCKER_HOST
        context: the context to use
    """

    program: str = "docker"
    host: str | None = None
    context: str | None = None


@dataclass(frozen=True, kw_only=True)
class DockerOptions(KeptOptions, DaemonOptions, RunOptions):
    """Containers of Docker or Podman: made from an image, or those that run already.

    Attributes:
        image: what to make containers from
        name: what they are called; with a number behind it if there are several
        command: what they run instead of waiting for the client's end; such a one outlives a client that is killed
            until another sweeps
        containers: names or ids of running containers to use instead
        containerId: of an external deployment, the one that is used
    """

    image: str | None = None
    name: str | None = None
    command: Words | None = None
    containers: list[str] | None = None
    containerId: str | None = None  # noqa: N815


_RUN = {field.name for field in fields(RunOptions)} - {field.name for field in fields(InsideOptions)}
_NAMES = {"linkLocalIP": "link-local-ip", "cpuRTPeriod": "cpu-rt-period", "cpuRTRuntime": "cpu-rt-runtime"}
_UNLESS_TOLD = ("disableContentTrust", "sigProxy")  # true for docker, unless it is told otherwise
_INSIDE = ("user", "privileged", "workdir")  # what `exec` does not take over from the container


def flag(name: str) -> str:
    """The flag for an option: ``capAdd`` is ``--cap-add``."""
    return "--" + _NAMES.get(name, re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", name).lower())


def run_flags(options: RunOptions) -> list[str]:
    """The flags of ``docker run`` for these options; variables by name only, see :func:`run_environment`."""
    words: list[str] = []
    for name in sorted(_RUN):
        value = getattr(options, name)
        if value is None or (value is False and name not in _UNLESS_TOLD):
            continue
        if value is False:
            words.append(f"{flag(name)}=false")
            continue
        for one in value if isinstance(value, list) else [value]:
            if name == "env":
                one = str(one).partition("=")[0]  # noqa: PLW2901
            words.append(flag(name) if one is True else f"{flag(name)}={one}")
    return words


def run_environment(options: RunOptions) -> dict[str, str]:
    """The values of the variables that :func:`run_flags` names, for docker's own environment."""
    pairs = (one.partition("=") for one in options.env or ())
    return {name: value for name, equals, value in pairs if equals}


def base_words(options: DaemonOptions) -> list[str]:
    """What every call begins with."""
    words = [options.program]
    if options.host is not None:
        words += ["--url" if os.path.basename(options.program) == "podman" else "--host", options.host]
    if options.context is not None:
        words += ["--context", options.context]
    return words


def run_words(options: DockerOptions, name: str, label: str, hello: str) -> list[str]:
    """What starts one container and stays with it: its standard input keeps the container alive.

    Args:
        options: of the deployment.
        name: what the container is called.
        label: whose it is.
        hello: what a container that waits for the end of the client says when it runs.
    """
    words = [*base_words(options), "run", "--interactive", f"--name={name}", f"--label={LABEL}={label}"]
    words += run_flags(options)
    if options.command is not None:
        command = ["sh", "-c", options.command] if isinstance(options.command, str) else list(options.command)
        return [*words, "--", options.image or "", *command]
    if options.entrypoint is None:
        words.append("--entrypoint=sh")
    return [*words, "--", options.image or "", "-c", _KEEPER, "sh", hello]


def exec_wrap(options: DockerOptions, container: str, *, ours: bool) -> Callable[[Sequence[bytes]], list[bytes]]:
    """What makes the words that run others inside of a container.

    Args:
        options: of the deployment.
        container: its name or id.
        ours: whether it was made with these options.
    """
    own: list[str] = []
    for name in () if ours else _INSIDE:
        value = getattr(options, name)
        if value is not None and value is not False:
            own.append(flag(name) if value is True else f"{flag(name)}={value}")
    return exec_by(base_words(options), container, own)


def exec_by(base: Sequence[str], container: str, own: Sequence[str] = ()) -> Callable[[Sequence[bytes]], list[bytes]]:
    """The same by what every call begins with, with options of its own."""
    start = [os.fsencode(word) for word in [*base, "exec", "--interactive", *own, container]]
    return lambda inside: [*start, *inside]
