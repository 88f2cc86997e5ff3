"""The words of ``apptainer`` and ``singularity``: what starts instances and runs in them. Nothing here runs them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from warmshell.connector.docker_words import Texts, flag
from warmshell.connector.kept import KeptOptions
from warmshell.connector.options import Words
from warmshell.connector.wrapper import InsideOptions
from warmshell.errors import LocationError

STOP_SECONDS = 10.0
"""How long what an instance runs may take to end before it is killed."""

# What both scripts below know. The time at which a process was started tells it from a later one of the same number.
_COMMON = r"""
born() { read -r line <"/proc/$pid/stat" && set -- ${line##*) } && echo "${20}"; } 2>/dev/null
lives() { test -n "$began" && test "$(born)" = "$began"; }
look() {
    pid=$("$program" --silent instance list --json "$name" </dev/null 2>/dev/null |
        sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p')
    began=$(born)
}
pause() { n=$((n - 1)); sleep 0.05 2>/dev/null || sleep 1; }
"""

# Kills an instance whose guard is gone, also one that comes up only then. Nobody knows this one: it has no tag, a
# session of its own and no parent, so that what ends all else that a client has started does not end it. What it reads
# from is held by the guard alone.
_SHADOW = r"""
program=$1 name=$2 pid= began= word= n=100
trap : HUP INT QUIT TERM
if read -r pid began; then
    test "$pid" = done || read -r word
    case "$pid $word" in done*|*done) exit ;; esac
else
    while look; ! lives && test "$n" -gt 0; do pause; done
fi
! lives || kill -KILL "$pid"
"""

# Starts an instance and stays with it. On the line "end" what the instance runs is asked to end, and waited for. At the
# end of its input, or with TERM, the instance's first process is killed, and with it all the others.
GUARD = r"""
program=$1 name=$2 hello=$3 n=$4 common=$5 shadow=$6 pid= began= word=
shift 6
eval "$common"
trap : HUP INT QUIT TERM
stay() {
    trap n=0 HUP INT QUIT TERM
    "$@" </dev/null >&2 4>&- 5>&- 6<&-
    status=$?
    test "$status" = 0 || { case $status in 129|130|131|137|143) ;; *) echo done ;; esac; return "$status"; }
    look
    lives || return 1
    echo "$pid $began"
    echo "$hello" >&5
    word=$(head -n 1 <&6)
    if test "$word" = end && lives; then
        kill -INT "$pid"
        while test "$n" -gt 0 && lives && grep -qs "^PPid:[^0-9]*$pid\$" /proc/[0-9]*/status; do pause; done
    fi
    ! lives || kill -KILL "$pid"
    n=100
    while test "$word" = end && test "$n" -gt 0 && lives; do pause; done
    echo done
}
alone() {
    unset WARMSHELL_COMMAND WARMSHELL_SESSION
    exec 3<&0 4>&- 5>&- 6<&-
    $(command -v setsid) sh -c "$common$shadow" sh "$program" "$name" <&3 3<&- >/dev/null 2>&1 &
}
exec 5>&1 6<&0
status=$({ { stay "$@"; echo "$?" >&4; } | (alone); } 4>&1)
exit "${status:-143}"
"""


@dataclass(frozen=True, kw_only=True)
class InstanceOptions(InsideOptions):
    """The options of ``instance start``, by the names that it has for them.

    Attributes:
        addCaps: capabilities to add, with commas between them
        allowSetuid: set-user-id programs work (root only)
        app: the application of the image
        applyCgroups: a file with limits (root only)
        authfile: a file with credentials for registries
        bind: directories of the host to mount, SOURCE[:TARGET[:ro]]
        blkioWeight: share of block I/O, 10 to 1000
        blkioWeightDevice: the same for single devices
        boot: run its /sbin/init (root only)
        cleanenv: the environment around is left outside
        compat: contained as Docker's containers are
        contain: /dev, /tmp and the home directory are its own
        containall: processes and environment are its own too
        cpuShares: relative share of CPU time
        cpus: CPUs that it may use, such as 1.5
        cpusetCpus: which CPUs, such as 0-2
        cpusetMems: which memory nodes
        disableCache: neither use nor fill the cache of images
        dns: name servers, with commas between them
        dockerHost: the Docker daemon that has the image
        dropCaps: capabilities to take away, with commas between them
        env: variables, NAME=VALUE; their values stand on no command line
        envFile: a file of variables
        fakeroot: whoever starts it is root inside
        fusemount: FUSE file systems to mount
        home: the home directory, SOURCE[:TARGET]
        hostname: its host name
        ipc: an IPC namespace of its own
        keepPrivs: root keeps all rights inside
        memory: limit of memory in bytes
        memoryReservation: memory that it is to be left when memory is short
        memorySwap: limit of memory and swap together
        mount: mounts, type=bind,source=…,destination=…
        net: a network namespace of its own
        netnsPath: the network namespace to join
        network: the network of that namespace, such as none
        networkArgs: arguments for the network's plugins
        noEval: values of variables are not evaluated by a shell; ours never are
        noHome: the home directory is not mounted
        noHttps: registries are asked without TLS
        noInit: no process that looks after the others
        noMount: what is not to be mounted of what its configuration says
        noPrivs: root has no rights inside
        noUmask: the umask inside is 0022
        nv: NVIDIA's libraries and devices
        nvccli: the same by nvidia-container-cli
        oomKillDisable: never end it when memory runs out
        overlay: images or directories that lie over it, IMAGE[:ro]
        pemPath: the key of an encrypted image
        pidFile: a file that gets the number of its process
        pidsLimit: limit of processes
        rocm: ROCm's libraries and devices
        scratch: directories inside that are temporary
        security: security options
        unsquash: unpack the image first
        userns: a user namespace of its own
        uts: a UTS namespace of its own
        workdir: the directory around in which /tmp, /var/tmp and the home directory of a contained one are
        writable: the image itself is written to
        writableTmpfs: what is written stays in memory
    """

    addCaps: str | None = None  # noqa: N815 - the published names, here and below
    allowSetuid: bool | None = None  # noqa: N815
    app: str | None = None
    applyCgroups: str | None = None  # noqa: N815
    authfile: str | None = None
    bind: Texts | None = None
    blkioWeight: int | None = None  # noqa: N815
    blkioWeightDevice: Texts | None = None  # noqa: N815
    boot: bool | None = None
    cleanenv: bool | None = None
    compat: bool | None = None
    contain: bool | None = None
    containall: bool | None = None
    cpuShares: int | None = None  # noqa: N815
    cpus: str | float | None = None
    cpusetCpus: str | None = None  # noqa: N815
    cpusetMems: str | None = None  # noqa: N815
    disableCache: bool | None = None  # noqa: N815
    dns: str | None = None
    dockerHost: str | None = None  # noqa: N815
    dropCaps: str | None = None  # noqa: N815
    env: Texts | None = None
    envFile: str | None = None  # noqa: N815
    fakeroot: bool | None = None
    fusemount: Texts | None = None
    home: str | None = None
    hostname: str | None = None
    ipc: bool | None = None
    keepPrivs: bool | None = None  # noqa: N815
    memory: str | None = None
    memoryReservation: str | None = None  # noqa: N815
    memorySwap: str | None = None  # noqa: N815
    mount: Texts | None = None
    net: bool | None = None
    netnsPath: str | None = None  # noqa: N815
    network: str | None = None
    networkArgs: Texts | None = None  # noqa: N815
    noEval: bool | None = None  # noqa: N815
    noHome: bool | None = None  # noqa: N815
    noHttps: bool | None = None  # noqa: N815
    noInit: bool | None = None  # noqa: N815
    noMount: Texts | None = None  # noqa: N815
    noPrivs: bool | None = None  # noqa: N815
    noUmask: bool | None = None  # noqa: N815
    nv: bool | None = None
    nvccli: bool | None = None
    oomKillDisable: bool | None = None  # noqa: N815
    overlay: Texts | None = None
    pemPath: str | None = None  # noqa: N815
    pidFile: str | None = None  # noqa: N815
    pidsLimit: int | None = None  # noqa: N815
    rocm: bool | None = None
    scratch: Texts | None = None
    security: Texts | None = None
    unsquash: bool | None = None
    userns: bool | None = None
    uts: bool | None = None
    workdir: str | None = None
    writable: bool | None = None
    writableTmpfs: bool | None = None  # noqa: N815


@dataclass(frozen=True, kw_only=True)
class SingularityOptions(KeptOptions, InstanceOptions):
    """Instances of Apptainer or Singularity: started from an image, or those that run already.

    Attributes:
        image: what to start instances from: a SIF file, a directory, or what the program can fetch
        instanceName: what they are called, with a number behind it if there are several; of an external deployment the
            one that is used
        instances: names of running instances to use instead
        command: arguments for the image's start script
        program: the program; apptainer or singularity, whichever there is, by default
    """

    image: str | None = None
    instanceName: str | None = None  # noqa: N815
    instances: list[str] | None = None
    command: Words | None = None
    program: str | None = None


_START = [field.name for field in fields(InstanceOptions) if field.name not in InsideOptions.__dataclass_fields__]
_NOT_FLAGS = {"env"}
# What an instance does not hand on to what is run in it later.
_AGAIN = ("addCaps", "allowSetuid", "app", "dropCaps", "envFile", "keepPrivs", "noPrivs", "security")
_OWN_ENVIRONMENT = ("cleanenv", "containall", "compat")
_EVALUATED = re.compile(r"([\\$`])")


def flags(options: InstanceOptions, names: Sequence[str] = _START) -> list[str]:
    """The flags for these options; none for variables, see :func:`environment`."""
    words: list[str] = []
    for name in names:
        value = getattr(options, name)
        if value is None or value is False or name in _NOT_FLAGS:
            continue
        several = value if isinstance(value, list) else [value]
        words += [flag(name) if one is True else f"{flag(name)}={one}" for one in several]
    return words


def environment(options: InstanceOptions, program: str) -> dict[str, str]:
    """The variables for the program's own environment that give a container those of the options.

    The program has a shell evaluate their values unless it is told not to; they are quoted for that.

    Raises:
        LocationError: one has no value.
    """
    given: dict[str, str] = {}
    for pair in options.env or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise LocationError(f"env: write NAME=VALUE, not {pair!r}")
        literal = value if options.noEval or options.compat else _EVALUATED.sub(r"\\\1", value)
        if os.path.basename(program) != "singularity":
            given[f"APPTAINERENV_{name}"] = literal
        if os.path.basename(program) != "apptainer":
            given[f"SINGULARITYENV_{name}"] = literal
    return given


def start_words(options: SingularityOptions, program: str, image: str, name: str, hello: str) -> list[str]:
    """What starts one instance and stays with it: its standard input keeps the instance alive.

    Args:
        options: of the deployment.
        program: the program.
        image: the image.
        name: what the instance is called.
        hello: what is said when it runs.
    """
    command = [options.command] if isinstance(options.command, str) else list(options.command or ())
    start = [program, "--quiet", "instance", "start", *flags(options), image, name, *command]
    ticks = str(round(STOP_SECONDS * 20))
    return ["sh", "-c", GUARD, "sh", program, name, hello, ticks, _COMMON, _SHADOW, *start]


def exec_wrap(
    options: InstanceOptions, program: str, image: str, *, running: bool
) -> Callable[[Sequence[bytes]], list[bytes]]:
    """What makes the words that run others inside of a container.

    Args:
        options: of the deployment.
        program: the program.
        image: an image, or ``instance://NAME``.
        running: whether it is an instance, which has most of its options already.
    """
    words = [program, "--quiet", "exec"]
    if not running:
        words += flags(options)
    else:
        words += flags(options, _AGAIN)
        words += ["--cleanenv"] * any(getattr(options, name) for name in _OWN_ENVIRONMENT)
        words += ["--no-eval"] * bool(options.noEval or options.compat)
        words += ["--no-umask"] * bool(options.noUmask or options.compat)
    start = [os.fsencode(word) for word in [*words, image]]
    return lambda inside: [*start, *inside]


def complaint(said: bytes, most: int = 600) -> str:
    """What the program complains of, without colours, news and the like."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", said.decode("utf-8", "replace"))
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if re.match(r"(FATAL|ERROR)\s*:", line)]
    told = [re.sub(r"^\w+\s*:\s*", "", line) for line in found] or [
        line for line in lines if line and not re.match(r"(INFO|WARNING|DEBUG|VERBOSE)\s*:", line)
    ]
    return "; ".join(told)[-most:]
