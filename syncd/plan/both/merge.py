"""The merge of two states and their base: which fields go to which side, and which differences stay.

A state is a digest a field, or None where there is no key or no document. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

SideState: TypeAlias = "Mapping[str, str] | None"
Side: TypeAlias = Literal["mongo", "redis"]
Rule: TypeAlias = Literal["mongo_wins", "redis_wins", "newest", "merge_fields"]
Why: TypeAlias = Literal["both_changed", "no_base", "authority", "deleted_in_redis", "deleted_in_mongo"]


@dataclass(frozen=True, slots=True)
class MergeRules:
    """What a contract says about conflicts."""

    fields: tuple[str, ...]
    on_conflict: Rule
    mongo_only: frozenset[str] = frozenset()
    redis_only: frozenset[str] = frozenset()
    deletes: bool = True
    """Whether a deletion goes to the other side."""
    empty_is_gone: bool = True
    """Whether a key without fields cannot be: a hash."""


class Base(NamedTuple):
    """What both sides last agreed on. A name that is not in `fields` was never agreed on, "" is a field that is not
    there. `pending`: what was about to be written to MongoDB, and may have been written; None: a deletion.
    """

    fields: Mapping[str, str]
    pending: Mapping[str, str] | None = {}
    lost: bool = False
    """Whether the key was lost since, not deleted: fields that a new key lacks were not removed by the application."""


class Conflict(NamedTuple):
    """Where both sides changed. `fields` is empty where all of one side goes, by a deletion."""

    why: Why
    fields: frozenset[str]
    winner: Side


@dataclass(frozen=True, slots=True)
class Merged:
    """What is to be written. Empty: both sides agree."""

    to_redis: frozenset[str] = frozenset()
    """Fields of which MongoDB's value, or its absence, goes to Redis."""
    to_mongo: frozenset[str] = frozenset()
    delete: Literal["", "key", "document"] = ""
    conflicts: tuple[Conflict, ...] = ()
    agreed: Mapping[str, str] | None = None
    """The new base; None where neither side has anything."""
    keep: bool = False
    """The sides differ, and are to stay so: the base stays."""
    lost: bool = False
    """With `keep`: note in the base that the key was lost."""


def merge(
    base: Base | None,
    redis: SideState,
    mongo: SideState,
    rules: MergeRules,
    *,
    deleted: bool,
    redis_is_newer: bool,
    restore: bool = True,
) -> Merged:
    """`deleted`: an event or entry says that the key was deleted; otherwise a key that is not there was only lost.

    `redis_is_newer` decides for `newest`. `restore`: write a lost key again in any case. Without it only where the
    document differs from the base: a change event proves nothing, for it may be syncd's own, or one that the key had
    before it was lost.
    """
    base = _with_pending(base, mongo)
    if redis is None and mongo is None:
        return Merged()
    if redis is None:
        assert mongo is not None
        return _without_key(base, mongo, rules, deleted=deleted, restore=restore)
    if mongo is None:
        return _without_document(base, redis, rules)
    return _of_both(base, redis, mongo, rules, redis_is_newer=redis_is_newer)


def is_by_time(merged: Merged, rules: MergeRules) -> bool:
    """Whether the time of the changes decided."""
    return rules.on_conflict == "newest" and any(
        conflict.why in ("both_changed", "no_base") for conflict in merged.conflicts
    )


def _with_pending(base: Base | None, mongo: SideState) -> Base | None:
    """The base with pending fields, where MongoDB has them."""
    if base is None or (base.pending is None and mongo is None):
        return None
    pending = {} if mongo is None else base.pending or {}
    done = {name: said for name, said in pending.items() if mongo is not None and mongo.get(name, "") == said}
    fields = {**base.fields, **done}
    return Base(fields, lost=base.lost) if fields else None


def completed(base: Base) -> Base:
    """What is agreed on where MongoDB is known to have got what was pending, whatever became of the document since."""
    return Base({**base.fields, **(base.pending or {})}, lost=base.lost)


def pending(base: Base | None, mongo: SideState, merged: Merged) -> Base:
    """The base to store before `merged` is written to MongoDB: what is agreed on, with what is about to be written.

    What an earlier merge wrote is agreed on by now, also where that merge was cut off before it stored it. Without it
    here, it would seem to be a change of MongoDB.
    """
    known, agreed = _with_pending(base, mongo), merged.agreed or {}
    coming = None if merged.delete else {name: agreed[name] for name in merged.to_mongo}
    return Base(known.fields if known else {}, coming, base.lost if base else False)


def _changed(base: Base, state: Mapping[str, str], names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if _moved(base.fields.get(name), state.get(name, "")))


def _without_key(
    base: Base | None, mongo: Mapping[str, str], rules: MergeRules, *, deleted: bool, restore: bool
) -> Merged:
    copied = Merged(to_redis=frozenset(mongo), agreed=_whole(mongo, rules))
    had_key = base is not None and (not rules.empty_is_gone or any(base.fields.values()))
    if base is None or not had_key:
        return copied  # never agreed on
    is_changed = bool(_changed(base, mongo, rules.fields))
    if not deleted:  # expired or evicted: written again, it would only be lost again
        return copied if is_changed or restore else Merged(keep=True, lost=True)
    if not is_changed:
        return Merged(delete="document") if rules.deletes else Merged(keep=True)
    if not rules.deletes:
        return copied
    if rules.on_conflict == "redis_wins":
        conflict = Conflict("deleted_in_redis", frozenset(), "redis")
        return Merged(delete="document", conflicts=(conflict,))
    conflict = Conflict("deleted_in_redis", frozenset(), "mongo")
    return Merged(to_redis=copied.to_redis, conflicts=(conflict,), agreed=copied.agreed)


def _without_document(base: Base | None, redis: Mapping[str, str], rules: MergeRules) -> Merged:
    copied = Merged(to_mongo=frozenset(redis), agreed=_whole(redis, rules))
    if base is None:
        return copied
    if not _changed(base, redis, rules.fields):
        return Merged(delete="key") if rules.deletes else Merged(keep=True)
    if not rules.deletes:
        return copied
    if rules.on_conflict == "mongo_wins":
        conflict = Conflict("deleted_in_mongo", frozenset(), "mongo")
        return Merged(delete="key", conflicts=(conflict,))
    conflict = Conflict("deleted_in_mongo", frozenset(), "redis")
    return Merged(to_mongo=copied.to_mongo, conflicts=(conflict,), agreed=copied.agreed)


def _whole(state: Mapping[str, str], rules: MergeRules) -> dict[str, str]:
    return {name: state.get(name, "") for name in rules.fields}


def _of_both(
    base: Base | None,
    redis: Mapping[str, str],
    mongo: Mapping[str, str],
    rules: MergeRules,
    *,
    redis_is_newer: bool,
) -> Merged:
    fields: Mapping[str, str] = {} if base is None else base.fields
    differ = frozenset(name for name in rules.fields if redis.get(name, "") != mongo.get(name, ""))
    to_redis, to_mongo = differ & rules.mongo_only, differ & rules.redis_only
    conflicts = [*_undone(fields, redis, to_redis, "mongo"), *_undone(fields, mongo, to_mongo, "redis")]
    free = differ - to_redis - to_mongo
    gone = frozenset(name for name in free if base is not None and base.lost and name not in redis)
    by_redis = frozenset(name for name in free - gone if _moved(fields.get(name), redis.get(name, "")))
    by_mongo = gone | frozenset(name for name in free if _moved(fields.get(name), mongo.get(name, "")))
    contested = by_redis & by_mongo if rules.on_conflict == "merge_fields" else free
    if contested and by_redis and by_mongo:
        winner = _winner(rules, redis_is_newer=redis_is_newer)
        conflicts.append(Conflict("no_base" if base is None else "both_changed", contested, winner))
        by_redis = by_redis | contested if winner == "redis" else by_redis - contested
        by_mongo = by_mongo | contested if winner == "mongo" else by_mongo - contested
    to_redis, to_mongo = to_redis | by_mongo, to_mongo | by_redis
    agreed = {name: (mongo if name in to_redis else redis).get(name, "") for name in rules.fields}
    return Merged(to_redis, to_mongo, "", tuple(conflicts), agreed)


def _undone(
    fields: Mapping[str, str], state: Mapping[str, str], names: frozenset[str], winner: Side
) -> Iterator[Conflict]:
    """The changes of the side that has no authority over these fields. A value that was never agreed on is one too."""
    undone = frozenset(name for name in names if _moved(fields.get(name), state.get(name, "")))
    if undone:
        yield Conflict("authority", undone, winner)


def _moved(agreed: str | None, present: str) -> bool:
    """Whether a side changed a field. A field that was never agreed on comes from the side that has it."""
    return present != "" if agreed is None else present != agreed


def _winner(rules: MergeRules, *, redis_is_newer: bool) -> Side:
    if rules.on_conflict == "newest":
        return "redis" if redis_is_newer else "mongo"
    return "redis" if rules.on_conflict == "redis_wins" else "mongo"
