"""A projection that writes fields of hashes which other projections write too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from syncd.contract.model.redis.projection import Projection
from syncd.plan.keys.templates import encode_key_value, parse_key
from syncd.plan.misfits import Misfits
from syncd.plan.to_redis.change import Drop, Put
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.to_redis.shape import Shape, refuse_unfit
from syncd.plan.types import SHARED, Memberships, SharedFields


class SharedHashShape(MemberShape):
    """A compiled projection with `share: true`. A document is a member of its hash by each of its fields."""

    def __init__(self, projection: Projection, hmac_key: bytes | None, misfits: Misfits) -> None:
        Shape.__init__(self, projection, hmac_key, misfits)
        assert isinstance(self.form, SharedFields)
        self.members: SharedFields = self.form
        self.type += SHARED
        self.index_form = None
        self.by_id, self.deltas, self.expires = False, None, False
        words = [name.encode() for name in self.names]
        self.commands = ((b"HMGET", *words), *self.commands[1:])

    def key(self, document: Mapping[str, Any]) -> str:
        """The hash of a document."""
        return self._render(document)

    def put(self, ident: str, document: Mapping[str, Any], time: str) -> Put | Drop:
        """All fields of it; a document without any has none in Redis."""
        refuse_unfit(document)
        key, content = self.key(document), self.content(document)
        if not isinstance(content, dict) or not content:
            return Drop(self, ident, None)
        return Put(self, ident, key, self.members.of(key, content), 0, time)

    def operation(
        self, map_of: str, ident: str, stale: str, content: Memberships, time: str
    ) -> Sequence[Any]:
        """What writes the fields, and removes those that the document has no more."""
        return self.members.written(map_of, ident, stale, content, self.names)

    def is_own(self, member: bytes) -> bool:
        """Not the fields of others."""
        return member in self.raw_names

    def ident_in(self, key: bytes, member: bytes) -> str | None:
        """The document of a key."""
        values = parse_key(self.template, key)
        return None if values is None else encode_key_value(values["_id"])
