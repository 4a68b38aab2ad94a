"""Rules about contracts over several collections, and about where the names of a collection may stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.keys import keys_of
from syncd.contract.model.values import COLLECTION, DATABASE
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.several import placeholders
from syncd.errors import Problem

_PLACE = ("mongo", "collection")


def _several(contracts: Sequence[LoadedContract]) -> Iterator[LoadedContract]:
    for contract in contracts:
        if contract.sound(*_PLACE) and contract.contract.patterns:
            yield contract


def several_collections_go_to_redis(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Which collection a key belongs to is not known on the way back."""
    for contract in contracts:
        if not contract.sound("sync") or contract.contract.sync.direction == "mongo_to_redis":
            continue
        if contract.sound(*_PLACE) and contract.contract.patterns:
            what = "several collections are for contracts from MongoDB to Redis"
            yield contract.problem(_PLACE, what, "name one collection; each has a contract of its own")
        for keys in keys_of([contract]):
            if any(placeholders(keys.projection)):
                what = f"`{{{DATABASE}}}` and `{{{COLLECTION}}}` are for contracts from MongoDB to Redis"
                yield keys.problem(what, "write the name")


def keys_tell_collections_apart(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Documents of two collections may have one `_id`."""
    for contract in _several(contracts):
        names = [pattern.partition(".")[::2] for pattern in contract.contract.patterns]
        differs = {
            DATABASE: len({one for one, _ in names}) > 1 or any("*" in one for one, _ in names),
            COLLECTION: len({one for _, one in names}) > 1 or any("*" in one for _, one in names),
        }
        for keys in keys_of([contract]):
            missing = [name for name, is_several in differs.items() if is_several]
            missing = [name for name in missing if name not in placeholders(keys.projection)]
            if missing and (keys.is_fed or not keys.is_stream):
                wanted = " and ".join(f"{{{name}}}" for name in missing)
                what = f"the key {keys.shown} is the same for documents of several collections"
                yield keys.problem(what, f"add {wanted}")


def indexes_are_of_one_collection(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Each collection has a lane, and an index is built by one."""
    for contract in _several(contracts):
        for at, projection in contract.projections():
            if projection.index is not None and contract.sound("redis", at, "index"):
                what = "an `index` over keys of several collections, which syncd cannot keep yet"
                remedy = "leave it out, and make the index yourself (FT.CREATE) over the prefix of the keys"
                yield contract.problem_at_key(("redis", at, "index"), what, remedy)


RULES = (several_collections_go_to_redis, keys_tell_collections_apart, indexes_are_of_one_collection)
