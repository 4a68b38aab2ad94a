"""The values that the plan gives to the writers: what is to happen to which key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.types import SHARED, Memberships, redis_type

if TYPE_CHECKING:
    from syncd.plan.to_redis.change_feed import ChangeFeed
    from syncd.plan.to_redis.shape import Shape

Content: TypeAlias = "dict[str, Any] | tuple[Any, ...] | list[bytes] | str | bytes | Memberships"
"""Encoded fields by name (hash: text or bytes; JSON: values that dump), the value of a string, JSON as bytes, or a list
of the operands that write elements. A tuple holds all fields of a hash in the order of `Shape.names`: most documents
have all, and it costs half of what a dictionary does. Of keys that documents share: what a document is a member of."""


class Put(NamedTuple):
    """A key gets a whole new content. `ttl`: 0 none, > 0 milliseconds from now, < 0 minus a moment in epoch ms.

    `time` is the cluster time of the state that the content comes from.
    """

    shape: Shape
    ident: str
    key: str
    content: Content
    ttl: int
    time: str


class Elements(NamedTuple):
    """A document gets these keys, one an element, and loses those that it had besides. All or none: what does not fit
    is a dead letter of the document."""

    shape: Shape
    ident: str
    puts: tuple[Put, ...]
    time: str
    rewrite: bool = True
    """Whether keys are written also where they hold that already, as far as is known."""

    @property
    def key(self) -> None:
        """There are several."""
        return


class Patch(NamedTuple):
    """A key that is there gets new values of some fields and loses others."""

    shape: Shape
    ident: str
    key: str
    sets: dict[str, Any]
    removed: frozenset[str]
    ttl: int


def stale_member(projection: str, ident: str) -> str:
    """What says that a document is a member as it was before a dead letter. A shared key does not say of whom."""
    return f"{projection} {ident}"


class Retired(NamedTuple):
    """The part of a shape that is needed to remove its keys."""

    name: str
    type: str
    template: KeyTemplate

    @property
    def redis_type(self) -> str:
        """As `TYPE` says it."""
        return redis_type(self.type)

    @property
    def by_id(self) -> bool:
        """Whether a key is a function of `_id` alone."""
        return self.template.by_id and not self.is_shared

    @property
    def is_shared(self) -> bool:
        """Whether documents are members of keys that they share."""
        return self.type.endswith(SHARED)

    def stale(self, ident: str) -> str | None:
        """As a shape says it."""
        return stale_member(self.name, ident) if self.is_shared else None

    @property
    def each(self) -> bool:
        """Whether a document has a key for each element of an array."""
        return self.template.each


class Drop(NamedTuple):
    """A document has no key in this shape any more. `key` is None where only the map knows it, or them."""

    shape: Shape | Retired
    ident: str
    key: str | None


class Elsewhere(NamedTuple):
    """The key of a document is on another node of a cluster, and none on this one any more."""

    shape: Shape
    ident: str
    key: None = None


class RetiredKey(NamedTuple):
    """A key of a projection that the contract no longer has; it is removed unless a shape of `maps` took it over."""

    shape: Retired
    ident: str
    key: str
    maps: tuple[Retired, ...]


class Orphan(NamedTuple):
    """A key that no document has. It is removed with its entry in the map from key to `_id`, unless that is another one
    by now than `entry` ("" for none). `ident` is never a document's."""

    shape: Retired
    ident: str
    key: str
    entry: str


class Leave(NamedTuple):
    """A document is a member of nothing any more that a projection says which the contract no longer has, but for what
    it is by a projection of `maps`."""

    shape: Retired
    ident: str
    key: None
    maps: tuple[Retired, ...]


class Stray(NamedTuple):
    """A member that is in no document's map. `ident`: of the document whose it would be; "" where it can be none."""

    shape: Retired
    ident: str
    key: str
    member: bytes


class MapBegins(NamedTuple):
    """All documents are about to be copied into the map of a projection."""

    shape: Shape | Retired
    ident: str = ""
    key: None = None


class MapIsWhole(NamedTuple):
    """All documents are in the map of a projection: a map without this is lost, or was never made."""

    shape: Shape | Retired
    ident: str = ""
    key: None = None


class Dead(NamedTuple):
    """A change that cannot be applied. `detail` holds no values of the document; `change` is the event as it came."""

    projection: str
    ident: str
    key: str
    reason: str
    detail: str
    change: Mapping[str, Any]
    stale: str | None = None
    """What shows an older state, so that no update may go on top of it; None: the key does."""


class AnsweredDeadLetters(NamedTuple):
    """Dead letters, by entry, that this call answers."""

    entries: list[str]


class MergeRequest(NamedTuple):
    """A merge request: read and merge the key of a document, of a contract that goes both ways. `wall`: the epoch
    milliseconds of its change; 0 for a request that writes a lost key again."""

    shape: Shape
    ident: str
    key: str
    wall: int


class Changed(NamedTuple):
    """Documents whose state in Redis changes with this call, so that their digests are not known any more."""

    idents: list[str]


class Hashed(NamedTuple):
    """Digests of the documents that Redis shows. `sources`: ident -> digest, None for a document that is gone, and
    bucket."""

    sources: dict[str, tuple[int | None, int]]


class Entry(NamedTuple):
    """One entry of a change feed. `id`: of the change, the same whenever it comes, and later than that of all changes
    before; empty where no change stands behind it: then it is the next one."""

    shape: ChangeFeed
    ident: str
    id: str
    names: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def key(self) -> str:
        """No key goes stale because an entry is missing."""
        return ""


class Judged(NamedTuple):
    """A change for a feed of a contract with a filter. Redis knows whether the document matched before, and so whether
    this becomes an entry, and what its `op` is."""

    shape: ChangeFeed
    ident: str
    id: str
    """As of an entry."""
    state: str
    """IN, OUT or GONE: what a read showed."""
    names: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def key(self) -> str:
        """No key goes stale because an entry is missing."""
        return ""


IN, OUT, GONE = "in", "out", "gone"
"""A document matches the filter; is there and does not; is not there any more, so that its deletion follows."""


class Matched(NamedTuple):
    """Documents that a copy read, of which readers of a feed are told nothing."""

    shape: ChangeFeed
    idents: tuple[str, ...]


class BeginMatched(NamedTuple):
    """A copy begins to fill the set of the documents that match. `word`: FILLING or RELOAD, or "" where the contract
    has no filter any more."""

    shape: ChangeFeed
    word: str


FILLING, RELOAD = ":filling", ":reload"
"""Members of the set, beside documents: see lua/operations/matched."""


class MatchedIsWhole(NamedTuple):
    """A copy has filled the set. `gap`: says to readers that what they know may be wrong."""

    shape: ChangeFeed
    gap: Entry | None
    ident: str = ""


class OpenFeed(NamedTuple):
    """Entries of a feed follow in this call. `begins`: the changes begin again, behind this id."""

    shape: ChangeFeed
    begins: str = ""


Write: TypeAlias = (
    Put
    | Elements
    | Patch
    | Drop
    | Elsewhere
    | RetiredKey
    | Orphan
    | Leave
    | Stray
    | MapBegins
    | MapIsWhole
    | Entry
    | Judged
    | Matched
    | BeginMatched
    | MatchedIsWhole
    | OpenFeed
    | Dead
    | AnsweredDeadLetters
    | MergeRequest
    | Changed
    | Hashed
)

OF_FEEDS = (OpenFeed, Entry, Judged, Matched, BeginMatched, MatchedIsWhole)
"""What belongs to a change feed, and not to keys of documents."""

Removal: TypeAlias = (
    Drop | RetiredKey | Orphan | Leave | Stray | MapBegins | MapIsWhole | Judged | MatchedIsWhole
)
"""What a sweep hands over."""

Delta: TypeAlias = "list[tuple[dict[str, Any], frozenset[str]]]"
"""One update of one document as the shapes see it: per shape the fields to set, and the names of those to remove."""
