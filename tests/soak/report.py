"""What a run found, as a table for people and as JSON for machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.soak.faults import Fault

VERDICTS = {
    "missing": "keys missing at the end",
    "extra": "keys too many at the end",
    "different": "keys with wrong content at the end",
    "documents": "documents that are not as their keys at the end",
    "vanished": "documents that went without a deletion",
    "backwards": "versions that went backwards",
    "torn": "torn keys",
    "digests": "contracts with digests of other states",
    "dead_letters": "dead letters",
    "unexpected_errors": "unexpected errors in a daemon's log",
    "unexpected_exits": "daemons that ended by themselves",
    "stuck": "contracts not live at the end",
    "broken_tools": "parts of the soak that failed",
}
SHOWN = 10


@dataclass
class Result:
    """All figures of one run; what is in `verdicts` must be 0."""

    minutes: float
    seed: int
    fault_every: float
    verdicts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    faults: list[Fault] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    writer_errors: dict[str, int] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    steps: int = 0
    documents: int = 0
    keys: int = 0
    touched: int = 0
    longest_until_live: float = 0.0
    longest_not_live: float = 0.0
    peak_rss_mb: float = 0.0
    evidence: list[dict[str, Any]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not any(self.verdicts.values())

    def broken(self, trace: str) -> None:
        """The soak itself failed, so that nothing is proved."""
        self.verdicts["broken_tools"] += 1
        self.evidence.append({"what": "broken_tools", "trace": trace})

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"good": self.good, **asdict(self)}

    def markdown(self) -> str:
        """The table."""
        rows = [
            ("minutes of writes and faults", f"{self.minutes:.1f}"),
            ("seed, seconds between faults", f"{self.seed}, {self.fault_every:g}"),
            ("faults", f"{len(self.faults)}: {_counted(Counter(f.kind for f in self.faults))}"),
            ("faults that missed", str(sum(f.said.startswith("missed") for f in self.faults))),
            ("changes written", f"{_sum(self.written):,}: {_counted(self.written)}"),
            ("errors that the writers met", _counted(self.writer_errors) or "0"),
            ("changes applied, counted every 2 s", f"{_sum(self.applied):,}: {_counted(self.applied)}"),
            ("samples, of them a new version", f"{self.samples:,}, {self.steps:,}"),
            ("documents, keys compared at the end", f"{self.documents:,}, {self.keys:,}"),
            ("documents touched for evicted keys", str(self.touched)),
            *((said, f"{self.verdicts[name]}") for name, said in VERDICTS.items()),
            ("longest time from a fault's end until all is live", f"{self.longest_until_live:.1f} s"),
            ("longest time without every contract live", f"{self.longest_not_live:.1f} s"),
            ("peak resident memory of a daemon", f"{self.peak_rss_mb:.0f} MB"),
        ]
        lines = ["| what | figure |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in rows)]
        return "\n".join(lines)

    def story(self) -> str:
        """What is needed to understand what went wrong; empty when nothing did."""
        if self.good:
            return ""
        lines = ["", "What went wrong:"]
        lines += [str(found.get("trace") or found) for found in self.evidence[:SHOWN]]
        lines += [
            "Faults:",
            *(f"{f.began:8.1f} - {f.ended:.1f} s  {f.kind}: {f.said}" for f in self.faults),
        ]
        return "\n".join([*lines, "Logs:", *self.logs])


def _sum(counts: dict[str, int]) -> int:
    return sum(count for name, count in counts.items() if name != "swap")  # a swap is of other operations


def _counted(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
