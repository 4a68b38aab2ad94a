"""What people ask of contracts, by the command line and over HTTP. Each is a record in Redis, where the daemon
that works on the contract finds it: it outlives that daemon, and any can be asked."""

from __future__ import annotations

import json
import threading
from typing import Any

from syncd import telemetry
from syncd.contract.lint.query import why_no_filter
from syncd.contract.model.extjson import decode
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.errors import RequestError, StoreError
from syncd.ops import leftovers
from syncd.plan.claims import BOTH, MONGO
from syncd.stores.redis.records.claims import read_claims
from syncd.stores.redis.records.dead_letters import (
    EVERY_KIND,
    Kind,
    dead_letters,
    drop_dead_letters,
    find_dead_letters,
    request_replay,
)
from syncd.stores.redis.records.layout import names_of, partitions_of
from syncd.stores.redis.records.orphans import Orphan
from syncd.stores.redis.records.position import ADOPT, PURGE, SWEEP, Fields, read_fields
from syncd.stores.redis.records.requests.approvals import approve, running_plan, waiting_plans
from syncd.stores.redis.records.requests.lane_requests import request_snapshot
from syncd.stores.redis.records.requests.partial_copies import request_partial_copy
from syncd.stores.redis.records.requests.pauses import pause, pause_of, resume
from syncd.stores.redis.store import RedisStore

ALLOWED = {"": SWEEP, "removal": PURGE, "adopt": ADOPT}
"""What a copy may do at its end, by what a person allows."""
SOON_S = 1.0
"""How long the keys of a template are counted for an answer over HTTP."""


class Actions:
    """On one Redis. `by`: who asks, for the record. All raise StoreError, and UnknownContractError."""

    def __init__(self, store: RedisStore, by: str) -> None:
        self._store, self._by = store, by

    def pause(self, contract: str, why: str = "") -> list[str]:
        """Have every daemon stop working on a contract. Returns the names under which it runs."""
        names = names_of(self._store, contract)
        pause(self._store, contract, self._by, why)
        return names

    def resume(self, contract: str) -> list[str]:
        """The opposite. Raises RequestError where it is not paused."""
        names = names_of(self._store, contract)
        if not resume(self._store, contract, *names):
            whole = pause_of(self._store, contract) or "not paused; `syncd status` shows what it waits for"
            raise RequestError(f"contract {contract} is {whole}")
        return names

    def snapshot(self, contract: str, allow: str = "") -> list[str]:
        """Have all documents copied again. `allow`: a word of ALLOWED."""
        names = names_of(self._store, contract)
        for name in names:
            request_snapshot(self._store, name, ALLOWED[allow])
        return names

    def snapshot_where(self, contract: str, where: str) -> list[str]:
        """Have the documents copied that match a query too, in Extended JSON, and no other key touched. Raises
        RequestError."""
        query = query_of(where)
        names = names_of(self._store, contract)
        for name in names:
            if why := _why_not_in_part(self._store, name):
                raise RequestError(f"contract {name} {why}")
        busy = [name for name in names if not request_partial_copy(self._store, name, query, self._by)]
        if busy:
            raise RequestError(
                f"a partial copy of {', '.join(busy)} is under way; wait for it (`syncd status`), or copy all by "
                f"`syncd snapshot {contract}`"
            )
        return names

    def replay(self, contract: str, entries: list[str] | None, kind: Kind = EVERY_KIND) -> int:
        """Have documents of dead letters read again: of these entries, or of all of a kind. Returns how many."""
        found = self._chosen(contract, entries, kind)
        if found:
            request_replay(self._store, contract, found)
        return len(found)

    def drop(self, contract: str, entries: list[str] | None, kind: Kind = EVERY_KIND) -> int:
        """Remove dead letters permanently: these entries, or all of a kind. Returns how many there were."""
        found = self._chosen(contract, entries, kind)
        return drop_dead_letters(self._store, contract, found) if found else 0

    def approve(self, contract: str, plan: str, *, ahead: bool = False) -> bool:
        """Let daemons take up this edit. `ahead`: also where no daemon waits for any. Returns whether one waits for
        it. Raises RequestError where the plan is not current."""
        waiting = waiting_plans(self._store, contract)
        runs = not waiting and running_plan(self._store, contract) == plan
        if plan not in waiting and (waiting or runs or not ahead):
            raise RequestError(
                f"nothing was approved: {_why_not_current(contract, plan, waiting, runs=runs)}"
            )
        approve(self._store, contract, plan, self._by)
        return bool(waiting)

    def orphans(self) -> list[dict[str, Any]]:
        """What contracts that are gone have left."""
        return leftovers.left_behind(self._store, SOON_S)

    def orphan(self, contract: str) -> list[dict[str, Any]]:
        """What one of them has left. Raises RequestError where it has not left."""
        found = leftovers.left_by(self._store, contract)
        return [leftovers.described(self._store, orphan, SOON_S) for orphan in found]

    def remove(self, contract: str, *, keys: bool, allow_removal: bool) -> list[str]:
        """Begin to remove what a contract left. Returns the names. Raises RequestError where it has not left."""
        found = leftovers.left_by(self._store, contract)
        leftovers.require_known_owners(self._store, found if keys and not allow_removal else [])
        threading.Thread(target=self._remove, args=(found, keys), name="remove", daemon=True).start()
        return [orphan.contract for orphan in found]

    def _remove(self, found: list[Orphan], keys: bool) -> None:
        left = [orphan.contract for orphan in found]
        try:
            for one in leftovers.remove(self._store, found, keys=keys):
                telemetry.contract_removed(
                    one.contract, one.counts["key"], one.counts["member"], one.indexes, one.records
                )
                left.remove(one.contract)
        except StoreError as error:
            telemetry.removal_failed(", ".join(left), str(error))

    def _chosen(self, contract: str, entries: list[str] | None, kind: Kind) -> list[str]:
        (name,) = self._one(contract)
        if entries is None:
            return [dead.entry for dead in dead_letters(self._store, name) if kind.has(dead)]
        return [dead.entry for dead in find_dead_letters(self._store, name, list(dict.fromkeys(entries)))]

    def _one(self, contract: str) -> list[str]:
        names = names_of(self._store, contract)
        if names != [contract]:
            raise RequestError(
                f"contract {contract} is over {len(names)} collections; name one, such as {names[0]}"
            )
        return names


def _why_not_current(contract: str, plan: str, waiting: list[str], *, runs: bool) -> str:
    if waiting:
        what = f"plan {plan} of contract {contract} is not current, its file is another by now"
        return f"{what}; `syncd plan`, then {' or '.join(f'`syncd approve {contract} {one}`' for one in waiting)}"
    if runs:
        return f"plan {plan} of contract {contract} is what runs already"
    return (
        f"no daemon waits for plan {plan} of contract {contract}: its file is another by now, or no daemon has it yet; "
        f"`syncd approve {contract}` shows the plan of the files here, and asks"
    )


def query_of(text: str) -> dict[str, Any]:
    """A filter in Extended JSON, as MongoDB takes it. Raises RequestError."""
    mistakes: list[str] = []
    try:
        query = decode(json.loads(text), (), lambda _, what, remedy: mistakes.append(f"{what}; {remedy}"))
    except (ValueError, RecursionError):
        query = None
    if mistakes:
        raise RequestError(f"in the filter: {mistakes[0]}")
    if not isinstance(query, dict):
        such = '{"year": {"$gte": 2000}}'
        raise RequestError(f"the filter is no object of Extended JSON; write a query such as '{such}'")
    if (wrong := why_no_filter(query)) is not None:
        what, remedy = wrong
        raise RequestError(f"{what}; {remedy}")
    return query


def _why_not_in_part(store: RedisStore, contract: str) -> str:
    """Why documents of a contract cannot be copied in part; empty where they can."""
    kind, reads = read_fields(store, partitions_of(store, contract)[0], Fields.KIND, Fields.ACKNOWLEDGED)
    if kind not in (MONGO, BOTH):
        is_from_redis = kind or reads
        why = (
            "goes from Redis to MongoDB: no filter of documents applies" if is_from_redis else "has not begun"
        )
        return f"{why}; `syncd snapshot {contract}` copies all"
    claims = [said for said in read_claims(store)[1].values() if said["contract"] == contract]
    types = [TYPE_RULES[said["type"]] for said in claims if said.get("type") in TYPE_RULES]
    if types and all(rules.fed for rules in types):
        return "is a change feed, whose entries are changes: there is nothing to copy in part"
    return ""
