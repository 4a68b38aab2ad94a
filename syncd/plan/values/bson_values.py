"""The values that come out of BSON: how they are decoded, what their types are called, dispatch by type."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from bson.binary import Binary, UuidRepresentation
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from syncd.errors import ProjectionError
from syncd.text import escaped

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    # MongoDB takes texts that are not UTF-8. Refused here, one of them would stop all documents beside it.
    unicode_decode_error_handler="surrogateescape",
)
"""Loses nothing: dates keep their 64 bits, binaries their subtype. Every document is decoded with it."""

NoneType = type(None)
UUID_SUBTYPE = 4
VECTOR_SUBTYPE = 9

Function: TypeAlias = Callable[[Any], Any]

_NAMES: dict[type, str] = {
    float: "double",
    str: "string",
    dict: "object",
    list: "array",
    bytes: "binData",
    Binary: "binData",
    ObjectId: "objectId",
    bool: "bool",
    DatetimeMS: "date",
    NoneType: "null",
    Regex: "regex",
    DBRef: "dbRef",
    Code: "javascript",
    int: "int",
    Int64: "long",
    Timestamp: "timestamp",
    Decimal128: "decimal",
    MinKey: "minKey",
    MaxKey: "maxKey",
    # Not out of BSON, but a caller may hold them.
    datetime.datetime: "date",
    uuid.UUID: "binData",
}


class Odd:
    """In the place of a value that the driver cannot read, or reads as another one."""

    @property
    def bson_type(self) -> str:
        """As `type_name`."""
        raise NotImplementedError


def type_name(value: Any) -> str:
    """The name of the value's type as MongoDB's `$type` says it: Python's names mean nothing to people."""
    if isinstance(value, Odd):
        return f"an unreadable {value.bson_type}"
    for kind in type(value).__mro__:
        if kind in _NAMES:
            return _NAMES[kind]
    return "a value of no BSON type"


class Table(dict[type, Function]):
    """Functions by the exact type of their argument: `table[type(value)](value)`.

    A type that BSON does not have (a subclass, such as `SON`) is served by its nearest base. What is left
    goes to `default`, which raises ProjectionError.
    """

    def __init__(self, functions: Mapping[type, Function], default: Function) -> None:
        super().__init__(functions)
        self.default = default

    def __missing__(self, kind: type) -> Function:
        # A BSON type that is left out is refused, though Python calls a bool an int and a Code a str.
        if kind not in _NAMES:
            for base in kind.__mro__[1:]:
                if base in self:
                    return self[base]
        return self.default


def as_is(value: Any) -> Any:
    """The value itself. Tables hold it where nothing is to be done, and builders leave the call out."""
    return value


def unsupported(value: Any) -> NoReturn:
    """The default of a table that covers every BSON type."""
    raise ProjectionError("unsupported_type", f"{type_name(value)} cannot be copied")


def in_field(name: str, error: ProjectionError) -> ProjectionError:
    """The same error, with the field that it is about. A document's own names may be no Unicode."""
    return ProjectionError(error.reason, f"field `{escaped(name)}`: {error.detail}")


def uuid_text(raw: bytes) -> str:
    """16 bytes as the canonical text of a UUID; four times as fast as `str(uuid.UUID(bytes=raw))`."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_uuid(value: Binary) -> bool:
    """Whether this is a UUID in the standard byte order. Subtype 3 is not: nothing says what its order is."""
    return value.subtype == UUID_SUBTYPE and len(value) == 16
