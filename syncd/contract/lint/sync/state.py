"""Rules about contracts whose keys go to MongoDB as they are: `capture: outbox` and `keyspace`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.keys import Keys, cannot_be_taken_apart, keys_of
from syncd.contract.lint.sync.append import path_can_be_set
from syncd.contract.model.redis.projection import FieldTtl, Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.read.loaded import LoadedContract
from syncd.errors import Problem


def _captured(contracts: Sequence[LoadedContract]) -> Iterator[LoadedContract]:
    for contract in contracts:
        if contract.sound("sync") and contract.contract.captures_state:
            yield contract


def _projections(contracts: Sequence[LoadedContract]) -> Iterator[tuple[LoadedContract, int, Projection]]:
    for contract in _captured(contracts):
        for at, projection in contract.projections():
            if contract.sound("redis", at, "type") and not TYPE_RULES[projection.type].appended:
                yield contract, at, projection


def keys_can_be_turned(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """The key alone says which document it is: by {_id}, or as a whole."""
    for keys in keys_of(list(_captured(contracts))):
        paths = keys.template.paths
        if not paths or paths == ("_id",) or keys.is_stream or keys.is_shared:
            continue
        if keys.contract.contract.is_two_way:
            what = (
                f"the key {keys.shown} does not follow from the `_id` of its document, which both ways need"
            )
            yield keys.problem(what, "write one placeholder, {_id}, or {_id*} where it holds `:`")
        elif "_id" in paths:
            what = f"{{_id}} is not all of {keys.shown}, so that two keys could have one `_id`"
            yield keys.problem(what, "give that part another name; without {_id} the `_id` is the whole key")
        elif not keys.template.separated:
            yield cannot_be_taken_apart(keys)
        else:
            yield from parts_can_be_fields(keys)


def parts_can_be_fields(keys: Keys) -> Iterator[Problem]:
    """Every placeholder goes to a path of its own."""
    projection = keys.projection
    specs = [*(projection.fields or {}).values(), *([projection.value] if projection.value else [])]
    others = [path for path in (*(spec.from_ for spec in specs), projection.score) if path]
    others += (projection.labels or {}).values()
    others += [projection.ttl.field] if isinstance(projection.ttl, FieldTtl) else []
    for path in dict.fromkeys(keys.template.paths):
        yield from path_can_be_set(keys.contract, keys.path, path)
        if any(
            meet(path, other) for other in (*others, *(one for one in keys.template.paths if one != path))
        ):
            what = f"the path of {{{path}}} in {keys.shown} is that of another field, or inside it"
            yield keys.problem(what, "give each a path of its own")


def meet(one: str, other: str) -> bool:
    """Whether two paths are one, or one is inside the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def expiries_can_be_kept(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """The application sets a key's time to live; a contract can only keep the moment."""
    for contract, at, projection in _projections(contracts):
        if contract.contract.is_two_way:
            continue  # such have no `ttl` at all
        if isinstance(projection.ttl, int):
            what = "a `ttl` of keys that the application writes"
            remedy = "write ttl: {field: expires_at} to keep the moment in the document, or leave it out"
            yield contract.problem(("redis", at, "ttl"), what, remedy)
        elif isinstance(projection.ttl, FieldTtl) and contract.sound("redis", at, "ttl"):
            place = ("redis", at, "ttl", "field")
            yield from path_can_be_set(contract, place, projection.ttl.field)
            yield from _meets_a_field(contract, at, projection, projection.ttl.field)
    for contract in _captured(contracts):
        if contract.contract.sync.capture == "outbox" and contract.contract.sync.on_expire == "delete":
            what = "an outbox has no entry for a key that expires"
            remedy = "write ttl: {field: expires_at}, and give the collection a TTL index on it"
            yield contract.problem(("sync", "on_expire"), what, remedy)


def _meets_a_field(contract: LoadedContract, at: int, projection: Projection, path: str) -> Iterator[Problem]:
    specs = [*(projection.fields or {}).values(), *([projection.value] if projection.value else [])]
    for spec in specs:
        if spec.from_ and meet(path, spec.from_):
            what = "its path is that of a field, or inside it"
            yield contract.problem(("redis", at, "ttl", "field"), what, "name a path of its own")
            return


def documents_have_one_contract(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A document has one `_syncd`: two contracts would take each other for older states."""
    first: dict[str, LoadedContract] = {}
    for contract in _captured(contracts):
        if not contract.sound("mongo", "collection"):
            continue
        other = first.setdefault(contract.contract.collection, contract)
        if other is not contract:
            what = f"the same collection as {other.file}, which also writes keys to it"
            yield contract.problem(("mongo", "collection"), what, "name another collection")


RULES = (keys_can_be_turned, expiries_can_be_kept, documents_have_one_contract)
