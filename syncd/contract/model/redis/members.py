"""What a projection says whose documents are members of keys that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field

from syncd.contract.model.redis.redis_types import TYPE_RULES, RedisType
from syncd.contract.model.values import Model, Path

if TYPE_CHECKING:
    from syncd.contract.model.redis.projection import Projection

Quantisation: TypeAlias = Literal["int8", "binary", "none"]

OF_MEMBERS = ("score", "position", "vector", "quantisation", "attributes", "expire")
"""Keys of the contract that belong to a `member`."""
OF_KEYS = ("each", "fields", "value", "ttl", "index", "events", "copy_")
"""And those that belong to a key of the document's own."""


class MemberVector(Model):
    """The vector of a member."""

    from_: Path = Field(alias="from", description="Path of the vector in the document.")
    dims: int = Field(ge=1, le=32_768, description="Its length; any other length is a dead letter.")


def check_member(projection: Projection) -> None:
    """That what stands beside `member` fits the type. Raises ValueError."""
    kind, said = projection.type, projection.model_fields_set
    rules = TYPE_RULES[kind].member
    if projection.member is None:
        for key in said.intersection(OF_MEMBERS):
            raise ValueError(f'`{key}` is for members of shared keys|write `member: "{{_id}}"` as well')
        if TYPE_RULES[kind].content == "member":
            raise ValueError(f'a {kind} has members, and each document is one|write `member: "{{_id}}"`')
        return
    if rules is None:
        known = [f"`type: {name}`" for name in _with_members()]
        raise ValueError(f"a {kind} has no members|use {', '.join(known[:-1])} or {known[-1]}")
    for key in OF_KEYS:
        if key in said and getattr(projection, key) and not (key == "each" and projection.each_member):
            raise ValueError(
                f"`{key.rstrip('_')}` beside `member`: documents share the key|leave it out, or leave out `member`"
            )
    if projection.keep is not None and not projection.keep.model_fields_set <= {*rules.keep}:
        remedy = " or ".join(f"keep: {{{name}: 100}}" for name in rules.keep)
        remedy = f"write {remedy}" if remedy else "leave it out, or write `type: zset`"
        raise ValueError(f"members of a {kind} have no such `keep`|{remedy}")
    if projection.keep is not None and projection.expire is not None:
        raise ValueError(
            "`expire` beside `keep`: MongoDB cannot say who comes back|leave one of them out, or filter by the date"
        )
    if rules.needs is not None and getattr(projection, rules.needs) is None:
        raise ValueError(f"a member of a {kind} without a `{rules.needs}`|say where it is in the document")
    for key in said.intersection(OF_MEMBERS):
        if key not in (rules.needs, "expire", *rules.may_have):
            raise ValueError(f"a member of a {kind} has no `{key}`|leave it out")


def _with_members() -> list[RedisType]:
    return [name for name, rules in TYPE_RULES.items() if rules.member is not None]
