"""Names of a contract that others use in Redis already: keys under its templates, templates, indexes, aliases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import KeyTemplate, template_of
from syncd.errors import FOREIGN_LOST
from syncd.ops.checks.conditions import Finding
from syncd.ops.checks.walk import LONGEST_S, Visitor
from syncd.plan.claims import INDEX, KEY, key_claim
from syncd.plan.keys.templates import parse_key
from syncd.plan.to_redis.compile import Plan
from syncd.plan.types import TYPES
from syncd.stores.redis.capabilities import Capabilities
from syncd.stores.redis.index_names import taken
from syncd.stores.redis.records.claims import read_claims, read_contracts
from syncd.stores.redis.records.keys.foreign_keys import has_lost_foreign
from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.position import ControlKeys, Fields, read_fields
from syncd.stores.redis.scan import KeyScan
from syncd.stores.redis.search import Search, SeenIndex
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_mongo.state.keys.unfit_keys import shown
from syncd.to_redis.indexes.indexes import wanted_indexes
from syncd.to_redis.indexes.named_index import Wanted

SAMPLES = 3


@dataclass(slots=True)
class _Foreign:
    """Keys under one template that syncd did not write."""

    contract: str
    template: KeyTemplate
    count: int = 0
    samples: list[bytes] = field(default_factory=list)
    whole: bool | None = None
    """Whether these are all; None: that depends on the walk."""

    def add(self, key: bytes) -> None:
        self.count += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(key)


class Names:
    """Checks the names of a set of contracts in one Redis."""

    def __init__(
        self, redis: RedisStore, server: Capabilities, contracts: list[Contract], leaving: Iterable[str] = ()
    ) -> None:
        """`leaving`: contracts that give up their names to these."""
        self._redis, self._server = redis, server
        self._ours = {contract.name for contract in contracts} | {*leaving}
        _, self._claims = read_claims(redis)
        self._foreign: list[_Foreign] = []

    def claimed(self, contract: Contract) -> Iterator[Finding]:
        """Names of one contract from MongoDB to Redis that belong to another contract."""
        for projection in contract.redis:
            claim = key_claim(template_of(projection), projection.projection, projection.type)
            yield from self._taken(contract, [name for name in self._claims if claim.meets(name)])
            if projection.index is not None:
                yield from self._taken(contract, [INDEX + projection.index.name])

    def lost(self, contract: Contract) -> Iterator[Finding]:
        """Where Redis has lost which keys were there before one contract from MongoDB to Redis."""
        if has_lost_foreign(self._redis, contract.name):
            what = f"{FOREIGN_LOST}; no copy or repair removes any"
            remedy = f"`syncd snapshot {contract.name} --allow-removal` removes all keys without a document"
            yield Finding("promise", what, remedy, ("no_ghosts",), (contract.name,))

    def _taken(self, contract: Contract, names: list[str]) -> Iterator[Finding]:
        """Names that belong to a contract that is not of this set, and has not left."""
        for name in names:
            claim = self._claims.get(name)
            if claim and not claim.get("free") and claim["contract"] not in self._ours:
                other = claim["contract"]
                what = f"`{name}` belongs to contract {other}, which is not among these files"
                remedy = f"choose another name, or remove {other} from the files of its daemon; `syncd remove {other}`"
                yield Finding("data", what, remedy, (), (contract.name,))

    def visitors(self, contract: Contract) -> Iterator[Visitor]:
        """Visitors that count keys that were there before a contract from MongoDB to Redis. See `keys`."""
        shapes = [one for one in contract.redis if not TYPE_RULES[one.type].fed]
        for template in {template_of(one).text: template_of(one) for one in shapes}.values():
            claim = self._claims.get(KEY + template.text)
            found = _Foreign(contract.name, template)
            self._foreign.append(found)
            if claim and not claim.get("new"):
                self._count_noted(found)
            else:
                yield template, self._visitor(found)

    def _visitor(self, found: _Foreign) -> Callable[[bytes], None]:
        def visit(key: bytes) -> None:
            if parse_key(found.template, key) is not None and not any(
                parse_key(template, key) is not None for template in self._written
            ):
                found.add(key)

        return visit

    def keys(self, *, whole: bool) -> Iterator[Finding]:
        """Keys that were there before their contracts, as the visitors saw them. `whole`: they saw all of Redis."""
        for found in self._foreign:
            if found.count:
                samples = ", ".join(f"`{shown(sample)}`" for sample in found.samples)
                at_least = "" if (whole if found.whole is None else found.whole) else "at least "
                yield Finding(
                    "data",
                    f"{at_least}{found.count} keys under `{found.template.shown}` were not written by syncd, such as "
                    f"{samples}; they stay, unless a document has such a key, which then replaces what it holds",
                    "choose another prefix; or, where they may go, `sync: {adopt: true}` or "
                    "`syncd snapshot NAME --adopt`",
                    (), (found.contract,),
                )  # fmt: skip

    def foreign(self) -> dict[tuple[str, str], int]:
        """How many they are, by contract and template."""
        return {(found.contract, found.template.text): found.count for found in self._foreign}

    def _count_noted(self, found: _Foreign) -> None:
        """Count the foreign keys that a daemon has noted."""
        end, found.whole = time.monotonic() + LONGEST_S, True
        for keys in KeyScan(self._redis, ControlKeys(found.contract, place=self._redis.place)).foreign(
            found.template
        ):
            for key in keys:
                if parse_key(found.template, key) is not None:
                    found.add(key)
            if time.monotonic() > end:
                found.whole = False
                return

    @cached_property
    def _written(self) -> list[KeyTemplate]:
        """Templates of contracts, those that they have now and those that they had."""
        written = {name.removeprefix(KEY) for name in self._claims if name.startswith(KEY)}
        for name in read_contracts(self._redis):
            for part in partitions_of(self._redis, name):
                (said,) = read_fields(self._redis, part, Fields.OWNED)
                written |= {template for _, template, _ in json.loads(said or "[]")}
        return [KeyTemplate.recorded(text) for text in written]

    def indexes(self, plan: Plan) -> Iterator[Finding]:
        """Names of indexes of one contract that belong to another client."""
        for wanted in wanted_indexes(plan) if self._server.search else ():
            seen = Search(self._redis).look(wanted.name)
            if seen is not None and not self._is_ours(plan.name, wanted, seen):
                yield Finding(
                    "data", *taken(wanted.name, seen.name, in_place=wanted.in_place), (), (plan.name,)
                )

    def _is_ours(self, contract: str, wanted: Wanted, seen: SeenIndex) -> bool:
        """Decided as the lane does: the index is in the record, or it is as the lane would have made it."""
        with translated():
            registered: Any = self._redis.client.hvals(ControlKeys(contract, place=self._redis.place).indexes)
        ours = {said["name"]: said.get("shape", "") for said in map(json.loads, registered)}
        if ours.get(seen.name) in ("", seen.shape):
            return True
        if seen.name == wanted.name:
            return wanted.in_place and seen.shape == wanted.shape
        return wanted.number_of(seen) is not None


def why_no_feed(redis: RedisStore, projection: Projection, *, adopts: bool) -> tuple[str, str] | None:
    """Why a change feed cannot write to its key as it is, and the remedy; None where it can. As its lane decides."""
    template = template_of(projection)
    client = redis.at_key(template.prefix).client
    with translated():
        kind: Any = client.type(template.prefix)
        if kind not in (b"none", TYPES[projection.type].redis.encode()):
            return (
                f"`{template.prefix}` is a {kind.decode()}, and a change feed has to write there",
                "rename that key",
            )
        claim = read_claims(redis)[1].get(KEY + template.text)
        count: Any = client.xlen(template.prefix)
    if adopts or not count or (claim and not claim.get("new")):
        return None
    what = f"`{template.prefix}` holds {count} entries that syncd did not write"
    return what, "choose another key, or write sync: {adopt: true}, and entries follow behind them"
