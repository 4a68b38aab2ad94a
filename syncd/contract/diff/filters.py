"""Whether one filter lets through all that another does, as far as that can be read off. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Condition: TypeAlias = tuple[str, Any]
"""A path, or an operator such as `$or`, and what is asked of it."""
_NO_LIST = object()


def is_wider(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
    """Whether every document that matched still does. False also where that cannot be told."""
    before = list(_conditions(old or {}))
    return all(any(_follows(one, another) for another in before) for one in _conditions(new or {}))


def _conditions(query: Mapping[str, Any]) -> Iterator[Condition]:
    """What has to hold, all of it."""
    for name, asked in query.items():
        if name == "$and" and isinstance(asked, list | tuple):
            for part in asked:
                yield from _conditions(part)
        elif not name.startswith("$") and isinstance(asked, Mapping) and _is_of_operators(asked):
            # `$regex` and `$options` are one condition.
            yield from (
                ((name, asked),) if "$options" in asked else ((name, {op: v}) for op, v in asked.items())
            )
        else:
            yield name, asked


def _is_of_operators(asked: Mapping[str, Any]) -> bool:
    return bool(asked) and all(isinstance(name, str) and name.startswith("$") for name in asked)


def _follows(new: Condition, old: Condition) -> bool:
    """Whether the new condition holds wherever the old one does."""
    if new[0] != old[0]:
        return False
    if _equal(new[1], old[1]):
        return True
    wanted, known = _values(new), _values(old)
    return (
        wanted is not _NO_LIST
        and known is not _NO_LIST
        and all(any(_equal(one, another) for another in wanted) for one in known)
    )


def _values(condition: Condition) -> Any:
    """Of a condition on one path the values that it lets through."""
    name, asked = condition
    if name.startswith("$"):
        return _NO_LIST
    if isinstance(asked, Mapping) and _is_of_operators(asked):
        if asked.keys() == {"$in"}:
            return list(asked["$in"])
        return [asked["$eq"]] if asked.keys() == {"$eq"} else _NO_LIST
    return [asked]


def _equal(one: Any, other: Any) -> bool:
    """As MongoDB sees it: true is no 1, and the order of the members of a value counts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        same = all(_equal(one[name], other[name]) for name in one) if one.keys() == other.keys() else False
        return same and list(one) == list(other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
