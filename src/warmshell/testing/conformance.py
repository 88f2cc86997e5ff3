"""The whole suite as one class."""

from __future__ import annotations

from warmshell.testing.accounts import Accounts, Terminals
from warmshell.testing.cancelling import Cancelling
from warmshell.testing.closing import Closing
from warmshell.testing.environment import Environment
from warmshell.testing.exact_bytes import ExactBytes
from warmshell.testing.failures import Failures
from warmshell.testing.isolation import Isolation
from warmshell.testing.outputs import Outputs
from warmshell.testing.pitfalls import Pitfalls
from warmshell.testing.processes import Processes
from warmshell.testing.scripts import Scripts
from warmshell.testing.shells_in_use import ShellsInUse
from warmshell.testing.stateful import Stateful
from warmshell.testing.stdin import Stdin
from warmshell.testing.subshells import Subshells
from warmshell.testing.timeouts import Timeouts
from warmshell.testing.words import Words


class LocationConformance(
    ExactBytes, Words, Scripts, Environment, Isolation, Stdin, Timeouts, Cancelling, Stateful, Subshells, Outputs,
    Failures, Processes, Closing, ShellsInUse, Accounts, Terminals, Pitfalls,
):  # fmt: skip
    """Everything that a location must do. Subclass it, and give it ``connect`` and the capability flags.

    Its parts, one for each theme, can be subclassed by themselves as well.
    """
