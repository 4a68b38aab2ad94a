"""The interface of a Redis type. One module a type implements it; other code uses types only through it. Pure.

A type goes up to three ways. Towards Redis its keys are `Written`; towards MongoDB they are `Captured`, which means
read as a whole; `Merged` are those of contracts that go both ways. A projection names `fields` or one `value`, and a
type has a form for each that it allows: an object without state of its own, shared by all threads.

A ProjectionError says what does not fit, and never what it is: its document becomes a dead letter, and the others go
on. What a write does in Redis stands in `stores/redis/lua/operations.lua`, and how a key is read there in
`stores/redis/lua/types.lua`. The time to live is the same for all types: it goes along with every write (see `Put`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from syncd.plan.to_mongo.entry_field import EntryField

if TYPE_CHECKING:
    from syncd.contract.model.redis.projection import FieldSpec, Projection
    from syncd.plan.misfits import Note
    from syncd.plan.to_redis.change import Content, Put
    from syncd.plan.to_redis.fields import Field

Names: TypeAlias = tuple[str, ...]
Labels: TypeAlias = Mapping[str, Callable[[Any], "str | bytes | None"]]


class Need(NamedTuple):
    """What a server must have beyond Redis 7.0, as `doctor` and the start of a lane check it."""

    name: str
    command: str
    """A server that knows this command has it."""
    what: str
    remedy: str


class Form:
    """The form of keys of a type, with `fields` or with a `value`."""


class Written(Form, ABC):
    """Keys that syncd writes. `content` and `everything` are called once a document, the rest once a write."""

    as_json: ClassVar[bool] = False
    """Whether fields are encoded as values of JSON, where null is one; else as text, where a null is left out."""
    has_rows: ClassVar[bool] = False
    """Whether writes with the same fields share a row of a call: for hashes (see stores/redis/lua/operations.lua)."""
    read: ClassVar[tuple[bytes, ...]]
    """The command that reads a whole key: its name, and what stands behind the key."""

    def can_patch(self, names: Sequence[str]) -> bool:
        """Whether `patch` can change some of these fields and leave the others. Asked when a contract is compiled."""
        return False

    def field(self, field: Field, projection: Projection, note: Note) -> Field:
        """A compiled field, where its value is not encoded as one of a hash or of JSON. Once a contract."""
        return field

    def also_read(self, names: Sequence[str]) -> tuple[bytes, ...] | None:
        """A further command, as `read`, for what that does not say of a key with these fields that expire."""
        return None

    def expiring(self, value: Any, moment: int) -> Any:
        """An encoded field that expires at a moment, in epoch ms. Raises ProjectionError."""
        raise NotImplementedError

    def is_over(self, content: Content, now: int) -> bool:
        """Whether all of a key has expired, field by field, by a moment in epoch ms."""
        return False

    @abstractmethod
    def content(self, fields: dict[str, Any]) -> Content | None:
        """Of the encoded fields, `value` being the only one where the projection has one. None: no key."""

    def everything(self, document: Mapping[str, Any], labels: Labels) -> Content:
        """Of a whole document, for `fields: all`; `labels` encode those fields that a tag index reads. Only of a form
        with fields."""
        raise NotImplementedError

    def can_hold(self, content: Content | None) -> bool:
        """Whether there can be such a key; where not, the document has none."""
        return content is not None

    def packed(self, content: Content) -> Content:
        """A content on its way to another process, from a worker that has time for what `put` would do."""
        return content

    @abstractmethod
    def put(self, content: Content, ttl: int) -> Sequence[Any]:
        """The operation that makes this the whole content of the key: code and operands, for the Lua."""

    def patch(self, sets: Mapping[str, Any], removed: frozenset[str], ttl: int) -> Sequence[Any]:
        """The operation that changes a key which is there; it is refused where it is not. Only where `can_patch`."""
        raise NotImplementedError

    @abstractmethod
    def differing(self, write: Put, found: Any) -> Names:
        """Names of the fields in which a key differs from what a write makes of it; never what they hold. `found` is
        Redis's reply to `read`; where there is a command to `also_read`, both replies and the time in epoch ms."""

    @abstractmethod
    def shown(self, content: Content) -> Any:
        """A content as a person writes it: texts, bytes and numbers, in mappings, lists and sets. Not called by lanes.
        Raises ProjectionError, as `put` does."""

    def moments(self, content: Content) -> dict[str, int]:
        """When single fields expire, in epoch ms."""
        return {}


class Captured(Form, ABC):
    """Keys that an application writes. Each is read in one step, and becomes an update of its document."""

    def found(self, reply: Any) -> Any:
        """What Redis says of a key (see stores/redis/lua/types.lua), as `FoundKey.content` has it."""
        return reply

    @abstractmethod
    def members(self, content: Any) -> Mapping[Any, Any]:
        """The raw value of each field. Raises ProjectionError where a key of the right type has none."""

    def name(self, field: EntryField) -> Any:
        """What a field is called in `members`."""
        return field.name

    def taken(self, field: EntryField, raw: Any) -> Any:
        """A raw value as the document gets it; MISSING where it gets none. Raises ProjectionError, by `on_error`."""
        return field.taken(raw)

    @abstractmethod
    def given(self, said: Any) -> Any:
        """`FoundKey.content` of a key that holds what a person writes, in the form that `shown` has. Not called by
        lanes. Raises ValueError for another form, which reads as `what it must be`."""


class CapturedMembers(Captured):
    """Members of keys that an application writes, each of which becomes a document."""

    may_expire: ClassVar[bool] = False
    """Whether Redis removes members by itself, so that one that is gone says nothing of its document."""

    @abstractmethod
    def fields(self, projection: Projection) -> dict[str, FieldSpec]:
        """What its document gets of a member beside the placeholders, as `members` names it."""

    @abstractmethod
    def page(self, key: bytes, cursor: int) -> tuple[Any, ...]:
        """The command that says some members of a key, behind a cursor; 0 begins."""

    @abstractmethod
    def scanned(self, reply: Any) -> tuple[int, Iterable[bytes]]:
        """The next cursor, 0 where there are no more, and the members, of a reply as the driver gives it."""

    @abstractmethod
    def ask(self, key: bytes, member: bytes) -> list[tuple[Any, ...]]:
        """The commands that say what is there of a member."""

    @abstractmethod
    def content(self, replies: list[Any]) -> bytes | None:
        """What they have said, as stores/redis/lua/types.lua says it; None where there is no such member."""

    @abstractmethod
    def each(self, said: Any) -> Mapping[str, bytes]:
        """Members of a key that holds what a person writes, each with its content. Raises ValueError as `given`."""

    def given(self, said: Any) -> Any:
        """All members."""
        return self.each(said)


class Merged(Written, Captured):
    """Keys that both sides write. Fields are compared and written one by one."""

    empty_is_gone: ClassVar[bool] = True
    """Whether a key without a field is the same as no key."""

    @abstractmethod
    def texts(self, encoded: Any) -> tuple[str | bytes, bytes] | None:
        """An encoded field as it goes to Redis, and so that equal values have equal texts; None where there is none."""

    @abstractmethod
    def operation(self, sets: Mapping[str, Any], removed: Sequence[str], *, is_there: bool) -> list[Any]:
        """What sets and removes fields of a key, for `syncd_merge`: code, number of operands, operands."""


def change(code: str, ttl: Any, sets: Mapping[str, Any], removed: Collection[str]) -> list[Any]:
    """An operation that changes a part of a key: code, ttl, n, name, value, ..., m, name, ..."""
    body: list[Any] = [code, ttl, 2 * len(sets)]
    for pair in sets.items():
        body += pair
    body.append(len(removed))
    body += removed
    return body


@dataclass(frozen=True, kw_only=True)
class DataType:
    """One Redis type."""

    name: str
    """In contracts, and in what is recorded of them."""
    redis: str
    """As `TYPE` says it."""
    sample: tuple[str, ...]
    """The shortest command that makes such a key: its name, and what stands behind the key."""
    fields: Form | None = None
    """For a projection with `fields`; None where it must not have them."""
    value: Form | None = None
    """For one with a `value`."""
    member: Form | None = None
    """For one with a `member`."""
    each_member: CapturedMembers | None = None
    """For one with `each: member`."""
    need: Need | None = None
