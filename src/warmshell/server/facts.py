"""What the server tells of the place where it runs."""

from __future__ import annotations

import os
import sys

from warmshell.guardian.processes import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmshell.server.site import Site


def of_start(base: bytes, site: Site) -> dict[str, object]:
    """What a client wants to know from the start."""
    home = os.environb.get(b"HOME", b"")
    return {
        "pid": os.getpid(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "cwd": base.decode("latin-1"),
        "home": home.decode("latin-1"),
        "tmp": os.environb.get(b"TMPDIR", b"/tmp").decode("latin-1"),
        "cpus": len(os.sched_getaffinity(0)),
        "arg_max": os.sysconf("SC_ARG_MAX"),
        "subreaper": site.children.adopts,
    }


def of_now(lanes: list[dict[str, object]]) -> dict[str, object]:
    """What goes on: the session's processes, its memory, the machine's load."""
    table = snapshot()
    own = {os.getpid()}
    for found in sorted(table.values(), key=lambda found: found.started):
        if found.ppid in own:
            own.add(found.pid)
    return {
        "subshells": lanes,
        "processes": len(own) - 1,
        "memory": _memory(),
        "load": list(os.getloadavg()),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


def _memory() -> int:
    """Bytes of this server that are resident."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
