"""Members of sets and sorted sets that an application writes, each of which becomes a document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from syncd.plan.types.base import CapturedMembers
from syncd.plan.values.scores import score_of
from syncd.plan.values.texts import as_bytes, to_hash


class ScoredMembers(CapturedMembers):
    """Of a sorted set, each with its score."""

    scan, ask = "ZSCAN", "ZSCORE"

    def scanned(self, page: Any) -> Iterable[bytes]:
        """Without the scores."""
        return [member for member, _ in page]

    def members(self, content: Any) -> Mapping[Any, Any]:
        """The score."""
        return {b"score": content}

    def content(self, reply: Any) -> bytes | None:
        """The score as text."""
        return None if reply is None else bytes(reply)

    def each(self, said: Any) -> Mapping[str, bytes]:
        """Of a mapping of members and scores."""
        if not isinstance(said, dict) or not said:
            raise ValueError("a mapping of members and scores")
        return {str(member): repr(score_of(score)).encode() for member, score in said.items()}


class PlainMembers(CapturedMembers):
    """Of a set, which says nothing more of them."""

    scan, ask = "SSCAN", "SISMEMBER"

    def scanned(self, page: Any) -> Iterable[bytes]:
        """As they are."""
        found: list[bytes] = list(page)
        return found

    def members(self, content: Any) -> Mapping[Any, Any]:
        """Nothing."""
        return {}

    def content(self, reply: Any) -> bytes | None:
        """Empty."""
        return b"" if reply else None

    def each(self, said: Any) -> Mapping[str, bytes]:
        """Of a list of members."""
        if not isinstance(said, list) or not said:
            raise ValueError("a list of members")
        return {as_bytes(to_hash(member)).decode(): b"" for member in said}
