"""Members of sets and sorted sets that an application writes, each of which becomes a document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from syncd.contract.model.redis.projection import FieldSpec, Projection
from syncd.plan.types.base import CapturedMembers
from syncd.plan.values.scores import score_of
from syncd.plan.values.texts import as_bytes, to_hash

_COUNT = 1000


class _ScannedMembers(CapturedMembers):
    """Of a type whose members a cursor of Redis goes through."""

    scan: ClassVar[str]
    said: ClassVar[str]
    """The command that says what is there of a member."""

    def page(self, key: bytes, cursor: int) -> tuple[Any, ...]:
        """Some of them."""
        return (self.scan, key, cursor, "COUNT", _COUNT)

    def ask(self, key: bytes, member: bytes) -> list[tuple[Any, ...]]:
        """One command."""
        return [(self.said, key, member)]


class ScoredMembers(_ScannedMembers):
    """Of a sorted set, each with its score."""

    scan, said = "ZSCAN", "ZSCORE"

    def scanned(self, reply: Any) -> tuple[int, Iterable[bytes]]:
        """Without the scores."""
        return int(reply[0]), [member for member, _ in reply[1]]

    def fields(self, projection: Projection) -> dict[str, FieldSpec]:
        """The score."""
        return {"score": FieldSpec.of_path(projection.score, "double")} if projection.score else {}

    def members(self, content: Any) -> Mapping[Any, Any]:
        """The score, in as few digits as say which double it is: Redis, above all before 8, says more or other ones."""
        return {b"score": repr(float(content)).encode()}

    def content(self, replies: list[Any]) -> bytes | None:
        """The score as text."""
        return None if replies[0] is None else bytes(replies[0])

    def each(self, said: Any) -> Mapping[str, bytes]:
        """Of a mapping of members and scores."""
        if not isinstance(said, dict) or not said:
            raise ValueError("a mapping of members and scores")
        return {str(member): repr(score_of(score)).encode() for member, score in said.items()}


class PlainMembers(_ScannedMembers):
    """Of a set, which says nothing more of them."""

    scan, said = "SSCAN", "SISMEMBER"

    def scanned(self, reply: Any) -> tuple[int, Iterable[bytes]]:
        """As they are."""
        return int(reply[0]), list(reply[1])

    def fields(self, projection: Projection) -> dict[str, FieldSpec]:
        """None."""
        return {}

    def members(self, content: Any) -> Mapping[Any, Any]:
        """Nothing."""
        return {}

    def content(self, replies: list[Any]) -> bytes | None:
        """Empty."""
        return b"" if replies[0] else None

    def each(self, said: Any) -> Mapping[str, bytes]:
        """Of a list of members."""
        if not isinstance(said, list) or not said:
            raise ValueError("a list of members")
        return {as_bytes(to_hash(member)).decode(): b"" for member in said}
