"""Sorted sets, which are an array of `{member, score}` in the document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from syncd.errors import ProjectionError
from syncd.plan.misfits import Note
from syncd.plan.paths import MISSING
from syncd.plan.to_mongo.entry_field import EntryField
from syncd.plan.types.arrays import NAME, ArrayForm, Element, in_bytes, left_out
from syncd.plan.types.base import DataType
from syncd.plan.types.members.captured_members import ScoredMembers
from syncd.plan.types.members.zset_members import SortedMembers
from syncd.plan.values.bson_values import in_field, type_name
from syncd.plan.values.scores import score_of
from syncd.plan.values.texts import as_bytes

if TYPE_CHECKING:
    from syncd.contract.model.redis.projection import FieldSpec
    from syncd.plan.to_redis.change import Content
    from syncd.plan.to_redis.fields import Encode

_MEMBER, _SCORE = "member", "score"


class SortedSet(ArrayForm):
    """The members in the order of their scores."""

    code = "ez"
    read = (b"ZRANGE", b"0", b"-1", b"WITHSCORES")

    def _element(self, encode: Encode, spec: FieldSpec, note: Note) -> Element:
        def pair(element: Any) -> tuple[bytes, float] | None:
            if element is None and spec.null != "keep":
                return None
            try:
                said, score = _parts(element)
            except ProjectionError as error:
                left_out(spec, note, error)
                return None
            member = in_bytes(encode(said))
            return None if member is None else (member, score)

        return pair

    def _joined(self, encoded: list[Any]) -> list[bytes]:
        scores: dict[bytes, float] = {}
        for member, score in encoded:
            if scores.setdefault(member, score) != score:
                what = "a member that is there twice, with different scores"
                raise in_field(NAME, ProjectionError("duplicate_member", what))
        return [operand for member, score in scores.items() for operand in (repr(score).encode(), member)]

    def _is_same(self, wanted: Any, found: list[bytes]) -> bool:
        there = dict(zip(found[::2], map(float, found[1::2]), strict=True))
        return there == dict(zip(wanted[1::2], map(float, wanted[::2]), strict=True))

    def shown(self, content: Content) -> Any:
        """Members and their scores, in the order of these."""
        assert isinstance(content, list)
        pairs = zip(content[1::2], map(float, content[::2]), strict=True)
        return {_as_name(member): score for member, score in sorted(pairs, key=lambda one: one[1])}

    def given(self, said: Any) -> Any:
        """Pairs of member and score."""
        if not isinstance(said, dict) or not said:
            raise ValueError("a mapping of members and scores")
        return [(as_bytes(member), repr(score_of(score)).encode()) for member, score in said.items()]

    def found(self, reply: Any) -> Any:
        """Pairs of member and score."""
        return list(zip(reply[::2], reply[1::2], strict=True))

    def taken(self, field: EntryField, raw: Any) -> Any:
        """Each member by the field's type, with its score."""
        return [
            {_MEMBER: taken, _SCORE: float(score)}
            for member, score in raw
            if (taken := field.taken(member)) is not MISSING
        ]


def _as_name(member: str | bytes) -> str:
    return member.decode(errors="backslashreplace") if isinstance(member, bytes) else member


def _parts(element: Any) -> tuple[Any, float]:
    """Member and score of an element. Raises ProjectionError: `cannot_convert`."""
    if type(element) is not dict:
        raise ProjectionError("cannot_convert", f"{type_name(element)} is no object of member and score")
    missing = [name for name in (_MEMBER, _SCORE) if name not in element]
    if missing:
        raise ProjectionError("cannot_convert", f"an object without `{missing[0]}`")
    return element[_MEMBER], score_of(element[_SCORE])


ZSET = DataType(
    name="zset",
    redis="zset",
    sample=("ZADD", "1", "1"),
    value=SortedSet(),
    member=SortedMembers(),
    each_member=ScoredMembers(),
)
