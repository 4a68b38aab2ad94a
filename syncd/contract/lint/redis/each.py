"""Rules about projections of the elements of an array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.keys import Keys, keys_of
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.read.loaded import LoadedContract
from syncd.errors import Problem


def _each(contracts: Sequence[LoadedContract]) -> Iterator[Keys]:
    for keys in keys_of(contracts):
        if (
            keys.projection.each is not None
            and not keys.projection.each_member
            and keys.contract.sound("redis", keys.at, "each")
        ):
            yield keys


def elements_become_keys(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """An element can be a hash or a JSON document, towards Redis."""
    known = " or ".join(f"type: {name}" for name, rules in TYPE_RULES.items() if rules.elements)
    for keys in _each(contracts):
        contract, projection = keys.contract, keys.projection
        place = ("redis", keys.at, "each")
        if contract.sound("sync") and contract.contract.sync.direction != "mongo_to_redis":
            what = "`each` is for `direction: mongo_to_redis`"
            yield contract.problem_at_key(place, what, "leave it out, or turn the direction")
        elif contract.sound("redis", keys.at, "type") and not TYPE_RULES[projection.type].elements:
            what = f"`each` in a projection of `type: {projection.type}`"
            yield contract.problem_at_key(place, what, f"write {known}")
        if projection.whole:
            what = "`fields: all` beside `each`, where each key would hold the whole document"
            yield contract.problem(("redis", keys.at, "fields"), what, "name the fields")


def the_path_can_be_an_array(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """One array, in one object."""
    for keys in _each(contracts):
        parts, place = (keys.projection.each or "").split("."), ("redis", keys.at, "each")
        if parts[0] == "_id":
            yield keys.contract.problem(place, "`_id` holds no array", "name another path")
        elif any(part.isdigit() for part in parts):
            what = "a number in the path of an array names one element of another array"
            yield keys.contract.problem(place, what, "write names joined by dots, such as body.passages")


def keys_differ_by_element(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Two elements of one document must not have one key."""
    for keys in _each(contracts):
        array = keys.contract.written("redis", keys.at, "each")
        if not keys.template.each:
            what = f"no placeholder of the key {keys.shown} is of an element of `{array}`"
            remedy = "add one that differs from element to element, or the position: "
            yield keys.problem(what, remedy + f"{{{array}.id}} or {{{array}.#}}")
        for one in keys.template.placeholders:
            if one.is_position and (one.starred or one.type is not None):
                what = f"the position of an element in the key {keys.shown} is a plain number"
                yield keys.problem(what, "leave out its star, and its line in `key_types`")


RULES = (elements_become_keys, the_path_can_be_an_array, keys_differ_by_element)
