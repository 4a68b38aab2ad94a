"""Contracts that go both ways: one of each rule, and of each type."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from syncd.contract.model.contract import Contract
from syncd.plan.both.plan import TwoWayPlan, compile_two_way
from tests.simulation.contracts import COLLECTION, NAME
from tests.simulation.mongo.server import DATABASE

CONFLICTS = "syncd_conflicts"
PREFIX = "film:"


@dataclass(frozen=True)
class BothKind:
    """A contract, and what the checker has to know of it."""

    sync: dict[str, Any]
    type: str = "hash"
    fields: tuple[str, ...] = ("a", "b", "c")
    authority: dict[str, list[str]] = field(default_factory=dict)

    @property
    def rule(self) -> str:
        """Of conflicts."""
        return str(self.sync["on_conflict"])

    @property
    def deletes(self) -> bool:
        """Whether a deletion goes to the other side."""
        return self.sync.get("on_delete") != "ignore"


MERGED = {"on_conflict": "merge_fields"}
AUTHORITY = {"mongo": ["b"], "redis": ["c"]}
KINDS: dict[str, BothKind] = {
    "merge_fields": BothKind(MERGED),
    "mongo_wins": BothKind({"on_conflict": "mongo_wins"}),
    "redis_wins": BothKind({"on_conflict": "redis_wins"}),
    "newest": BothKind({"on_conflict": "newest"}),
    "authority": BothKind({**MERGED, "authority": AUTHORITY}, authority=AUTHORITY),
    "json": BothKind({"on_conflict": "redis_wins"}, type="json"),
    "string": BothKind(MERGED, type="string", fields=("value",)),
    "ignore": BothKind({**MERGED, "on_delete": "ignore"}),
}


@cache
def plan_of(kind: str) -> TwoWayPlan:
    """The plan of a kind, which has no state."""
    said = KINDS[kind]
    shape: dict[str, Any] = {"projection": "film", "type": said.type, "key": f"{PREFIX}{{_id}}"}
    if said.type == "string":
        shape["value"] = {"from": "value"}
    else:
        shape["fields"] = {name: name for name in said.fields}
    contract = Contract.model_validate({
        "apiVersion": "syncd/v1", "kind": "SyncContract",
        "metadata": {"name": NAME, "version": "1.0.0", "owner": "tests"},
        "mongo": {"collection": f"{DATABASE}.{COLLECTION}"}, "redis": [shape],
        "sync": {"direction": "both", "capture": "outbox", **said.sync},
    })  # fmt: skip
    return compile_two_way(contract)
