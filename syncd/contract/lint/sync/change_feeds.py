"""Rules about change feeds: `type: stream` towards Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.keys import keys_of
from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.redis_types import ENTRY_FIELDS, TYPE_RULES
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.several import placeholders
from syncd.errors import Problem

MOST_FIELDS = 500
"""Of an entry, which one command of Redis writes."""
_OF_KEYS = {
    "on_delete": "leave it out; `events` of the projection says whether a deletion becomes an entry",
    "sweep_limit": "leave it out",
}
"""Keys of `sync` that mean nothing to a change feed, and what to do."""


def _feeds(contracts: Sequence[LoadedContract]) -> Iterator[tuple[LoadedContract, int, Projection]]:
    for contract in contracts:
        if not contract.sound("sync") or contract.contract.sync.direction != "mongo_to_redis":
            continue
        for at, projection in contract.projections():
            if TYPE_RULES[projection.type].fed and contract.sound("redis", at, "type"):
                yield contract, at, projection


def feeds_have_one_key(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A deletion says no field of its document, and all changes have one order."""
    for contract, at, projection in _feeds(contracts):
        path, key = ("redis", at, "key"), projection.key
        for name in placeholders(projection.key):
            key = key.replace(f"{{{name}}}", "")  # each collection has a stream of its own
        if contract.sound(*path) and ("{" in key or "}" in key):
            what = f"a placeholder in the key of a change feed, `{contract.written(*path)}`"
            yield contract.problem(path, what, "name the one key that the stream has")


def entries_have_fields_of_their_own(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """What syncd says of a change has names, which no field may have."""
    for contract, at, projection in _feeds(contracts):
        if projection.whole:
            what = "`fields: all` of a change feed, where a field of the document could be one of syncd's"
            remedy = "name the fields; the whole document as JSON is document: {expr: '@'}"
            yield contract.problem(("redis", at, "fields"), what, remedy)
        fields = projection.fields or {}
        for name in ENTRY_FIELDS:
            if name in fields and contract.sound("redis", at, "fields"):
                what = f"`{name}` is a field of syncd's in every entry: {', '.join(ENTRY_FIELDS)}"
                yield contract.problem(("redis", at, "fields", name), what, "give it another name")
        if len(fields) > MOST_FIELDS:
            what = f"more than {MOST_FIELDS} fields in an entry"
            yield contract.problem(("redis", at, "fields"), what, "name fewer")


def nothing_else_is_asked_of_feeds(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A key without effect is refused, so that it does not seem to have one."""
    for contract, at, projection in _feeds(contracts):
        for name, remedy in (
            ("ttl", "write keep: {age: 7d}, by which entries go one by one"),
            ("index", "leave it out"),
        ):
            if getattr(projection, name) is not None:
                yield contract.problem_at_key(("redis", at, name), f"a change feed has no `{name}`", remedy)
        for number, op in enumerate(projection.events or ()):
            path = ("redis", at, "events", number)
            if op in ("enter", "leave") and contract.contract.mongo.filter is None and contract.sound(*path):
                what = f"`{op}` among the events of a change feed of a contract without a filter"
                yield contract.problem(path, what, "leave it out, or write mongo: {filter: ...}")


def feeds_alone_have_no_keys(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A stream has no state, which could be compared, and nothing is removed from it for want of a document."""
    alone = {id(contract): contract for contract, _, _ in _feeds(contracts)}
    for contract in alone.values():
        has_keys = any(not TYPE_RULES[projection.type].fed for _, projection in contract.projections())
        if has_keys or not contract.sound("redis"):
            continue
        if contract.contract.reconcile is not None:
            what = "`reconcile` is for documents that have a key, and a change feed has no state"
            yield contract.problem_at_key(("reconcile",), what, "leave it out")
        for name, remedy in _OF_KEYS.items():
            if name in contract.contract.sync.model_fields_set and contract.sound("sync", name):
                what = f"`{name}` is for documents that have a key, and the contract has change feeds alone"
                yield contract.problem_at_key(("sync", name), what, remedy)


def feeds_do_not_come_back(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """An entry that becomes a document of the same collection would be a change, and so an entry, without end."""
    appended = {
        (keys.projection.key, keys.contract.contract.mongo.collection): keys.contract.file
        for keys in keys_of(contracts)
        if keys.is_stream and not keys.is_fed
    }
    for contract, at, projection in _feeds(contracts):
        other = appended.get((projection.key, contract.contract.mongo.collection))
        if other is not None and contract.sound("redis", at, "key"):
            what = f"the changes of a collection in a stream that {other} appends to the same collection"
            yield contract.problem(("redis", at, "key"), what, "name another stream or collection")


RULES = (
    feeds_have_one_key,
    entries_have_fields_of_their_own,
    nothing_else_is_asked_of_feeds,
    feeds_alone_have_no_keys,
    feeds_do_not_come_back,
)
