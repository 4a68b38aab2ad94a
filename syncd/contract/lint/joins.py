"""Rules about `mongo.with`: documents of other collections that stand in a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from syncd.contract.lint.keys import keys_of
from syncd.contract.lint.query import expressions
from syncd.contract.model.expressions import paths_read
from syncd.contract.model.joins import Join
from syncd.contract.model.redis.projection import FieldTtl, Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import Problem

_WITH = ("mongo", "with")


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


def what_is_read_of_joins_is_there(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A path that leads past the fields of a join would never find anything."""
    for contract, name, join, _ in _joins(contracts):
        for place, path in _paths_read(contract):
            rest = [part for part in path[1:] if not part.isdigit()]
            if path[:1] == (name,) and rest and not _is_read(join, rest) and contract.sound(*place):
                path_of_fields = ".".join((*_WITH, name, "fields"))
                close = next(iter(get_close_matches(".".join(rest), join.fields, 1)), None)
                what = f"{_shown(contract, place, rest)} is not among the fields of the join `{name}`"
                remedy = f"did you mean {name}.{close}? Otherwise add" if close else "add"
                yield contract.problem(place, what, f"{remedy} it to {path_of_fields}")


def _is_read(join: Join, parts: Sequence[str]) -> bool:
    """Whether a path is that of a field, leads to one, or into one."""
    fields = [[part for part in field.split(".") if not part.isdigit()] for field in join.fields]
    return any(all(one == other for one, other in zip(field, parts, strict=False)) for field in fields)


def _shown(contract: LoadedContract, place: Path, parts: Sequence[str]) -> str:
    return "the field" if contract.source.has_variable(*place) else f"`{'.'.join(parts)}`"


def _paths_read(contract: LoadedContract) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """What projections read of a document, and where they say so: of an expression what it begins with, which is
    nothing where it may read anything."""
    for at, projection in contract.projections():
        for place, path in _sources(projection):
            yield ("redis", at, *place), tuple(path.split("."))
    for where, expression in expressions(contract):
        try:
            parsed = jmespath.compile(expression).parsed
        except (JMESPathError, ValueError, RecursionError):
            continue  # such have a rule of their own
        for names in paths_read(parsed):
            yield where, names


def _sources(projection: Projection) -> Iterator[tuple[Path, str]]:
    for name, spec in (projection.fields or {}).items():
        yield from _optional(("fields", name, "from"), spec.from_)
        yield from _optional(("fields", name, "ttl", "field"), spec.ttl.field if spec.ttl else None)
    for key in ("each", "score", "position", "time"):
        yield from _optional((key,), getattr(projection, key))
    for key in ("attributes", "labels"):
        for name, path in (getattr(projection, key) or {}).items():
            yield (key, name), path
    for key in ("value", "vector"):
        if (of := getattr(projection, key)) is not None:
            yield from _optional((key, "from"), of.from_)
    for key in ("ttl", "expire"):
        if isinstance(until := getattr(projection, key), FieldTtl):
            yield (key, "field"), until.field


def _optional(place: Path, path: str | None) -> Iterator[tuple[Path, str]]:
    if path is not None:
        yield place, path


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
            if (why := TYPE_RULES[projection.type].no_joins) and contract.sound("redis", at, "type"):
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
    what_is_read_of_joins_is_there,
    filters_are_of_the_document,
    keys_are_of_the_document,
    joined_documents_have_keys,
)
