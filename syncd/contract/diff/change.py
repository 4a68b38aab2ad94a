"""One difference between two versions of a contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from syncd.contract.diff.verdict import Verdict
from syncd.text import escaped


@dataclass(frozen=True, slots=True)
class Change:
    """What differs, where, and what follows for readers."""

    verdict: Verdict
    key: str
    """Where it is in the contract, with names in the place of numbers: redis.card.fields.year.type."""
    what: str
    why: str
    file: str
    line: int
    column: int
    """In the new file; of what is gone, in the old one."""
    projection: str | None = None
    """Of which projection; None: of the whole contract."""
    name: str | None = None
    """Of which of its fields; None: of the whole projection."""
    breaks: tuple[str, ...] = ()
    """Teams that read what it takes away."""

    def __str__(self) -> str:
        breaks = f"; breaks {', '.join(self.breaks)}" if self.breaks else ""
        return escaped(f"{self.file}:{self.line}:{self.column}: {self.what}: {self.why}{breaks}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verdict": str(self.verdict), "key": self.key, "what": self.what, "why": self.why,
            "file": self.file, "line": self.line, "column": self.column, "breaks": list(self.breaks),
        }  # fmt: skip
