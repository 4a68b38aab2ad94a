"""Rules about `mongo.with`: documents of other collections that stand in a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from syncd.contract.lint.keys import keys_of
from syncd.contract.model.joins import Join
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import Problem

_WITH = ("mongo", "with")
_NOT_REFRESHED = {
    "stream": "an entry of a change feed is about one change, and a joined document changes without one",
    "timeseries": "a sample is of its moment, and a joined document changes later",
}


def _joining(contracts: Sequence[LoadedContract]) -> Iterator[LoadedContract]:
    for contract in contracts:
        if contract.sound(*_WITH) and contract.contract.mongo.with_:
            yield contract


def _joins(contracts: Sequence[LoadedContract]) -> Iterator[tuple[LoadedContract, str, Join, Path]]:
    for contract in _joining(contracts):
        for name, join in contract.contract.mongo.with_.items():
            if contract.sound(*_WITH, name):
                yield contract, name, join, (*_WITH, name)


def joins_go_to_redis(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """From one collection, whose documents they complete."""
    for contract in _joining(contracts):
        if contract.sound("sync") and contract.contract.sync.direction != "mongo_to_redis":
            what = "`with` is for contracts from MongoDB to Redis"
            yield contract.problem_at_key(_WITH, what, "leave it out, or turn the direction")
        elif contract.sound("mongo", "collection") and contract.contract.patterns:
            what = "`with` in a contract over several collections, which syncd cannot follow yet"
            yield contract.problem_at_key(_WITH, what, "write a contract for each collection")


def joins_are_by_id(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """The deletion of a document says its `_id` and nothing else."""
    for contract, name, join, path in _joins(contracts):
        if name == "_id":
            yield contract.problem_at_key(path, "`_id` as the name of a join", "give it another name")
        if join.foreign != "_id" and contract.sound(*path, "on"):
            what = (
                f"a join to `{contract.written(*path, 'on', join.local)}`: a deletion says no field but `_id`"
            )
            remedy = "join to `_id`; where documents are named by another field, store the `_id` beside it"
            yield contract.problem((*path, "on", join.local), what, remedy)


def joins_go_through_one_other(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """What a join goes through has to be read, and followed."""
    for contract, name, join, path in _joins(contracts):
        joins, (first, _, rest) = contract.contract.mongo.with_, join.local.partition(".")
        if first == name or first not in joins or not contract.sound(*path, "on"):
            continue
        place, parent = (*path, "on", join.local), joins[first]
        above = parent.local.partition(".")[0]
        if above != first and above in joins:
            what = f"a join through `{first}`, which goes through `{above}` itself"
            yield contract.problem_at_key(place, what, "join through one other join at most")
        if not rest:
            what = f"`{first}` is a join, and names no document by itself"
            yield contract.problem_at_key(place, what, f"write a field of it, such as {first}.other_id")
        elif not any(rest == field or rest.startswith(f"{field}.") for field in parent.fields):
            what = f"`{rest}` is not among the fields of `{first}`"
            yield contract.problem_at_key(place, what, f"add it to {'.'.join((*_WITH, first, 'fields'))}")


def filters_are_of_the_document(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """MongoDB asks the filter of the document alone."""
    for contract in _joining(contracts):
        names = contract.contract.mongo.with_
        for path, said in _paths(contract.contract.mongo.filter, ("mongo", "filter")):
            if (name := _joined(names, said)) is not None:
                what = f"the filter is asked of the documents themselves, which do not hold `{name}`"
                remedy = "filter on a field of the document, or give the join another name than the field has"
                yield contract.problem_at_key(path, what, remedy)


def _paths(value: Any, place: Path) -> Iterator[tuple[Path, str]]:
    """The fields that a query names, also in expressions, and where."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not key.startswith("$"):
                yield (*place, key), key
            yield from _paths(item, (*place, key))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _paths(item, (*place, at))
    elif isinstance(value, str) and value.startswith("$") and "$expr" in place:
        yield place, value.removeprefix("$$ROOT.").removeprefix("$$CURRENT.").removeprefix("$")


def _joined(names: Mapping[str, Join], path: str) -> str | None:
    first = path.partition(".")[0].removesuffix("[]")
    return first if first in names else None


def keys_are_of_the_document(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Which document a key belongs to is asked of the collection itself."""
    for keys in keys_of([*_joining(contracts)]):
        for path in keys.paths:
            if (name := _joined(keys.contract.contract.mongo.with_, path)) is not None:
                what = f"the key {keys.shown} holds `{path}`, which is of the joined `{name}`"
                yield keys.problem(what, "build the key and the member of fields of the document itself")
                break


def joined_documents_have_keys(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """What is written once is not written again when a joined document changes."""
    for contract in _joining(contracts):
        for at, projection in contract.projections():
            if (why := _NOT_REFRESHED.get(projection.type)) and contract.sound("redis", at, "type"):
                what = f"`type: {projection.type}` beside `with`: {why}"
                yield contract.problem(("redis", at, "type"), what, "give it a contract without `with`")
            if projection.share and contract.sound("redis", at, "share"):
                what = "`share` beside `with`, which syncd cannot keep yet"
                remedy = "leave it out, or give it a contract without `with`"
                yield contract.problem_at_key(("redis", at, "share"), what, remedy)
            if projection.is_shared and projection.keep is not None and contract.sound("redis", at, "keep"):
                what = "`keep` of members beside `with`: MongoDB is asked of documents alone who comes back"
                remedy = "leave it out, or give it a contract without `with`"
                yield contract.problem_at_key(("redis", at, "keep"), what, remedy)
        wanted = contract.contract.reconcile
        if wanted is not None and wanted.check == "digest" and contract.sound("reconcile"):
            what = "`check: digest` beside `with`: MongoDB makes digests of a document alone"
            yield contract.problem(("reconcile", "check"), what, "write full")


RULES = (
    joins_go_to_redis,
    joins_are_by_id,
    joins_go_through_one_other,
    filters_are_of_the_document,
    keys_are_of_the_document,
    joined_documents_have_keys,
)
