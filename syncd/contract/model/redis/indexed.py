"""Which projected field an entry of a search index reads."""

from __future__ import annotations

from syncd.contract.model.redis.indexes import IndexField
from syncd.contract.model.redis.json_path import default_path, first_member
from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES


def path_of(projection: Projection, field: IndexField) -> str:
    """Where the entry of an index over JSON finds its value."""
    return field.path or default_path(field.name, projection.fields or {})


def member_of(projection: Projection, field: IndexField) -> tuple[str | None, bool]:
    """The projected field that the entry reads, and whether it reads just that; None where it may be any."""
    form = TYPE_RULES[projection.type].index
    if form is None or form.is_text:
        return field.name, True
    return first_member(path_of(projection, field))


def entries_of(projection: Projection) -> dict[str, tuple[IndexField, ...]]:
    """The entries of the index that read a whole projected field, or each element of it, by the field's name."""
    found: dict[str, tuple[IndexField, ...]] = {}
    for field in projection.index.fields if projection.index else ():
        whole = (
            field if field.path is None else field.model_copy(update={"path": field.path.removesuffix("[*]")})
        )
        member, exact = member_of(projection, whole)
        if member is not None and exact:
            found[member] = (*found.get(member, ()), field)
    return found
