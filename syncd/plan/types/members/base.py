"""Members of keys that documents share: of sorted sets, sets, geo sets and vector sets.

A document is a member of any number of keys, each time with the same score, position or vector. What it is a member of
is remembered in a map (see `stores/redis/lua/operations/members.lua`), so that what it is no longer can be removed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import orjson

from syncd.contract.model.redis.projection import Projection
from syncd.errors import ProjectionError
from syncd.plan.paths import MISSING, getter
from syncd.plan.to_redis.fields import Field
from syncd.plan.types.base import Names, Written
from syncd.plan.values.bson_values import in_field

if TYPE_CHECKING:
    from syncd.plan.to_redis.change import Put

Values: TypeAlias = "tuple[str | bytes, ...]"
"""What Redis holds of a member: the same in each of its keys."""
ReadValues: TypeAlias = Callable[[Mapping[str, Any]], "Values | None"]
Encode: TypeAlias = Callable[[Any], "Values"]
VALUES = "values"
"""How the values are called in a delta."""
SHARED = " members"
"""How the type of such a projection ends in records: `zset` alone is one key a document."""


class Memberships(NamedTuple):
    """What a document is a member of."""

    pairs: tuple[str, ...]
    """Key, member, key, member, ..."""
    values: Values

    def each(self) -> Iterator[tuple[str, str]]:
        """Key and member of each."""
        return zip(self.pairs[::2], self.pairs[1::2], strict=True)

    @property
    def packed(self) -> bytes:
        """As the map holds them."""
        return orjson.dumps(self.pairs)


def unpacked(said: bytes) -> list[tuple[str, str]]:
    """Key and member of each membership in an entry of the map; none where it is no such entry."""
    try:
        pairs = orjson.loads(said)
    except orjson.JSONDecodeError:
        return []
    if isinstance(pairs, list) and len(pairs) == 2 and isinstance(pairs[1], list):
        key, fields = pairs
        pairs = [text for name in fields for text in (key, name)]
    if not isinstance(pairs, list) or not all(isinstance(text, str) for text in pairs):
        return []
    return list(zip(pairs[::2], pairs[1::2], strict=False))


class MemberForm(Written):
    """The form of such members. A key is written, and read, member by member."""

    kind: ClassVar[str]
    """As `stores/redis/lua/operations/members.lua` calls it."""
    has_strays: ClassVar[bool] = True
    """Whether a member that no document has is syncd's to remove."""
    no_key: ClassVar[str | None] = None
    """What an error says of a key that is not there; of most types that is none."""
    is_one_key: ClassVar[bool] = False
    """Whether all members of a document are in one key, and a part of it as any key is one."""
    scan: ClassVar[str | None]
    """The command that goes through all members of a key by a cursor, where there is one."""

    @abstractmethod
    def reader(self, projection: Projection) -> ReadValues:
        """A function from documents to the values of their members; None for one that is no member. It raises
        ProjectionError."""

    @abstractmethod
    def paths(self, projection: Projection) -> set[str]:
        """What `reader` reads of a document."""

    def fields(self, projection: Projection) -> list[Field] | None:
        """What an update may change alone, `VALUES`; None where every update needs a read."""
        return None

    def content(self, fields: dict[str, Any]) -> Any:
        """No document has a key of its own."""
        raise NotImplementedError

    def put(self, content: Any, ttl: int) -> Sequence[Any]:
        """Kind, memberships, number of values, value, ..."""
        assert isinstance(content, Memberships)
        values = content.values
        return self.kind, content.packed, len(values), *values

    def patch(self, sets: Mapping[str, Any], removed: frozenset[str], ttl: int) -> Sequence[Any]:
        """Kind, number of values, value, ..."""
        values = sets[VALUES]
        return self.kind, len(values), *values

    def operation(
        self, map_of: str, ident: str, stale: str, memberships: Memberships, time: str
    ) -> Sequence[Any]:
        """What makes this all that a document is: code, map, _id, its name where it is stale, ..."""
        return "ma", map_of, ident, stale, *self.put(memberships, 0)

    @abstractmethod
    def ask(self, key: str, member: str | bytes) -> list[tuple[str | bytes, ...]]:
        """Commands that say what is there of a member."""

    def is_there(self, found: Any) -> bool:
        """Whether there is such a member. `found`: the replies to `ask`."""
        return found[0] not in (None, 0, [None])

    def is_past(self, member: str, values: Values, found: Any) -> bool:
        """Whether a member that is not there need not be."""
        return False

    @abstractmethod
    def flaws(self, values: Values, found: Any) -> Names:
        """Names of what differs of a member that is there."""

    def differing(self, write: Put, found: Any) -> Names:
        """Nor is one compared as a whole."""
        raise NotImplementedError

    def shown(self, content: Any) -> Any:
        """What the member has in each of its keys; None where that is nothing."""
        assert isinstance(content, Memberships)
        return self._member_shown(content.values)

    @abstractmethod
    def _member_shown(self, values: Values) -> Any: ...


def patchable(name: str, path: str, encode: Encode) -> list[Field]:
    """One value that an update may change alone."""

    def encoded(value: Any) -> Values | None:
        try:
            return None if value is None else encode(value)
        except ProjectionError as error:
            raise in_field(name, error) from None

    return [Field(VALUES, path, getter(path), encoded, False, frozenset({path}))]


def of_one_path(name: str, path: str, encode: Encode) -> ReadValues:
    """A reader of one value, without which a document is no member."""
    find = getter(path)

    def read(document: Mapping[str, Any]) -> Values | None:
        value = find(document)
        if value is MISSING or value is None:
            return None
        try:
            return encode(value)
        except ProjectionError as error:
            raise in_field(name, error) from None

    return read
