"""Keys that hold elements, which are an array of the document: what lists, sets and sorted sets have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from syncd.errors import ProjectionError
from syncd.plan.misfits import Note
from syncd.plan.paths import MISSING
from syncd.plan.to_mongo.entry_field import EntryField
from syncd.plan.types.base import Captured, Names, Written
from syncd.plan.values.bson_values import in_field, type_name
from syncd.plan.values.texts import NOT_UNICODE, as_bytes, to_hash

if TYPE_CHECKING:
    from syncd.contract.model.redis.projection import FieldSpec, Projection
    from syncd.plan.to_redis.change import Content, Put
    from syncd.plan.to_redis.fields import Encode, Field

NAME = "value"
Element: TypeAlias = Callable[[Any], Any]
"""An element of the array, encoded; None for one that is left out. Raises ProjectionError."""


class ArrayForm(Written, Captured):
    """A key that is one `value` of the contract, written as a whole and in one step."""

    code: ClassVar[str]
    """Of the operation that writes it, see stores/redis/lua/operations/arrays.lua."""

    def field(self, field: Field, projection: Projection, note: Note) -> Field:
        """An array. Each element becomes what it would be in a hash; without the array, or one, there is no key."""
        spec = projection.value
        assert spec is not None
        element, kept = self._element(field.encode, spec, note), _kept(projection)

        def encode(value: Any) -> list[bytes] | None:
            if value is None:
                return None
            if type(value) is not list:
                what = f"{type_name(value)} is not an array"
                left_out(spec, note, in_field(NAME, ProjectionError("not_an_array", what)))
                return None
            return self._joined(_encoded(element, value, kept))

        return field._replace(encode=encode, plain=False)

    def _element(self, encode: Encode, spec: FieldSpec, note: Note) -> Element:
        return lambda value: in_bytes(encode(value))

    @abstractmethod
    def _joined(self, encoded: list[Any]) -> list[bytes]:
        """Encoded elements as operands of the call. Raises ProjectionError."""

    def content(self, fields: dict[str, Any]) -> Content | None:
        """The operands; where the array is missing there is no key."""
        operands: Content | None = fields.get(NAME)
        return operands

    def can_hold(self, content: Content | None) -> bool:
        """Redis holds no key without elements."""
        return bool(content)

    def put(self, content: Content, ttl: int) -> Sequence[Any]:
        """Code, ttl, number of operands, operands."""
        return [self.code, ttl, len(content), *content]

    def differing(self, write: Put, found: Any) -> Names:
        """All elements are one value."""
        return () if self._is_same(write.content, found) else (NAME,)

    @abstractmethod
    def _is_same(self, wanted: Any, found: list[bytes]) -> bool:
        """Whether a key holds what these operands make of it; `found` as Redis replies to `read`."""

    def shown(self, content: Content) -> Any:
        """A list of bytes."""
        return list(content)

    def given(self, said: Any) -> Any:
        """A list of bytes. What is no text is written as a field of a document would be."""
        if not isinstance(said, list) or not said:
            raise ValueError("a list of elements")
        return [as_bytes(to_hash(element)) for element in said]

    def members(self, content: Any) -> Mapping[Any, Any]:
        """All elements, by the name of the value."""
        return {NAME.encode(): content}

    def taken(self, field: EntryField, raw: Any) -> Any:
        """An array. What does not fit may be left out of it."""
        return taken_elements(field, raw)


def _kept(projection: Projection) -> slice:
    """The part of the array that the key holds."""
    keep = projection.keep
    if keep is None:
        return slice(None)
    return slice(keep.first) if keep.last is None else slice(-keep.last, None)


def _encoded(element: Element, array: list[Any], kept: slice) -> list[Any]:
    found = []
    for at in range(*kept.indices(len(array))):
        try:
            encoded = element(array[at])
        except ProjectionError as error:
            detail = f"element {at}: {error.detail.removeprefix(_IN_VALUE)}"
            raise in_field(NAME, ProjectionError(error.reason, detail)) from None
        if encoded is not None:
            found.append(encoded)
    return found


_IN_VALUE = f"field `{NAME}`: "


def left_out(spec: FieldSpec, note: Note, error: ProjectionError) -> None:
    """What does not fit is left out, where the contract says so. Raises the error where it does not."""
    if spec.on_error == "letter":
        raise error
    note("omitted")


def in_bytes(encoded: str | bytes | None) -> bytes | None:
    """An encoded element, as Redis gives it back. Raises ProjectionError: `not_unicode`."""
    try:
        return encoded.encode() if isinstance(encoded, str) else encoded
    except UnicodeEncodeError:
        raise ProjectionError("not_unicode", NOT_UNICODE) from None


def taken_elements(field: EntryField, raw: Iterable[bytes]) -> list[Any]:
    """ArrayForm by the field's type, without those that are left out."""
    return [taken for element in raw if (taken := field.taken(element)) is not MISSING]
