"""A projection whose documents are members of keys that they share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.template import member_template_of, template_of
from syncd.errors import ProjectionError
from syncd.plan.keys.templates import encode_key_value, parse_key, render, render_each
from syncd.plan.paths import MISSING, getter
from syncd.plan.to_redis.change import Drop, Patch, Put, Retired, stale_member
from syncd.plan.to_redis.delta import DeltaReader
from syncd.plan.to_redis.shape import Shape, refuse_unfit
from syncd.plan.types import SHARED, Memberships, redis_type, shared
from syncd.plan.values.bson_values import in_field
from syncd.plan.values.convert import convert

MOST_KEYS = 20_000
"""Of one document, written in one step: the application's reads wait behind it."""


class MemberShape(Shape):
    """A compiled projection with a `member`."""

    is_shared = True
    keep = 0
    """How many members a key holds, those with the highest scores; minus how many with the lowest; 0: all."""

    def __init__(self, projection: Projection) -> None:
        self.name = projection.projection
        self.type = projection.type + SHARED
        self.index_form = None
        self.redis_type = redis_type(projection.type)
        self.form = self.members = shared(projection)
        self.template = template_of(projection)
        self.by_id = False
        self.ttl_ms, self._ttl_at = 0, getter(projection.expire.field) if projection.expire else None
        self.expires = projection.expire is not None
        """Whether members expire. Until when one stays is the `ttl` of a Put."""
        self.names, self.raw_names = (), []
        self.reads = {*self.template.paths, *self.members.paths(projection)}
        self._values = self.members.reader(projection)
        self._keys = render_each(self.template)
        if projection.keep is not None:
            self.keep = projection.keep.highest or -(projection.keep.lowest or 0)
        self.score_path = projection.score
        self._name_members(projection)
        self._until = {projection.expire.field} if projection.expire else set()
        self.reads = {*self.reads, *self._until}
        self.deltas = self._delta_reader(projection)

    def _name_members(self, projection: Projection) -> None:
        self.member = member_template_of(projection)
        self.reads = {*(self.reads or ()), *self.member.paths}
        self._member: Callable[[Mapping[str, Any]], str | None] = render(self.member)

    def _delta_reader(self, projection: Projection) -> DeltaReader | None:
        """Where an update of what a document has as a member may go in without a read."""
        if self.keep:
            return None  # what has fallen out is in no map, and has no key that an update could go to
        fields = self.members.fields(projection)
        paths = {*self.template.paths, *self.member.paths, *self._until}
        if fields is None or any(
            part.isdigit() for field in fields for part in (field.path or "").split(".")
        ):
            return None
        if paths & {field.path for field in fields}:
            return None  # a score that is a part of the key
        return DeltaReader(fields, as_json=False, whole=paths)

    def patch(self, ident: str, key: str, sets: dict[str, Any], removed: frozenset[str]) -> Patch | Drop:
        """Another score in all keys; without one it leaves them."""
        return Drop(self, ident, None) if removed else Patch(self, ident, key, sets, removed, 0)

    def key_if_any(self, ident: str, document_id: Any) -> str | None:
        """The map says which keys it has."""
        return ""

    def stale(self, ident: str) -> str | None:
        """Its membership."""
        return stale_member(self.name, ident)

    def key(self, document: Mapping[str, Any]) -> str:
        """The first of its keys, where it has any."""
        keys = self._keys(document)
        return keys[0] if keys and self._member(document) else ""

    def put(self, ident: str, document: Mapping[str, Any], time: str) -> Put | Drop:
        """All that it is a member of; a document that is none leaves what it was a member of."""
        refuse_unfit(document)
        keys = self._keys(document)
        if not keys:
            return Drop(self, ident, None)
        if len(keys) > MOST_KEYS:
            what = f"key template `{self.template.shown}` gives more than {MOST_KEYS} keys, which one step cannot write"
            raise ProjectionError("too_many_elements", what)
        member = self._member(document)
        values = self._values(document)
        if values is None or member is None:
            return Drop(self, ident, None)
        pairs = [text for key in keys for text in (key, member)]
        return Put(self, ident, keys[0], Memberships(tuple(pairs), values), self.ttl(document), time)

    def drop(self, ident: str, document_id: Any) -> Drop:
        """It leaves all."""
        return Drop(self, ident, None)

    def has_whole(self, retired: Retired) -> bool:
        """What it has is in its map."""
        return False

    def operation(
        self, map_of: str, ident: str, stale: str, content: Memberships, time: str
    ) -> Sequence[Any]:
        """What makes this all that a document is a member of."""
        return self.members.operation(map_of, ident, stale, content, time)

    def is_own(self, member: bytes) -> bool:
        """Whether a member of a key of the template may be this projection's."""
        return True

    def ident_in(self, key: bytes, member: bytes) -> str | None:
        """The document of a membership; None where there can be none."""
        for template, text in ((self.member, member), (self.template, key)):
            values = parse_key(template, text)
            if values is None:
                return None
            if "_id" in values:
                return encode_key_value(values["_id"])
        return None


def shared_shape(projection: Projection) -> MemberShape:
    """A projection compiled whose documents share keys."""
    return MemberShape(projection) if projection.time is None else SampleShape(projection)


class SampleShape(MemberShape):
    """A compiled projection of time series, whose documents are samples."""

    def _name_members(self, projection: Projection) -> None:
        assert projection.time is not None
        self.member = self.template  # which says nothing more
        find = getter(projection.time)

        def moment(document: Mapping[str, Any]) -> str | None:
            try:
                found = find(document)
                millis = None if found is MISSING else convert(found, "epoch_ms")
            except ProjectionError as error:
                raise in_field("time", error) from None
            if millis is not None and millis < 0:
                raise ProjectionError("cannot_convert", "field `time`: a series begins in 1970")
            return None if millis is None else str(millis)

        self._member = moment

    def ident_in(self, key: bytes, member: bytes) -> str | None:
        """Neither a series nor a moment says whose a sample is."""
        return None
