"""Rules about contracts that go both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.keys import keys_of
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import CONTROL_PREFIX
from syncd.contract.model.redis.template_overlap import may_be_control
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.several import matching
from syncd.errors import Problem

_ONLY_BOTH = ("on_conflict", "authority", "conflicts")


def _two_way(contracts: Sequence[LoadedContract]) -> Iterator[LoadedContract]:
    for contract in contracts:
        if contract.sound("sync") and contract.contract.is_two_way:
            yield contract


def conflicts_have_a_rule(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """The winner of a conflict is a decision about data, so there is no default."""
    for contract in _two_way(contracts):
        if contract.contract.sync.on_conflict is None:
            remedy = "write on_conflict: merge_fields, mongo_wins, redis_wins or newest"
            yield contract.problem(("sync", "direction"), "`direction: both` without `on_conflict`", remedy)
    for contract in contracts:
        if not contract.sound("sync") or contract.contract.is_two_way:
            continue
        for key in contract.contract.sync.model_fields_set.intersection(_ONLY_BOTH):
            yield contract.problem_at_key(("sync", key), f"`{key}` is for `direction: both`", "leave it out")


def both_ways_can_be_gone(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Keys without effect, or without a way back, where both sides are written."""
    for contract in _two_way(contracts):
        sync = contract.contract.sync
        if sync.capture == "append":
            yield contract.problem(("sync", "capture"), "a stream goes one way", "write outbox or keyspace")
        if sync.on_delete == "tombstone":
            what = "a tombstone would be a document without its key"
            yield contract.problem(("sync", "on_delete"), what, "write delete or ignore")
        for at, projection in contract.projections():
            if projection.ttl is not None and contract.sound("redis", at, "ttl"):
                what = "a `ttl` of keys that both sides write"
                yield contract.problem_at_key(
                    ("redis", at, "ttl"), what, "leave it out; EXPIRE is the application's"
                )
            if not contract.sound("redis", at, "type") or sync.capture == "append":
                continue
            rules = TYPE_RULES[projection.type]
            if not rules.appended and rules.merged != ("fields" if projection.value is None else "value"):
                what = f"`type: {projection.type}` of this form cannot be merged"
                yield contract.problem(
                    ("redis", at, "type"), what, "write hash or json, or a string with a `value`"
                )


def authorities_are_apart(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Each field has one side that decides, and it has to be one of the contract."""
    for contract in _two_way(contracts):
        authority = contract.contract.sync.authority
        if authority is None or not contract.sound("redis"):
            continue
        known = {name for _, projection in contract.projections() for name in projection.fields or ("value",)}
        of_mongo = frozenset(authority.mongo)
        for side, names in (("mongo", authority.mongo), ("redis", authority.redis)):
            for at, name in enumerate(names):
                path = ("sync", "authority", side, at)
                if name not in known:
                    what = "`authority` names a field that the contract has not"
                    yield contract.problem(path, what, "write the name that it has in Redis")
                elif side == "redis" and name in of_mongo:
                    yield contract.problem(
                        path, "both sides have authority over it", "give it to one of them"
                    )


def conflicts_have_their_own_collection(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Records of conflicts must not become documents of a contract."""
    sound = [one.contract for one in contracts if one.sound("mongo", "collection")]
    collections = {one.collection for one in sound if not one.patterns}
    for contract in _two_way(contracts):
        if not contract.sound("mongo", "collection"):
            continue
        name = contract.contract.conflicts
        if name in collections or any(matching(one, [name]) for one in sound if one.patterns):
            where = "" if contract.contract.sync.conflicts else f", which is {name} where nothing is said,"
            what = f"`conflicts`{where} is a collection of a contract"
            what += ", whose documents the records of conflicts would become"
            yield contract.problem(("sync", "conflicts"), what, "name another collection")


def keys_are_never_control_keys(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A merge of such a key would make syncd's own record a document."""
    for keys in keys_of(list(_two_way(contracts))):
        if may_be_control(keys.template):
            what = f"an `_id` may make {keys.shown} a key that begins with `{CONTROL_PREFIX}`, which is syncd's own"
            yield keys.problem(what, "begin the template with a prefix of its own, such as card:{_id}")


def names_in_json_have_a_path(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Members are written one by one. RedisJSON's paths have no escapes, so a name has to fit one kind of quotes."""
    for contract in _two_way(contracts):
        for at, projection in contract.projections():
            if not contract.sound("redis", at, "fields"):
                continue
            for name in projection.fields or ():
                if TYPE_RULES[projection.type].no_member(name):
                    what = "no path of RedisJSON leads to a member with such a name"
                    remedy = "leave out the backslash, one of the two kinds of quotes, or the blank at the beginning"
                    yield contract.problem_at_key(("redis", at, "fields", name), what, remedy)


RULES = (
    keys_are_never_control_keys,
    conflicts_have_their_own_collection,
    conflicts_have_a_rule,
    both_ways_can_be_gone,
    authorities_are_apart,
    names_in_json_have_a_path,
)
