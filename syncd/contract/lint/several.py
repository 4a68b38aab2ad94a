"""Rules about contracts over several collections, and about where the names of a collection may stand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from syncd.contract.lint.keys import keys_of
from syncd.contract.lint.redis.indexes import indexes
from syncd.contract.model.redis.template import SEPARATOR, KeyTemplate
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
            if any(placeholders(keys.projection.key)):
                what = f"`{{{DATABASE}}}` and `{{{COLLECTION}}}` are for contracts from MongoDB to Redis"
                yield keys.problem(what, "write the name")


def keys_tell_collections_apart(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Documents of two collections may have one `_id`."""
    for contract in _several(contracts):
        for keys in keys_of([contract]):
            missing = _missing(contract, keys.projection.key)
            if missing and (keys.is_fed or not keys.is_stream):
                what = f"the key {keys.shown} is the same for documents of several collections"
                yield keys.problem(what, f"add {missing}")


def indexes_tell_collections_apart(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Each collection has a lane and an index of its own, which holds its keys alone."""
    for one in indexes(contracts):
        if not one.contract.sound(*_PLACE) or not one.contract.contract.patterns:
            continue
        name = (*one.path, "name")
        if one.contract.sound(*name) and (missing := _missing(one.contract, one.index.name)):
            what = f"the index name `{one.contract.written(*name)}` is the same for several collections"
            yield one.contract.problem(name, what, f"add {missing}: each collection has an index of its own")
        elif one.contract.sound(*name) and not _are_apart(one.index.name, {*_differing(one.contract)}):
            what = f"the index name `{one.contract.written(*name)}` can be the same for two collections"
            yield one.contract.problem(name, what, f"put a `:` between {{{DATABASE}}} and {{{COLLECTION}}}")
    for contract in _several(contracts):
        differing = {*_differing(contract)}
        for keys in keys_of([contract]):
            is_sound = not _missing(contract, keys.projection.key) and keys.projection.index is not None
            if is_sound and not _begins_with(keys.template, differing):
                what = (
                    f"the index of one collection would hold keys of others, by what {keys.shown} begins with"
                )
                wanted = "".join(f"{{{name}}}:" for name in sorted(differing, reverse=True))
                yield keys.problem(what, f"write {wanted} before the first path of the document")


def _differing(contract: LoadedContract) -> Iterator[str]:
    """Which of both names is not the same for all collections."""
    databases, collections = zip(
        *(one.partition(".")[::2] for one in contract.contract.patterns), strict=True
    )
    for name, found in ((DATABASE, databases), (COLLECTION, collections)):
        if len({*found}) > 1 or any("*" in one for one in found):
            yield name


def _missing(contract: LoadedContract, template: str) -> str:
    """Names that would tell collections apart, and do not stand there."""
    missing = [name for name in _differing(contract) if name not in placeholders(template)]
    return " and ".join(f"{{{name}}}" for name in missing)


def _are_apart(name: str, differing: set[str]) -> bool:
    """Whether no two collections have one name of an index: no name in it holds a `:`, and no database a dot."""
    texts = re.split("|".join(re.escape(f"{{{one}}}") for one in differing), name)
    return all({*":."} & {*text} for text in texts[1:-1])


def _begins_with(template: KeyTemplate, names: set[str]) -> bool:
    """Whether these stand before all paths of documents, each with its end: no name holds a `:`."""
    left = {*names}
    for placeholder, behind in zip(template.placeholders, template.literals[1:], strict=True):
        if not left:
            break
        if placeholder.path not in (DATABASE, COLLECTION) or not behind.startswith(SEPARATOR):
            return False
        left.discard(placeholder.path)
    return not left


RULES = (several_collections_go_to_redis, keys_tell_collections_apart, indexes_tell_collections_apart)
