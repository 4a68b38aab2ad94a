"""What a contract claims in the target Redis: its key templates and the names of its indexes. Pure.

A claim says who may remove the keys of a template. Claims of all contracts of a Redis are one record (see
`stores/redis/lua/claims.lua`), so that a template passes from one contract to another without a key being lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from syncd.contract.model.contract import FileStamp
from syncd.contract.model.redis.template import KeyTemplate
from syncd.contract.model.redis.template_overlap import overlaps
from syncd.plan.base import ContractPlan
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.state import StatePlan
from syncd.plan.types import SHARED

KEY, INDEX = "key ", "index "
"""How the name of a claim begins: before the text of a template, or the name of an index."""
MONGO, APPEND, BOTH, KEYSPACE = "mongo", "append", "both", "keyspace"
"""Kinds of contracts; those that write keys to MongoDB are called by their capture, KEYSPACE or `outbox`."""
_MAGIC = re.compile(r"([\^$()%.\[\]*+\-?])")


class Claim(NamedTuple):
    """One template or index name of one contract."""

    name: str
    """`key film:{_id}` or `index films`."""
    projection: str
    type: str
    """The Redis type, as contracts call it."""
    by_id: bool
    """Whether a key follows from `_id` alone, so that no map is kept for it."""
    pattern: str
    """A Lua pattern that fits every key of the template; empty for an index."""
    fields: tuple[str, ...] = ()
    """Of a hash that contracts share: those of this one. Empty: the whole key."""

    @property
    def template(self) -> str | None:
        """The text of the key template; None for an index."""
        return self.name.removeprefix(KEY) if self.name.startswith(KEY) else None

    def meets(self, other: str) -> bool:
        """Whether the claim named `other` is about the same index, or about keys that both could have."""
        if self.name == other:
            return True
        if self.template is None or not other.startswith(KEY):
            return False
        return _meet(KeyTemplate.recorded(self.template), KeyTemplate.recorded(other.removeprefix(KEY)))


@dataclass(frozen=True, slots=True)
class Claims:
    """What a contract claims, and in which form it is at present."""

    kind: str
    version: str
    """Digest of the contract: daemons that have the same one do the same."""
    claims: tuple[Claim, ...]
    text: str = ""
    """The file of the contract, kept for those who ask what runs."""
    file: FileStamp | None = None
    """Who wrote it, and when."""

    def encoded(self) -> dict[str, Any]:
        """For `syncd_lease`."""
        return {
            "kind": self.kind,
            "version": self.version,
            "claims": [claim._asdict() for claim in self.claims],
            **self.written(),
        }

    def written(self) -> dict[str, Any]:
        """What Redis keeps of the file."""
        return {"text": self.text} | ({"file": self.file._asdict()} if self.file else {})


Templates: TypeAlias = tuple[tuple[str, str], ...]


def templates_of(plans: Iterable[ContractPlan]) -> Templates:
    """Name of the contract and key template, of a whole set."""
    claims = ((plan.name, claim.template) for plan in plans for claim in claims_of(plan).claims)
    return tuple((name, template) for name, template in claims if template is not None)


def others_that_meet(plan: ContractPlan, template: KeyTemplate) -> list[KeyTemplate]:
    """Templates of the other contracts of the set that may have a key of this one."""
    others = (KeyTemplate.recorded(text) for name, text in plan.templates if name != plan.name)
    return [other for other in others if _meet(template, other)]


def _meet(one: KeyTemplate, other: KeyTemplate) -> bool:
    may_meet = one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)
    return may_meet and overlaps(one, other) is not None


def claims_of(plan: ContractPlan) -> Claims:
    """What a compiled contract claims. A stream that is appended is only read, so that no contract claims it."""
    written = plan.contract.text, plan.contract.file
    if isinstance(plan, AppendPlan):
        return Claims(APPEND, plan.fingerprint, (), *written)
    if isinstance(plan, StatePlan):
        claim = key_claim(plan.keys, plan.projection, plan.contract.redis[0].type)
        return Claims(plan.contract.sync.capture or "", plan.fingerprint, (claim,), *written)
    assert isinstance(plan, StreamPlan)
    keys = (key_claim(shape.template, shape.name, shape.type) for shape in plan.shapes)
    kind = BOTH if isinstance(plan, TwoWayPlan) else MONGO
    streams = (key_claim(feed.template, feed.name, feed.type)._replace(by_id=True) for feed in plan.feeds)
    claims = (*keys, *streams, *_index_claims(plan))
    return Claims(kind, plan.version or plan.fingerprint, claims, *written)


def key_claim(template: KeyTemplate, projection: str, redis_type: str) -> Claim:
    """The claim on the keys of one template."""
    first, *literals = (_MAGIC.sub(r"%\1", literal) for literal in template.literals)
    values = (f"[^{one.never_holds}]*" if one.never_holds else ".*" for one in template.placeholders)
    pattern = first + "".join(value + literal for value, literal in zip(values, literals, strict=True))
    # Members of shared keys have a map of another kind: all keys of the template are this contract's.
    by_id = template.by_id or redis_type.endswith(SHARED)
    return Claim(KEY + template.text, projection, redis_type, by_id, f"^{pattern}$", template.fields)


def _index_claims(plan: StreamPlan) -> Iterable[Claim]:
    for projection in plan.contract.redis:
        if projection.index is not None:
            yield Claim(INDEX + projection.index.name, projection.projection, projection.type, True, "")
