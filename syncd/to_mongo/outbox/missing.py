"""Keys that were noted and are not there: they may have been deleted since, and then an entry behind says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from syncd import telemetry

MOST_KEYS = 10_000
"""Beyond, keys count as gone at once; of some of them an entry may yet say that they were deleted."""


class Missing:
    """Of one run. What is judged to be gone is logged and counted; its document stays as it was."""

    def __init__(self, contract: str) -> None:
        self._contract = contract
        self._keys: dict[bytes, str] = {}

    def note(self, keys: Iterable[bytes], last: str) -> None:
        """These were not there when `last` was the position of the last entry."""
        self._keys |= dict.fromkeys(keys, last)
        if len(self._keys) > MOST_KEYS:
            self.judge()

    def forget(self, keys: Iterable[bytes]) -> None:
        """Entries that came behind have named these once more."""
        for key in keys:
            self._keys.pop(key, None)

    def forget_where(self, is_deleted: Callable[[bytes], bool]) -> None:
        """An entry that came behind said that these were deleted, and named others."""
        self.forget([key for key in self._keys if is_deleted(key)])

    def judge(self, up_to: str | None = None) -> None:
        """All entries up to this position are done, or all that there are."""
        gone = [key for key, last in self._keys.items() if up_to is None or last <= up_to]
        self.forget(gone)
        if gone:
            telemetry.keys_gone(self._contract, len(gone))
