"""What a plan says of one contract, and of all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from syncd.contract.diff.sets import ContractDiff
from syncd.ops.checks.conditions import Finding
from syncd.ops.planning.decide import Action
from syncd.ops.planning.keys import KeyCount
from syncd.ops.planning.sample import Copy
from syncd.stores.redis.records.requests.pauses import Pause
from syncd.stores.redis.records.requests.pauses import as_dict as paused_as_dict
from syncd.to_mongo.state.keys.unfit_keys import shown


@dataclass(slots=True)
class Step:
    """What taking up the files does with one contract."""

    contract: str
    action: Action
    diff: ContractDiff | None = None
    """What it means for readers; None where what runs is not known."""
    copy: Copy | None = None
    """Of COPY and BEGINS, from MongoDB."""
    keys: int | None = None
    """Of KEYS: how many are read."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """By name what becomes of it: `made`, `beside`, `again` or `dropped`."""
    present: list[KeyCount] = field(default_factory=list)
    """Keys under its templates, which a copy replaces."""
    going: list[KeyCount] = field(default_factory=list)
    taken: Mapping[str, str] = field(default_factory=dict)
    """Key templates and names of indexes that it takes over, with the contract that has them now."""
    given: Mapping[str, str] = field(default_factory=dict)
    """The same that it hands over, with the contract that takes them."""
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plan: str = ""
    """Names the edit, for `syncd approve`."""
    waits: bool = False
    """Whether no daemon takes it up before it is approved."""
    paused: Pause | None = None
    """Whether a person has paused it: then no lane does any of this before it is resumed."""

    @property
    def is_change(self) -> bool:
        """Whether something is to be done."""
        return self.action is not Action.SAME

    @property
    def memory(self) -> int:
        """Bytes of Redis that come, and go, together."""
        if self.copy is None or self.action is Action.REFUSED:
            return 0
        return self.copy.memory - sum(one.own_memory for one in (*self.present, *self.going))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "contract": self.contract,
            "action": self.action.value,
            "plan": self.plan,
            "waits_for_approval": self.waits,
            "paused": paused_as_dict(self.paused),
            "diff": None if self.diff is None else self.diff.as_dict(),
            "copy": None if self.copy is None else self.copy.as_dict(),
            "keys_read": self.keys,
            "indexes": dict(self.indexes),
            "keys_that_go": [_count(one) for one in self.going],
            "takes_over": dict(self.taken),
            "hands_over": dict(self.given),
            "memory_bytes": self.memory,
            "findings": [
                {"level": one.level, "what": one.what, "remedy": one.remedy, "promises": list(one.promises)}
                for one in self.findings
            ],
            "notes": self.notes,
        }  # fmt: skip


def _count(one: KeyCount) -> dict[str, Any]:
    return {
        "projection": one.shape.name, "key": one.shape.template.shown, "type": one.shape.type, "count": one.count,
        "at_least": one.at_least, "samples": [shown(key) for key in one.samples],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Memory:
    """Of Redis."""

    used: int
    most: int
    """`maxmemory`; 0 where there is no limit."""
    after: int

    @property
    def share(self) -> float | None:
        """Of the limit, afterwards."""
        return self.after / self.most if self.most else None


@dataclass(frozen=True, slots=True)
class EditPlan:
    """What a daemon would do that takes up these files now."""

    servers: list[str]
    steps: list[Step]
    memory: Memory
    findings: list[Finding]
    """Of no contract."""

    @property
    def is_change(self) -> bool:
        """Whether there is anything to do."""
        return any(step.is_change for step in self.steps)

    @property
    def is_refused(self) -> bool:
        """Whether a contract could not run."""
        return any(step.action is Action.REFUSED for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "servers": self.servers,
            "changes": self.is_change,
            "refused": self.is_refused,
            "contracts": [step.as_dict() for step in self.steps],
            "memory": {
                "used": self.memory.used, "maxmemory": self.memory.most, "after": self.memory.after,
                "share": self.memory.share,
            },
            "findings": [{"level": one.level, "what": one.what, "remedy": one.remedy} for one in self.findings],
        }  # fmt: skip
