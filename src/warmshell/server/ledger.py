"""Credit in the name of a client that is away, so that output goes on into the spool."""

from __future__ import annotations

from warmshell.protocol.frames import INITIAL_CREDIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    Key = tuple[int, int]


class Ledger:
    """What was granted to commands in the client's name; its own grants pay that back before they count.

    A command is named by its subshell and number.
    """

    def __init__(self) -> None:
        self._debts: dict[Key, int] = {}  # of every command that has written and not ended
        self._away = False

    def leave(self) -> list[tuple[Key, int]]:
        """The client is away: what to grant now, so that nobody waits for it."""
        self._away = True
        for key in self._debts:
            self._debts[key] += INITIAL_CREDIT
        return [(key, INITIAL_CREDIT) for key in self._debts]

    def back(self, unfetched: dict[Key, int] | None = None) -> None:
        """There is a client again.

        Args:
            unfetched: for another client than the last one, which owes nothing but will pay for all that it gets:
                the bytes of each command that are kept for it.
        """
        self._away = False
        if unfetched is not None:
            self._debts = {key: unfetched.get(key, 0) for key in {*self._debts, *unfetched}}

    def wrote(self, key: Key, size: int) -> int:
        """A command has written so much; what to grant for it."""
        granted = size if self._away else 0
        self._debts[key] = self._debts.get(key, 0) + granted
        return granted

    def ended(self, key: Key) -> None:
        """A command has ended."""
        self._debts.pop(key, None)

    def credit(self, key: Key, size: int) -> int:
        """The client grants so much; what of it is to be passed on."""
        debt = self._debts.get(key, 0)
        if debt:
            self._debts[key] = max(0, debt - size)
        return max(0, size - debt)
