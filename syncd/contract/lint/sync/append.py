"""Rules about the direction: what belongs to a contract from Redis to MongoDB, and to one that appends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from syncd.contract.model.redis.projection import FieldSpec, Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.values import COLLECTION, DATABASE
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import Problem

_ONLY_INBOUND = ("on_drop", "on_unresumable_position", "adopt", "sweep_limit")
_ONLY_STATE = ("on_delete", "on_expire", "outbox_max")
_TURNED = "from Redis to MongoDB"


def appending(contracts: Sequence[LoadedContract]) -> Iterator[LoadedContract]:
    """The contracts that go from Redis to MongoDB, or both ways."""
    for contract in contracts:
        if contract.sound("sync") and contract.contract.sync.direction != "mongo_to_redis":
            yield contract


def _streams(contracts: Sequence[LoadedContract]) -> Iterator[tuple[LoadedContract, int, Projection]]:
    for contract in appending(contracts):
        for at, projection in contract.projections():
            if TYPE_RULES[projection.type].appended and contract.sound("redis", at, "type"):
                yield contract, at, projection


def directions_and_captures_agree(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """`capture` says how changes in Redis are found; from MongoDB there is one way."""
    for contract in contracts:
        if not contract.sound("sync"):
            continue
        sync = contract.contract.sync
        if sync.direction != "mongo_to_redis" and sync.capture is None:
            what = f"`direction: {sync.direction}` without a `capture`"
            known = "outbox or keyspace" if sync.direction == "both" else "outbox, keyspace or append"
            yield contract.problem(("sync", "direction"), what, f"write capture: {known}")
        elif sync.direction == "mongo_to_redis" and sync.capture is not None:
            what = "`capture` is for `direction: redis_to_mongo` and `both`"
            yield contract.problem_at_key(("sync", "capture"), what, "leave it out, or turn the direction")


def types_fit_the_capture(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A stream is read entry by entry, every other type as a whole; and some types are only read."""
    for contract in contracts:
        if not contract.sound("sync") or _lacks_capture(contract):
            continue
        inbound = contract.contract.sync.direction == "mongo_to_redis"
        appends = not inbound and contract.contract.sync.capture == "append"
        for at, projection in contract.projections():
            path: Path = ("redis", at, "type")
            if not contract.sound(*path):
                continue
            rules = TYPE_RULES[projection.type]
            if rules.appended and not appends and not (inbound and rules.fed):
                what = f"`type: {projection.type}` is for contracts that append, or for change feeds"
                remedy = "write capture: append with direction: redis_to_mongo, or another type"
                yield contract.problem(path, what, remedy)
            elif not rules.appended and appends:
                what = f"`type: {projection.type}` cannot be appended from"
                yield contract.problem(path, what, "write type: stream, or capture: outbox or keyspace")
            elif projection.member is not None and not projection.each_member and not inbound:
                what = "`member` without `each: member` only goes from MongoDB to Redis"
                remedy = "write each: member for a document a member, a `value` for one a key, or turn the direction"
                yield contract.problem_at_key(("redis", at, "member"), what, remedy)
            elif (
                not appends
                and not projection.is_shared
                and not (rules.to_redis or rules.fed if inbound else rules.captured)
            ):
                what = (
                    f"`type: {projection.type}` only goes {_TURNED if inbound else 'from MongoDB to Redis'}"
                )
                yield contract.problem(path, what, "write type: json, which holds arrays")


def _lacks_capture(contract: LoadedContract) -> bool:
    sync = contract.contract.sync
    return sync.direction != "mongo_to_redis" and sync.capture is None


def one_projection_a_contract(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Lag, position and what belongs to a document are those of one shape."""
    for contract in appending(contracts):
        if contract.sound("redis") and len(contract.contract.redis) > 1:
            what = f"more than one projection in a contract {_TURNED}"
            yield contract.problem(("redis", 1, "projection"), what, "write a contract for each")


def stream_keys_are_plain(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """There is no document yet that could fill a placeholder."""
    for contract, at, projection in _streams(contracts):
        path = ("redis", at, "key")
        if contract.sound(*path) and ("{" in projection.key or "}" in projection.key):
            what = f"a placeholder in the key of a stream, `{contract.written(*path)}`"
            yield contract.problem(path, what, "name the one key that the stream has")


def nothing_else_is_asked(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A key without effect in this direction is refused, so that it does not seem to have one."""
    for contract, at, projection in _streams(contracts):
        yield from _beside_a_stream(contract, at, projection)
    for contract in appending(contracts):
        for at, projection in contract.projections():
            if projection.index is not None and not contract.contract.is_two_way:
                what = f"an `index` over keys that go {_TURNED}"
                yield contract.problem_at_key(("redis", at, "index"), what, "leave it out")
            if projection.keep is not None:
                what = f"`keep` of keys that go {_TURNED}"
                yield contract.problem_at_key(("redis", at, "keep"), what, "leave it out")
            if projection.whole:
                what = f"`fields: all` {_TURNED}, where fields need a path and a type"
                yield contract.problem(("redis", at, "fields"), what, "name the fields")
        if contract.contract.mongo.filter is not None:
            what = "`filter` is for documents that are read"
            yield contract.problem_at_key(("mongo", "filter"), what, "leave it out")
        if contract.contract.mongo.unique:
            what = "`unique` is for keys of documents"
            yield contract.problem_at_key(("mongo", "unique"), what, "leave it out")
        if contract.contract.reconcile is not None and contract.contract.sync.capture == "append":
            what = "`reconcile` is for documents that have a key"
            yield contract.problem_at_key(("reconcile",), what, "leave it out")
    for contract in contracts:
        yield from _of_another_capture(contract)


def _beside_a_stream(contract: LoadedContract, at: int, projection: Projection) -> Iterator[Problem]:
    for key in ("ttl", "value"):
        if getattr(projection, key) is not None:
            yield contract.problem_at_key(("redis", at, key), f"a stream has no `{key}`", "leave it out")
    for key, is_said in (("events", projection.events is not None), ("copy", projection.copy_)):
        if is_said and contract.sound("redis", at, key):
            what = f"`{key}` is for change feeds, whose entries syncd writes"
            yield contract.problem_at_key(("redis", at, key), what, "leave it out, or turn the direction")


def _of_another_capture(contract: LoadedContract) -> Iterator[Problem]:
    if not contract.sound("sync") or _lacks_capture(contract):
        return
    sync, inbound = contract.contract.sync, contract.contract.sync.direction == "mongo_to_redis"
    # A check concludes from it what became of a key of an outbox; both ways the application says so itself.
    is_told = (
        inbound or sync.capture == "append" or (contract.contract.is_two_way and sync.capture == "outbox")
    )
    for key in sync.model_fields_set & {*_ONLY_INBOUND, *_ONLY_STATE}:
        if key in _ONLY_INBOUND and sync.direction == "redis_to_mongo":
            owner = "`direction: mongo_to_redis`"
        elif key == "outbox_max" and sync.capture != "outbox":
            owner = "`capture: outbox`"
        elif key == "on_expire" and is_told:
            owner = "`capture: keyspace`"
        elif key == "on_delete" and sync.capture == "append":
            owner = "documents that have a key"
        else:
            continue
        yield contract.problem_at_key(("sync", key), f"`{key}` is for {owner}", "leave it out")
    if inbound and sync.on_delete == "tombstone":
        what = f"a tombstone is for documents that go {_TURNED}"
        yield contract.problem(("sync", "on_delete"), what, "write delete or ignore")
    if "on_drop" in sync.model_fields_set and (sync.on_drop, sync.on_delete) == ("purge", "ignore"):
        what = "`on_drop: purge` beside `on_delete: ignore`, by which the keys of a dropped collection stay"
        yield contract.problem(("sync", "on_drop"), what, "write keep or pause, or leave it out")


def _specs(contracts: Sequence[LoadedContract]) -> Iterator[tuple[LoadedContract, Path, str, FieldSpec]]:
    for contract in appending(contracts):
        for at, projection in contract.projections():
            named: dict[tuple[str, ...], FieldSpec] = {
                ("fields", name): spec for name, spec in (projection.fields or {}).items()
            }
            if projection.value is not None and not TYPE_RULES[projection.type].appended:
                named["value",] = projection.value
            for key, spec in named.items():
                path: Path = ("redis", at, *key)
                if contract.sound(*path):
                    yield contract, path, key[-1], spec


def fields_can_be_turned(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """From the field to the path: an expression or a mask has no way back."""
    for contract, path, _, spec in _specs(contracts):
        for key in ("expr", "mask", "null", "ttl"):
            if getattr(spec, key, None) is not None:
                yield contract.problem(
                    (*path, key), f"`{key}` has no way back into a document", "leave it out"
                )
        if spec.from_:
            yield from path_can_be_set(contract, path, spec.from_)


def path_can_be_set(contract: LoadedContract, place: Path, path: str) -> Iterator[Problem]:
    """Whether syncd may write to this path of a document."""
    parts = path.split(".")
    if path in (DATABASE, COLLECTION):
        what = f"`{path}` is for contracts from MongoDB to Redis: no document has such a field"
        yield contract.problem(place, what, "name a path of the document")
    elif parts[0] == "_id":
        origin = "the stream and the entry" if contract.contract.sync.capture == "append" else "the key"
        yield contract.problem(place, f"`_id` is made from {origin}", "name another path")
    elif parts[0] == "_syncd" and contract.contract.captures_state:
        yield contract.problem(place, "`_syncd` is where syncd keeps its position", "name another path")
    elif any(part.isdigit() for part in parts):
        what = "a number in a path names an element of an array, which is not there yet"
        yield contract.problem(place, what, "write names joined by dots, such as address.zip")


def paths_do_not_meet(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Of two fields on one path only one would be seen."""
    seen: dict[tuple[str, Path], tuple[dict[str, str], dict[str, str]]] = {}
    for contract, path, name, spec in _specs(contracts):
        mine = spec.from_ or name
        around = list(accumulate(mine.split("."), "{}.{}".format))
        whole, outer = seen.setdefault((contract.file, path[:2]), ({}, {}))
        other = next((whole[one] for one in around if one in whole), outer.get(mine))
        if other is not None:
            what = "its path is that of another field, or inside it"
            shown = "" if contract.source.has_variable(*path) else f" (see `{other}`)"
            yield contract.problem(path, what, f"give each field a path of its own{shown}")
        whole.setdefault(mine, name)
        for one in around:
            outer.setdefault(one, name)


def entries_have_one_document(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """`_id` is that of the entry: two contracts would fight for it."""
    first: dict[tuple[str, str], LoadedContract] = {}
    for contract, at, projection in _streams(contracts):
        if not contract.sound("redis", at, "key") or not contract.sound("mongo", "collection"):
            continue
        other = first.setdefault((projection.key, contract.contract.collection), contract)
        if other is not contract:
            what = f"the same stream into the same collection as {other.file}"
            yield contract.problem(("redis", at, "key"), what, "keep one, or name another collection")


RULES = (
    directions_and_captures_agree,
    types_fit_the_capture,
    one_projection_a_contract,
    stream_keys_are_plain,
    nothing_else_is_asked,
    fields_can_be_turned,
    paths_do_not_meet,
    entries_have_one_document,
)
