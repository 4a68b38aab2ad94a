"""What documents become in Redis, and keys in MongoDB, as values that people read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class KeyShown(NamedTuple):
    """A key as it would be."""

    projection: str
    key: str
    type: str
    """As contracts call it."""
    content: Any
    """See `Written.shown`."""
    ttl: int
    """As a `Put` has it."""
    moments: Mapping[str, int]
    """When single fields expire, in epoch ms."""
    size: int
    """Bytes of key and content, as they are sent: Redis adds its own."""


class MemberShown(NamedTuple):
    """A member of a key that documents share."""

    projection: str
    key: str
    type: str
    member: str
    content: Any
    """What it has there, such as a score; None where that is nothing."""
    ttl: int = 0
    """As a `Put` has it."""
    keep: int = 0
    """How many members the key holds, see `MemberShape`."""


class EntryShown(NamedTuple):
    """An entry of a change feed."""

    projection: str
    key: str
    fields: Mapping[str, Any]


class DeadShown(NamedTuple):
    """Why a document, a key or an entry becomes nothing in one projection."""

    projection: str
    reason: str
    detail: str


@dataclass(slots=True)
class Outcome:
    """What one document becomes in Redis, or one key or entry in MongoDB."""

    source: str
    """The `_id` as it stands in keys, the key, or the id of the entry."""
    keys: list[KeyShown] = field(default_factory=list)
    members: list[MemberShown] = field(default_factory=list)
    entries: list[EntryShown] = field(default_factory=list)
    dead_letters: list[DeadShown] = field(default_factory=list)
    document: dict[str, Any] | None = None
    """What a key or an entry becomes."""
    unset: list[str] = field(default_factory=list)
    """Paths that such a document loses, where it had them."""
    filtered: bool = False
    """It does not match the filter."""
    missing: bool = False
    """There is no such document, key or entry."""
    notes: list[str] = field(default_factory=list)
    """What else a person wants to know, such as values that were left out."""

    @property
    def is_wrong(self) -> bool:
        """Whether something needs a person."""
        return self.missing or bool(self.dead_letters)

    @property
    def is_nothing(self) -> bool:
        """Whether it becomes nothing, with nothing wrong about it."""
        return not (self.keys or self.members or self.entries or self.is_wrong or self.document is not None)
