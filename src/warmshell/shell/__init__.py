"""How a place is kept warm: lanes, the set of warm shells, and shells whose state persists."""

from warmshell.shell.shell import Shell

__all__ = ["Shell"]
