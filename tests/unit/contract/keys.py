"""Every key that a contract may have, by walking the model: what has to be decided for each is decided for the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from syncd.contract.model.contract import Contract
from tests.support.contracts import said

Key = tuple[str, ...]

CARD: dict[str, Any] = {
    "projection": "card",
    "type": "hash",
    "key": "card:{_id}",
    "ttl": {"field": "until"},
    "fields": {"a": {"from": "a"}},
    "index": {"name": "cards", "fields": [{"name": "a", "type": "text", "attrs": {}}]},
}
OTHER: dict[str, Any] = {"collection": "shop.others", "on": {"b": "_id"}, "fields": ["c"]}
CONTRACT = said(
    CARD,
    mongo={"collection": "shop.films", "timeseries": {"time_field": "at"}, "with": {"other": OTHER}},
    sync={"authority": {}, "dead_letters": {}},
    slo={"freshness": "5s"},
    reconcile={"every": "1h"},
    consumers=[{"team": "web", "reads": {"card": ["a"]}}],
    tests=[{"name": "a", "given": {"_id": 1}, "expect": {}}],
)
"""With whatever holds further keys, but a `value`."""


def contract_keys() -> list[Key]:
    """Paths as in a file; `*` for an entry of a list, or a name that its author chooses."""
    return list(dict.fromkeys(_keys(Contract, ())))


def _keys(annotation: Any, here: Key) -> Iterator[Key]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _keys(get_args(annotation)[0], here)
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _keys(member, here)
    elif origin is tuple:
        yield from _keys(get_args(annotation)[0], (*here, "*"))
    elif origin in (dict, Mapping):
        yield from _keys(get_args(annotation)[1], (*here, "*"))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if not field.exclude:
                path = (*here, field.alias or name)
                yield path
                yield from _keys(field.annotation, path)
    else:
        assert origin is not None or annotation in (Any, NoneType, str, int, float, bool), annotation


def put(holder: Any, path: Key, value: Any) -> None:
    """Set what is at `path`; `*` is the first entry of a list, or the first name."""
    *above, last = path
    for part in above:
        holder = holder[_first(holder) if part == "*" else part]
    holder[_first(holder) if last == "*" else last] = value


def _first(holder: Any) -> Any:
    return 0 if isinstance(holder, list) else next(iter(holder))
