"""Rules about the direction: what belongs to a contract that appends, and to it alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.loaded import LoadedContract
from syncd.contract.model import FieldSpec, Projection
from syncd.contract.source import Path
from syncd.errors import Problem

_ONLY_INBOUND = ("on_delete", "on_drop", "on_unresumable_position")


def appending(contracts: Sequence[LoadedContract]) -> Iterator[LoadedContract]:
    """The contracts that go from Redis to MongoDB."""
    for contract in contracts:
        if contract.sound("sync") and contract.contract.sync.direction == "redis_to_mongo":
            yield contract


def _streams(contracts: Sequence[LoadedContract]) -> Iterator[tuple[LoadedContract, int, Projection]]:
    for contract in appending(contracts):
        for at, projection in contract.projections():
            if projection.type == "stream" and contract.sound("redis", at, "type"):
                yield contract, at, projection


def directions_and_captures_agree(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """`capture` says how changes in Redis are found; from MongoDB there is one way."""
    for contract in contracts:
        if not contract.sound("sync"):
            continue
        sync = contract.contract.sync
        if sync.direction == "redis_to_mongo" and sync.capture is None:
            what = "`direction: redis_to_mongo` without a `capture`"
            yield contract.problem(("sync", "direction"), what, "write capture: append")
        elif sync.direction == "mongo_to_redis" and sync.capture is not None:
            what = "`capture` is for `direction: redis_to_mongo`"
            yield contract.problem_at_key(("sync", "capture"), what, "leave it out, or turn the direction")


def streams_are_appended(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A stream is read, every other shape is written."""
    for contract in contracts:
        if not contract.sound("sync"):
            continue
        appends = contract.contract.sync.direction == "redis_to_mongo"
        for at, projection in contract.projections():
            path: Path = ("redis", at, "type")
            if not contract.sound(*path):
                continue
            if projection.type == "stream" and not appends:
                remedy = "write sync: {direction: redis_to_mongo, capture: append}, or another type"
                yield contract.problem(path, "`type: stream` is for contracts that append", remedy)
            elif projection.type != "stream" and appends:
                yield contract.problem(
                    path, f"`type: {projection.type}` cannot be appended from", "write type: stream"
                )


def one_stream_a_contract(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Lag and position are those of one stream."""
    for contract in appending(contracts):
        if contract.sound("redis") and len(contract.contract.redis) > 1:
            what = "more than one stream in a contract"
            yield contract.problem(("redis", 1, "projection"), what, "write a contract for each")


def stream_keys_are_plain(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """There is no document yet that could fill a placeholder."""
    for contract, at, projection in _streams(contracts):
        path = ("redis", at, "key")
        if contract.sound(*path) and ("{" in projection.key or "}" in projection.key):
            what = f"a placeholder in the key of a stream, `{contract.written(*path)}`"
            yield contract.problem(path, what, "name the one key that the stream has")


def nothing_else_is_asked(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """What an entry of a stream cannot have must not look as if it had an effect."""
    for contract, at, projection in _streams(contracts):
        asked = {"ttl": projection.ttl, "index": projection.index, "value": projection.value}
        for key, value in asked.items():
            if value is not None:
                yield contract.problem_at_key(("redis", at, key), f"a stream has no `{key}`", "leave it out")
        if projection.whole:
            what = "`fields: all` of a stream, whose fields have no types"
            yield contract.problem(("redis", at, "fields"), what, "name the fields")
    for contract in appending(contracts):
        if contract.contract.mongo.filter is not None:
            what = "`filter` is for documents that are read"
            yield contract.problem_at_key(("mongo", "filter"), what, "leave it out")
        if contract.contract.mongo.unique:
            what = "`unique` is for keys of documents"
            yield contract.problem_at_key(("mongo", "unique"), what, "leave it out")
        if contract.contract.reconcile is not None:
            what = "`reconcile` is for `direction: mongo_to_redis`"
            yield contract.problem_at_key(("reconcile",), what, "leave it out")
        for key in _ONLY_INBOUND:
            if key in contract.contract.sync.model_fields_set:
                what = f"`{key}` is for `direction: mongo_to_redis`"
                yield contract.problem_at_key(("sync", key), what, "leave it out")


def _specs(contracts: Sequence[LoadedContract]) -> Iterator[tuple[LoadedContract, Path, str, FieldSpec]]:
    for contract, at, projection in _streams(contracts):
        for name, spec in (projection.fields or {}).items():
            path: Path = ("redis", at, "fields", name)
            if contract.sound(*path):
                yield contract, path, name, spec


def fields_can_be_turned(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """From the field to the path: an expression or a mask has no way back."""
    for contract, path, _, spec in _specs(contracts):
        for key in ("expr", "mask", "null"):
            if getattr(spec, key) is not None:
                yield contract.problem(
                    (*path, key), f"`{key}` has no way back into a document", "leave it out"
                )
        parts = spec.from_.split(".") if spec.from_ else []
        if parts[:1] == ["_id"]:
            what = "`_id` is made from the stream and the entry"
            yield contract.problem(path, what, "name another path")
        elif any(part.isdigit() for part in parts):
            what = "a number in a path names an element of an array, which is not there yet"
            yield contract.problem(path, what, "write names joined by dots, such as address.zip")


def paths_do_not_meet(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Of two fields on one path only one would be seen."""
    seen: dict[tuple[str, Path], list[tuple[str, str]]] = {}
    for contract, path, name, spec in _specs(contracts):
        mine = f"{spec.from_ or name}."
        others = seen.setdefault((contract.file, path[:2]), [])
        for other, theirs in others:
            if mine.startswith(theirs) or theirs.startswith(mine):
                what = "its path is that of another field, or inside it"
                shown = "" if contract.source.has_variable(*path) else f" (see `{other}`)"
                yield contract.problem(path, what, f"give each field a path of its own{shown}")
                break
        others.append((name, mine))


def entries_have_one_document(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """`_id` is that of the entry: two contracts would fight for it."""
    first: dict[tuple[str, str], LoadedContract] = {}
    for contract, at, projection in _streams(contracts):
        if not contract.sound("redis", at, "key") or not contract.sound("mongo", "collection"):
            continue
        other = first.setdefault((projection.key, contract.contract.mongo.collection), contract)
        if other is not contract:
            what = f"the same stream into the same collection as {other.file}"
            yield contract.problem(("redis", at, "key"), what, "keep one, or name another collection")


RULES = (
    directions_and_captures_agree,
    streams_are_appended,
    one_stream_a_contract,
    stream_keys_are_plain,
    nothing_else_is_asked,
    fields_can_be_turned,
    paths_do_not_meet,
    entries_have_one_document,
)
