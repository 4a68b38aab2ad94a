"""The report of a check, for people and programs, and its history in Redis. Keys and names of fields, no values."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from syncd.reconcile.compare import KINDS
from syncd.reconcile.document_comparison import Difference
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

MOST_EXAMPLES = 1000
"""Differences that a report names; the numbers count all."""
MOST_KEPT_EXAMPLES = 20
MOST_REPORTS = 50


@dataclass
class ReconcileReport:
    """One check of one contract, or of one partition of it."""

    contract: str
    check: str
    repair: bool
    partition: str = "1/1"
    note: str = ""
    """What the reader should know of the way it was checked."""
    started: float = field(default_factory=time.time)
    finished: float = 0.0
    documents: int = 0
    """Compared with their keys, or by their digests."""
    compared: int = 0
    """In full. Of a check by digests only documents whose digests differ, or are not known."""
    keys: int = 0
    """Scanned for a document."""
    drift: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    repaired: int = 0
    dead_letters: int = 0
    """Keys that differ because the change of their document waits for a person."""
    filter_fails: list[str] = field(default_factory=list)
    """Documents, by `_id`, on which the contract's filter fails, so that it is not known what their keys should be."""
    expired: int = 0
    """Keys that are not there, and may have expired."""
    unsettled: int = 0
    """Documents that changed whenever they were compared, or that the lane did not pass in time."""
    ended: str = ""
    """Why it ended before its time; empty where everything was compared."""
    examples: list[Difference] = field(default_factory=list)

    @property
    def found(self) -> int:
        """Keys that differ."""
        return sum(self.drift.values())

    @property
    def left(self) -> int:
        """Keys that differ and were not repaired."""
        return self.found - self.repaired

    @property
    def result(self) -> str:
        """`clean`, `repaired`, `drift`, or `incomplete`: what was compared is in sync, and that was not all."""
        if self.left:
            return "drift"
        if self.ended or self.unsettled:
            return "incomplete"
        return "repaired" if self.repaired else "clean"

    def note_drift(self, differences: list[Difference]) -> None:
        """These keys differ."""
        for difference in differences:
            self.drift[difference.kind] += 1
        self._show(differences)

    def note_unfit(self, idents: list[str]) -> None:
        """The filter fails on these documents."""
        self.filter_fails += idents[: MOST_EXAMPLES - len(self.filter_fails)]

    def add(self, said: dict[str, Any]) -> None:
        """What another report, `as_dict`, says of another part of the same contract."""
        for name in ("documents", "compared", "keys", "repaired", "dead_letters", "expired", "unsettled"):
            setattr(self, name, getattr(self, name) + said[name])
        for kind, count in said["drift"].items():
            self.drift[kind] += count
        self.note_unfit(said["filter_fails"])
        self._show(
            [Difference(**example | {"fields": tuple(example["fields"])}) for example in said["examples"]]
        )

    def _show(self, differences: list[Difference]) -> None:
        self.examples += differences[: MOST_EXAMPLES - len(self.examples)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("contract", "partition", "check", "repair", "note", "started", "finished", "documents", "compared",
                 "keys", "drift", "repaired", "dead_letters", "expired", "unsettled", "ended", "result",
                 "left")  # fmt: skip
        said = {name: getattr(self, name) for name in names}
        said["seconds"] = round(max(0.0, self.finished - self.started), 3)
        said["filter_fails"] = list(self.filter_fails)
        said["examples"] = [difference._asdict() for difference in self.examples]
        return said


def keep_report(store: RedisStore, report: ReconcileReport) -> None:
    """Put it in front of the others."""
    said = report.as_dict()
    for name in ("examples", "filter_fails"):
        said[name] = said[name][:MOST_KEPT_EXAMPLES]
    name = ControlKeys(report.contract, place=store.place).reports
    with translated():
        pipe = store.client.pipeline()
        pipe.lpush(name, json.dumps(said))
        pipe.ltrim(name, 0, MOST_REPORTS - 1)
        pipe.execute()


def reports(store: RedisStore, contract: str, most: int = MOST_REPORTS) -> list[dict[str, Any]]:
    """The latest first."""
    with translated():
        found: Any = store.client.lrange(ControlKeys(contract, place=store.place).reports, 0, most - 1)
    return [json.loads(text) for text in found]
