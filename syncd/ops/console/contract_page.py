"""What the page of one contract shows beside its row: its file, the shape of its keys, and what happened to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.projection import FieldSpec, Projection
from syncd.errors import StoreError
from syncd.ops.console.dead_letters import groups
from syncd.ops.console.edits import edits
from syncd.ops.console.rows import Said
from syncd.ops.console.servers import Servers
from syncd.reconcile.report import reports
from syncd.stores.mongo.store import translated

MOST_CHECKS = 10
MOST_CONFLICTS = 500
CONFLICTS_MS = 2_000

Json: TypeAlias = dict[str, Any]


def details(name: str, contract: Contract | None, lanes: Sequence[Said], servers: Servers) -> Json:
    """For JSON. A part that a server does not give is None, and `unknown` says why."""
    unknown: dict[str, str] = {}

    def ask(what: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except StoreError as error:
            unknown[what] = str(error)
            return None

    store = servers.redis
    return {
        "text": contract and contract.text,
        "projections": [] if contract is None else [_projection(one) for one in contract.redis],
        "reconcile": contract and contract.reconcile and _plan_of(contract),
        "consumers": [] if contract is None else [one.team for one in contract.consumers],
        "lanes": list(lanes),
        "indexes": [index for lane in lanes for index in lane.get("indexes") or ()],
        "errors": sorted((one for lane in lanes for one in lane["errors"]), key=lambda one: -one["at"]),
        "edits": ask("edits", lambda: edits(store, name)),
        "dead_letter_groups": ask("dead_letter_groups", lambda: groups(store, name)),
        "checks": ask("checks", lambda: [_check(one) for one in reports(store, name, MOST_CHECKS)]),
        "conflict_groups": ask("conflict_groups", lambda: conflicts(name, contract, servers)),
        "unknown": unknown,
    }


def _projection(projection: Projection) -> Json:
    """The shape of its keys."""
    return {
        "projection": projection.projection,
        "type": projection.type,
        "key": projection.key,
        "each": projection.each,
        "member": projection.member,
        "fields": _fields(projection),
        "ttl": _ttl(projection),
        "index": projection.index and projection.index.name,
    }


def _fields(projection: Projection) -> list[Json]:
    if projection.whole:
        return [{"name": "all", "from": "the whole document", "type": None, "mask": None}]
    specs: Mapping[str, FieldSpec] = projection.fields or ({"": projection.value} if projection.value else {})
    return [
        {"name": name, "from": spec.from_ or spec.expr, "type": spec.type, "mask": spec.mask}
        for name, spec in specs.items()
    ]


def _ttl(projection: Projection) -> str | None:
    ttl = projection.ttl
    if ttl is None:
        return None
    return f"{ttl / 1000:g} s" if isinstance(ttl, int) else f"at {ttl.field}"


def _plan_of(contract: Contract) -> Json:
    plan = contract.reconcile
    assert plan is not None
    return {"schedule": plan.schedule, "every_ms": plan.every, "check": plan.check, "mode": plan.mode}


def _check(report: Json) -> Json:
    """A report without keys."""
    return {name: value for name, value in report.items() if name not in ("examples", "filter_fails")}


def conflicts(name: str, contract: Contract | None, servers: Servers) -> Json | None:
    """Of a contract that goes both ways: the latest records, by field, why and who won. No values."""
    if contract is None or not contract.is_two_way:
        return None
    database, collection = contract.conflicts.split(".", 1)
    with translated():
        found = list(
            servers.mongo.client[database][collection]
            .find({"contract": name}, {"at": 1, "why": 1, "winner": 1, "fields.field": 1})
            .sort("at", -1)
            .limit(MOST_CONFLICTS)
            .max_time_ms(CONFLICTS_MS)
        )
    return {"collection": contract.conflicts, "read": len(found), "groups": list(_grouped(found))}


def _grouped(found: list[Json]) -> Iterator[Json]:
    groups: dict[tuple[str, str, str], list[Json]] = defaultdict(list)
    for one in found:
        for field in one.get("fields") or [{"field": ""}]:
            groups[field["field"], one["why"], one["winner"]].append(one)
    for (field, why, winner), some in sorted(groups.items(), key=lambda item: -len(item[1])):
        last = some[0]["at"].timestamp()
        yield {"field": field, "why": why, "winner": winner, "count": len(some), "last": last}
