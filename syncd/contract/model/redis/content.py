"""What a key holds that belongs to one document: fields, or a value, as its type has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.contract.model.redis.redis_types import INDEXED, TYPE_RULES, WITH_VALUE

if TYPE_CHECKING:
    from syncd.contract.model.redis.projection import Projection


def check_content(projection: Projection) -> None:
    """Raises ValueError where its keys do not go with its type."""
    rules = TYPE_RULES[projection.type]
    if rules.content == "either":
        if (projection.fields is None) == (projection.value is None):
            raise ValueError(
                f"a {projection.type} needs exactly one of `fields` and `value`|give one of them"
            )
    elif rules.content == "value":
        if projection.value is None or projection.fields is not None:
            remedy = "write value: {from: path, type: string}, and no `fields`"
            raise ValueError(f"a {projection.type} has elements, which are one `value`|{remedy}")
    elif projection.value is not None:
        *some, last = WITH_VALUE
        raise ValueError(f"`value` is for a {', a '.join(some)} or a {last}|name the `fields`")
    elif projection.fields is None:
        raise ValueError("no `fields`|name them, or write `fields: all` for the whole document")
    if not projection.fields and not projection.whole and projection.value is None:
        raise ValueError("`fields` is empty|name at least one field")
    if projection.keep is not None and not projection.keep.model_fields_set <= {*rules.keep}:
        remedy = f"write {' or '.join(rules.keep)}" if rules.keep else "leave it out"
        raise ValueError(f"a {projection.type} has no such `keep`|{remedy}")
    if not rules.field_ttl and any(spec.ttl for spec in (projection.fields or {}).values()):
        raise ValueError(
            f"a {projection.type} has no fields that expire|leave out their `ttl`, or write type: hash"
        )
    if not rules.fed and (projection.events is not None or projection.copy_):
        key = "copy" if projection.events is None else "events"
        raise ValueError(f"`{key}` is for `type: stream`|leave it out")
    if rules.index is None and not rules.appended and projection.index is not None:
        known = " or ".join(f"`type: {name}`" for name in INDEXED)
        raise ValueError(f"a {projection.type} cannot be indexed|use {known}")
