"""What a location offers: cores, memory, disks; how it is asked, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_KIB = 1024
_NO_LIMIT = 2**60  # what the first version of control groups says where there is no limit


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system.

    Attributes:
        mount: where it is mounted.
        size: its bytes.
        free: bytes that this account may still write.
        paths: the directories asked for that are on it.
    """

    mount: str
    size: int
    free: int
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AvailableLocation:
    """A location of a deployment, as a scheduler wants to know it.

    Attributes:
        name: its name in the deployment.
        deployment: the deployment.
        hostname: the host it is on.
        service: the service that was asked for, or that it belongs to.
        cores: processors that its commands get.
        memory: bytes of memory that its commands get.
        disks: the file systems of its working directory and of the directories asked for, by mount point.
        slots: how many commands it is meant to run at once.
        local: whether it is this machine.
        wraps: the location that it is in, if any.
    """

    name: str
    deployment: str
    hostname: str
    service: str | None = None
    cores: float = 1.0
    memory: int = 0
    disks: Mapping[str, Disk] = field(default_factory=dict)
    slots: int = 1
    local: bool = False
    wraps: AvailableLocation | None = None


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a location said of itself.

    Attributes:
        hostname: what it calls itself.
        cores: processors.
        memory: bytes.
        disks: file systems by mount point.
    """

    hostname: str
    cores: float
    memory: int
    disks: dict[str, Disk]


# A container's share is told by its control group, of either version; a host's by the kernel.
_SCRIPT = r"""
echo "host $(uname -n)"
echo "cores $(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1)"
{ sed -n 's/^MemTotal: *\([0-9]*\).*/kib \1/p' /proc/meminfo || echo "bytes $(sysctl -n hw.memsize)"; } 2>/dev/null
g=/sys/fs/cgroup own=$(sed -n 's/^0:://p' /proc/self/cgroup 2>/dev/null)
for d in "$g" "$g$own"; do
    test ! -r "$d/cpu.max" || echo "quota $(cat "$d/cpu.max")"
    test ! -r "$d/memory.max" || echo "bytes $(cat "$d/memory.max")"
done
test ! -r "$g/cpu/cpu.cfs_quota_us" || echo "quota $(cat "$g/cpu/cpu.cfs_quota_us") $(cat "$g/cpu/cpu.cfs_period_us")"
test ! -r "$g/memory/memory.limit_in_bytes" || echo "bytes $(cat "$g/memory/memory.limit_in_bytes")"
n=0
for d; do
    while test ! -e "$d" && test "$d" != / && test "$d" != .; do
        case $d in */*) d=${d%/*} ;; *) d=. ;; esac
        test -n "$d" || d=/
    done
    echo "disk $n $(df -Pk -- "$d" 2>/dev/null | tail -n 1)"
    n=$((n + 1))
done
"""

_DISK = re.compile(r"disk (\d+) .* (\d+) +(\d+) +(-?\d+) +(?:\d+%|-) +(/.*)\Z")


def question(directories: Sequence[str]) -> list[str]:
    """The words that ask a location what it offers.

    Args:
        directories: whose file systems are asked for, beside that of its working directory. Of one that does not exist
            yet, the nearest above it counts.
    """
    return ["sh", "-c", _SCRIPT, "sh", ".", *[path or "." for path in directories]]


def answer(said: str, directories: Sequence[str]) -> Hardware:
    """What a location said.

    Args:
        said: the output of :func:`question`.
        directories: as given there.
    """
    host, cores, memory = "", 1.0, 0
    disks: dict[str, Disk] = {}
    for line in said.splitlines():
        word, _, rest = line.partition(" ")
        if word == "host":
            host = rest
        elif word == "cores":
            cores = float(rest) if rest.isdigit() and int(rest) else 1.0
        elif word == "quota":
            cores = _least(cores, _quota(rest))
        elif word in ("kib", "bytes"):
            memory = int(_least(memory, _bytes(word, rest)))
        elif word == "disk":
            _add(disks, line, [".", *directories])
    return Hardware(host, cores, memory, disks)


def _least(known: float, limit: float) -> float:
    return known if not limit else limit if not known else min(known, limit)


def _quota(text: str) -> float:
    """The processors of ``QUOTA PERIOD``; 0: no limit."""
    words = text.split()
    if len(words) != 2 or not all(word.isdigit() for word in words) or not int(words[1]):
        return 0.0
    return int(words[0]) / int(words[1])


def _bytes(unit: str, text: str) -> int:
    size = int(text) * (_KIB if unit == "kib" else 1) if text.isdigit() else 0
    return size if size < _NO_LIMIT else 0


def _add(disks: dict[str, Disk], line: str, directories: Sequence[str]) -> None:
    found = _DISK.match(line)
    if found is None:  # df knows nothing of it
        return
    number, size, _, free, mount = found.groups()
    before = disks[mount].paths if mount in disks else ()
    path = directories[int(number)]
    paths = before if path == "." or path in before else (*before, path)
    disks[mount] = Disk(mount, int(size) * _KIB, max(0, int(free)) * _KIB, paths)
