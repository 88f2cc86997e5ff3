"""Which client something belongs to: told by its label or name, so that what a dead client left can be recognized."""

from __future__ import annotations

import os

from warmshell.guardian import tree

_SHORT = 8


def this_client(separator: str = ":", *, short: bool = False) -> str:
    """Tells this process from all others that this machine ever had.

    Args:
        separator: what stands between its parts.
        short: whether to say less of what tells machines and their starts apart, for names.
    """
    me = tree.process(os.getpid())
    boot = _boot()[:_SHORT] if short else _boot()
    return separator.join((boot, str(os.getpid()), str(me.started if me is not None else 0)))


def is_dead(label: str, separator: str = ":") -> bool:
    """Whether a label's client was one of this machine that has ended; ``False`` of what is no such label."""
    boot, pid, started, *_ = [*label.split(separator), "", ""]
    if boot not in (_boot(), _boot()[:_SHORT]) or not pid.isdigit() or not started.isdigit():
        return False
    return not tree.is_alive(int(pid), int(started))


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
