"""Hashes that several projections share: each has fields of its own, and writes and removes these alone.

A document is a *member* of the hash by each of its fields, so that the map of members (see
`stores/redis/lua/operations/members.lua`) says which fields are whose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from syncd.contract.model.redis.projection import Projection
from syncd.plan.types.base import Names
from syncd.plan.types.expiring_hash import STAYS, Expiring, ExpiringHash, is_as_wanted
from syncd.plan.types.members.base import MemberForm, Memberships, ReadValues, Values

if TYPE_CHECKING:
    from syncd.plan.to_redis.change import Put

_FIELDS = ExpiringHash()


class SharedFields(MemberForm):
    """The fields of one projection. The values of a membership are names, each followed by its value."""

    kind = "hash"
    scan = "HSCAN"
    read = (b"HMGET",)
    is_one_key = True

    @staticmethod
    def of(key: str, fields: Mapping[str, Any]) -> Memberships:
        """Of a document with these fields."""
        pairs = tuple(text for name in fields for text in (key, name))
        return Memberships(pairs, tuple(part for pair in fields.items() for part in pair))

    def content(self, fields: dict[str, Any]) -> Any:
        """The fields as they are."""
        return fields

    def can_hold(self, content: Any) -> bool:
        """A document without any of the fields has none in Redis."""
        return bool(content)

    def also_read(self, names: Sequence[str]) -> tuple[bytes, ...] | None:
        """When those that expire do."""
        return _FIELDS.also_read(names) if names else None

    def expiring(self, value: Any, moment: int) -> Any:
        """As of other hashes."""
        return _FIELDS.expiring(value, moment)

    def is_over(self, content: Any, now: int) -> bool:
        """Whether all of its fields have expired."""
        return _FIELDS.is_over(_by_name(content), now)

    def put(self, content: Any, ttl: int) -> Sequence[Any]:
        """As `written`, of the values alone."""
        return ["mh", ttl, *(part for pair in _values(content).items() for part in pair)]

    def shown(self, content: Any) -> Any:
        """The values alone."""
        return _FIELDS.shown(_by_name(content))

    def moments(self, content: Any) -> dict[str, int]:
        """Of the fields that expire."""
        return _FIELDS.moments(_by_name(content))

    def _member_shown(self, values: Values) -> Any:
        raise NotImplementedError

    def reader(self, projection: Projection) -> ReadValues:
        """Fields are read as those of other hashes."""
        raise NotImplementedError

    def paths(self, projection: Projection) -> set[str]:
        """The same."""
        raise NotImplementedError

    def written(
        self, map_of: str, ident: str, stale: str, memberships: Memberships, names: Sequence[str]
    ) -> list[Any]:
        """Code, map, _id, its name where it is stale, memberships, n, name, value, ..., n, name of a field that the
        document has not, ..., n, moment, name, ..."""
        fields, key = _by_name(memberships), memberships.pairs[0]
        body: list[Any] = ["mh", map_of, ident, stale, orjson.dumps([key, list(fields)]), 2 * len(fields)]
        for pair in _values(memberships).items():
            body += pair
        absent = [name for name in names if name not in fields]
        moments = [
            part for name, one in fields.items() if type(one) is Expiring for part in (one.moment, name)
        ]
        return [*body, len(absent), *absent, len(moments), *moments]

    def ask(self, key: str, member: str | bytes) -> list[tuple[str | bytes, ...]]:
        """The field."""
        return [("HGET", key, member)]

    def flaws(self, values: Values, found: Any) -> Names:
        """Fields of a document are compared together."""
        raise NotImplementedError

    def differing(self, write: Put, found: Any) -> Names:
        """Of the fields of the projection, by their bytes and when they expire. `found`: the reply to HMGET, or with
        those fields that expire also when, and the time in epoch ms."""
        reply, moments, now = found if type(found) is tuple else (found, (), 0)
        expires = dict(zip(write.shape.expiring, moments, strict=True))
        wanted = _by_name(write.content)
        return tuple(
            name for name, there in zip(write.shape.names, reply, strict=True)
            if not is_as_wanted(wanted.get(name), there, expires.get(name, STAYS), now)
        )  # fmt: skip


def _values(content: Any) -> dict[str, Any]:
    return {name: one.value if type(one) is Expiring else one for name, one in _by_name(content).items()}


def _by_name(content: Any) -> dict[str, Any]:
    assert isinstance(content, Memberships)
    values: tuple[Any, ...] = content.values
    return dict(zip(values[::2], values[1::2], strict=True))
