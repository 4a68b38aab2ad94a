"""What contracts that are gone left in Redis: described for people, and removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from syncd.errors import FOREIGN_LOST, RequestError
from syncd.plan.to_redis.change import Retired
from syncd.plan.types import SHARED
from syncd.stores.redis.records.claims import last_seen
from syncd.stores.redis.records.cluster_lease import bring_together
from syncd.stores.redis.records.keys.foreign_keys import has_lost_foreign
from syncd.stores.redis.records.layout import names_of
from syncd.stores.redis.records.lease import new_owner
from syncd.stores.redis.records.leases import Leases
from syncd.stores.redis.records.orphans import (
    NOTED_EVERY_S,
    Orphan,
    count_keys,
    find_orphan,
    find_orphans,
    forget_turned,
    indexes_of,
    note_left,
    remove_indexes,
    remove_keys,
    remove_records,
    say_as_home,
)
from syncd.stores.redis.records.requests.pauses import pause_of
from syncd.stores.redis.records.serving import holders_of
from syncd.stores.redis.store import RedisStore
from syncd.text import shown_holder

FOR_RECORDS_S = 10.0
"""The lease under which records go to other nodes of a cluster, where slots have moved; a daemon that comes waits so
long at most."""
SILENCE_S = 2 * NOTED_EVERY_S
"""So long after a daemon last said that it has a contract, none has it any more."""
LONGEST_S = 10.0
"""Per template: a person waits."""


@dataclass(slots=True)
class Removed:
    """What went of one contract."""

    contract: str
    counts: dict[str, int] = field(default_factory=lambda: {"key": 0, "member": 0})
    """By noun_of."""
    indexes: list[str] = field(default_factory=list)
    records: int = 0


def left_behind(store: RedisStore, longest_s: float = LONGEST_S) -> list[dict[str, Any]]:
    """What each contract left, for JSON."""
    return [described(store, orphan, longest_s) for orphan in find_orphans(store)]


def say_left(store: RedisStore, contract: str, tell: Callable[[str], None]) -> None:
    """Note that a contract has left, as a person says, where no daemon is there to see it. Where one said a while ago
    that it has the contract among its files, `tell` is told, and it has the time to say so again. Raises
    UnknownContractError, or RequestError where a daemon works on it, still has it, or would if it were not paused: a
    daemon that has a paused contract among its files holds no lease by which it is seen."""
    names = names_of(store, contract)
    paused = next(filter(None, (pause_of(store, name) for name in names)), None)
    if paused is not None:
        raise RequestError(
            f"contract {contract} is {paused}; nothing was removed: while it is paused, a daemon that has its file "
            f"cannot be seen; `syncd resume {paused.contract}`, and say --left again"
        )
    holder = next((one for name in names for one in holders_of(store, name)), None)
    if holder is not None:
        raise RequestError(
            f"{shown_holder(holder)} works on contract {contract}; remove its file there, or stop that daemon, first"
        )
    _require_silence(store, contract, names, tell)
    note_left(store, names)


def _require_silence(
    store: RedisStore, contract: str, names: Sequence[str], tell: Callable[[str], None]
) -> None:
    """A contract that has failed is held by no daemon: what has it says so all the same."""
    last = last_seen(store, names)
    since = SILENCE_S if last is None else store.clock_us() / 1e6 - last
    if since >= SILENCE_S:
        return
    wait_s = SILENCE_S - since
    tell(
        f"a daemon had contract {contract} {since:.0f} s ago: waiting {wait_s:.0f} s whether one still has it"
    )
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        time.sleep(min(1.0, wait_s))
        if last_seen(store, names) != last:
            raise RequestError(
                f"a daemon has contract {contract} among its files, or one that it cannot read; remove the file there, "
                "or stop that daemon, first; nothing was removed"
            )


def left_by(store: RedisStore, contract: str) -> list[Orphan]:
    """What a contract left, of one over several collections for each. Raises UnknownContractError, or RequestError
    where it has not left."""
    found = [find_orphan(store, name) for name in names_of(store, contract)]
    orphans = [orphan for orphan in found if orphan.has_left or orphan.shapes]
    if not orphans:
        raise RequestError(
            f"contract {contract} has not left: a daemon had it among its files when it was last seen; "
            "remove its file there, and wait some seconds; where none will have it again, "
            f"`syncd remove {contract} --left` says so"
        )
    return orphans


def described(store: RedisStore, orphan: Orphan, longest_s: float = LONGEST_S) -> dict[str, Any]:
    """For JSON. Each template is counted for so long at most."""
    left = None if orphan.left is None else datetime.fromtimestamp(orphan.left, UTC).isoformat()
    return {
        "contract": orphan.contract,
        "left": left,
        "kind": orphan.kind,
        "templates": [_template(store, orphan, shape, longest_s) for shape in orphan.shapes],
        "indexes": indexes_of(store, orphan.contract) if orphan.has_left else [],
        "outbox_entries": orphan.outbox,
        "dead_letters": orphan.dead_letters,
    }


def _template(store: RedisStore, orphan: Orphan, shape: Retired, longest_s: float) -> dict[str, Any]:
    keys, are_all = count_keys(store, orphan, shape, longest_s)
    return {
        "projection": shape.name,
        "key": shape.template.shown,
        "type": shape.type,
        "keys": keys,
        "at_least": not are_all,
    }


def noun_of(kind: str) -> str:
    """What the keys of a type are counted by."""
    return "member" if kind.endswith(SHARED) else "key"


def require_known_owners(store: RedisStore, orphans: list[Orphan]) -> None:
    """Raises RequestError where it is not known any more which keys are an application's."""
    for orphan in orphans:
        if has_lost_foreign(store, orphan.contract):
            what = f"{FOREIGN_LOST} ({orphan.contract})" if len(orphans) > 1 else FOREIGN_LOST
            raise RequestError(f"{what}; nothing was removed: say --allow-removal, or leave out --keys")


def _bring_together(store: RedisStore, contract: str) -> None:
    leases = Leases(store, new_owner(), FOR_RECORDS_S)
    try:
        bring_together(store, contract, leases.owner, FOR_RECORDS_S, leases)
    finally:
        leases.close()


def remove(store: RedisStore, orphans: list[Orphan], *, keys: bool) -> Iterator[Removed]:
    """Remove the records of contracts and, with `keys`, their keys and indexes, one contract after the other. Raises
    FencedError where a daemon works on one, or it has come back."""
    store.connect()
    for orphan in orphans:
        removed = Removed(orphan.contract)
        _bring_together(store, orphan.contract)
        say_as_home(store, orphan.contract)
        if keys:
            for shape in orphan.shapes:
                removed.counts[noun_of(shape.type)] += remove_keys(store, orphan, shape)
            removed.indexes = remove_indexes(store, orphan.contract) if orphan.has_left else []
        removed.records = remove_records(store, orphan.contract) if orphan.has_left else 0
        if keys and not orphan.has_left:
            forget_turned(store, orphan.contract)
        yield removed
