"""Whose something is that may outlive its client: a text that tells whether that client has ended."""

from __future__ import annotations

import os

from warmshell.guardian import tree

_SHORT = 8


def this_client() -> str:
    """Tells this process from all others that this machine ever had."""
    me = tree.process(os.getpid())
    return f"{_boot()}:{os.getpid()}:{me.started if me is not None else 0}"


def short(claim: str) -> str:
    """The same with less of what tells machines and their starts apart, for names."""
    return claim[:_SHORT] + claim[claim.index(":") :]


def is_dead(claim: str) -> bool:
    """Whether the client was one of this machine that has ended; ``False`` of what is no such text."""
    boot, _, rest = claim.partition(":")
    pid, _, started = rest.partition(":")
    if boot not in (_boot(), _boot()[:_SHORT]) or not pid.isdigit() or not started.isdigit():
        return False
    return not tree.is_alive(int(pid), int(started))


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
