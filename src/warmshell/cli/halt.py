"""When to stop before the input ends, and with what exit status: the rules of ``--halt`` (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from warmshell.errors import CommandError

Action = Literal["go", "soon", "now"]
"""Go on; start no more jobs; end the running ones too."""

MOST = 101
"""The exit status for more than 100 failed jobs."""

_POLICY = re.compile(r"(now|soon),(fail|success|done)=([0-9]+)(%?)", re.ASCII)
_SHORT = {"0": "never", "1": "soon,fail=1", "2": "now,fail=1", "-1": "soon,success=1", "-2": "now,success=1"}


@dataclass(frozen=True, slots=True)
class Policy:
    """What ``--halt`` asked for; ``limit`` 0 is never."""

    action: Action = "go"
    why: Literal["fail", "success", "done"] = "fail"
    limit: int = 0
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Policy:
        """The policy of a ``--halt`` value, in GNU parallel's notation.

        Raises:
            CommandError: anything else.
        """
        spelled = _SHORT.get(text, text)
        if re.fullmatch(r"[0-9]{1,2}%", spelled):
            spelled = f"soon,fail={spelled}"
        if spelled == "never":
            return cls()
        match = _POLICY.fullmatch(spelled)
        if match is None or not 0 < int(match[3]) <= (100 if match[4] else 10**9):
            raise CommandError(
                f"--halt takes never, or now or soon with a reason (now,fail=1 soon,done=30%), not {text!r}"
            )
        action: Action = "now" if match[1] == "now" else "soon"
        why: Literal["fail", "success", "done"] = (
            "fail" if match[2] == "fail" else "success" if match[2] == "success" else "done"
        )
        return cls(action, why, int(match[3]), match[4] == "%")


@dataclass(slots=True)
class Halt:
    """Counts how jobs end, and says whether to go on.

    Args:
        policy: what was asked for.
        total: the number of all jobs, which percentages need; set it as soon as it is known.
    """

    policy: Policy = field(default_factory=Policy)
    total: int | None = None
    failed: int = 0
    succeeded: int = 0
    reached: bool = False
    _status: int = 0  # of the job that reached the limit

    @property
    def done(self) -> int:
        """How many jobs have ended."""
        return self.failed + self.succeeded

    def ended(self, status: int) -> Action:
        """Count one job that ended with this status; what to do now."""
        if status:
            self.failed += 1
        else:
            self.succeeded += 1
        return self.decide(status)

    def decide(self, status: int = 0) -> Action:
        """What to do with what is counted so far."""
        if not self.reached and self._is_reached():
            self.reached, self._status = True, status
        return self.policy.action if self.reached else "go"

    def _is_reached(self) -> bool:
        policy = self.policy
        if not policy.limit:
            return False
        count = {"fail": self.failed, "success": self.succeeded, "done": self.done}[policy.why]
        if not policy.percent:
            return count >= policy.limit
        return self.total is not None and count > 0 and count * 100 >= policy.limit * self.total

    def exit_status(self) -> int:
        """The exit status of the whole run.

        That of the failed job for ``fail=1``; 0 when enough jobs succeeded; the share of failed jobs with percentages;
        otherwise the number of failed jobs, 101 for more than 100.
        """
        policy = self.policy
        if policy.why == "success" and self.reached:
            return 0
        if policy.percent and self.total:
            return min(100, -(-self.failed * 100 // self.total))
        if policy.why == "fail" and policy.limit == 1 and self.reached and not policy.percent:
            return self._status if 0 < self._status < 256 else 1
        return min(self.failed, MOST)
