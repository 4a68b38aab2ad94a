"""Encoders of fields, built once a contract; and the door to all that turns BSON values into those of Redis.

A builder decides at once what it can without a value. What is left for each value is one look-up by its type.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from bson.binary import Binary
from bson.int64 import Int64

from syncd.contract.model.redis.indexes import IndexField
from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.model.redis.redis_types import IN_HASH
from syncd.contract.model.values import FieldType
from syncd.errors import ProjectionError, SettingsError
from syncd.plan.misfits import Note, unnoted
from syncd.plan.to_mongo.reverse import from_hash, from_json
from syncd.plan.values.bson_values import CODEC, Function, NoneType, Table, as_is, in_field, type_name
from syncd.plan.values.convert import conversion, convert
from syncd.plan.values.geo import GEO_JSON
from syncd.plan.values.moments import looks_like_seconds
from syncd.plan.values.searchable import joiner, label_separator, takes_json, takes_text
from syncd.plan.values.texts import (
    HASH,
    JSON,
    JSON_DEPTH,
    dump_json,
    json_text,
    to_hash,
    to_json,
    unicode_text,
)
from syncd.plan.values.vectors import vector_bytes, vector_list, vector_packer

__all__ = [
    "CODEC", "JSON_DEPTH", "OMIT", "as_is", "convert", "dump_json", "from_hash", "from_json", "hash_field",
    "json_field", "json_text", "to_hash", "to_json", "type_name", "vector_bytes", "vector_list",
]  # fmt: skip

REDACTED = "[redacted]"
HIDDEN = "****"
_SHORTEST_SHOWN = 9
"""Characters from which `last4` shows four of them; of a shorter text that would be half or more."""

HashEncoder: TypeAlias = Callable[[Any], str | bytes | None]
JsonEncoder: TypeAlias = Callable[[Any], Any]


class _Omit:
    """A field that is to be left out of a JSON document, where None is null."""

    def __repr__(self) -> str:
        return "OMIT"


OMIT: Final = _Omit()


def hash_field(
    name: str,
    spec: FieldSpec,
    hmac_key: bytes | None,
    entries: Sequence[IndexField] = (),
    note: Note = unnoted,
) -> HashEncoder:
    """An encoder for a hash field or a plain string: the value found -> text, bytes, or None to leave it out.

    null is left out, or the empty string under `null: keep`. `entries` of a search index read the field. The encoder
    raises ProjectionError, which names the field, unless `on_error` says otherwise; the builder raises SettingsError
    where `mask: hmac` has no key.
    """
    null = "" if spec.null == "keep" else None
    encode = _strict_hash_field(name, spec, hmac_key, null, _joins(spec, entries, note), note)
    if spec.on_error == "letter":
        return encode
    return _lenient(
        _as_unicode(encode), takes_text(entries), None if spec.on_error == "omit" else null, spec, note
    )


def _as_unicode(encode: HashEncoder) -> HashEncoder:
    """Text that is no Unicode is found here, and not with the whole document."""

    def run(value: Any) -> Any:
        encoded = encode(value)
        return unicode_text(encoded) if type(encoded) is str else encoded

    return run


def _joins(spec: FieldSpec, entries: Sequence[IndexField], note: Note) -> dict[type, Function]:
    """How an array becomes labels, where it does."""
    separator = label_separator(IN_HASH, entries)
    joined = separator is not None and spec.type in (None, "string") and not spec.mask
    return {list: joiner(separator, note)} if joined and separator else {}


def _strict_hash_field(
    name: str, spec: FieldSpec, hmac_key: bytes | None, null: Any, joins: dict[type, Function], note: Note
) -> HashEncoder:
    if spec.mask:
        return _guarded(name, _masked(spec, _mask(spec.mask, hmac_key), null, note))
    if spec.type is None and spec.from_ is not None:
        return _plain(name, Table({**HASH, **joins, NoneType: lambda value: null}, HASH.default))
    if spec.type is None:
        return _guarded(name, Table({**HASH, **joins, NoneType: lambda value: null}, HASH.default))
    if spec.type == "vector":
        return _guarded(name, _vector(vector_packer(spec.dims or 0, spec.datatype), null))
    table = _converted(_conversion(spec, spec.type, note), HASH, null)
    return _guarded(name, Table({**table, **joins}, table.default))


def json_field(
    name: str,
    spec: FieldSpec,
    hmac_key: bytes | None,
    entries: Sequence[IndexField] = (),
    note: Note = unnoted,
) -> JsonEncoder:
    """An encoder for a member of a JSON document: the value found -> what `dump_json` takes, or OMIT.

    A field without `type` and `mask` stays as it is (the encoder is `as_is`, unless nulls are omitted), since
    `dump_json` writes every BSON value. Raises as `hash_field` does.
    """
    null = OMIT if spec.null == "omit" else None
    encode = _strict_json_field(name, spec, hmac_key, null, note)
    if spec.on_error == "letter":
        return encode
    instead = OMIT if spec.on_error == "omit" else null
    return _lenient(_checked(name, encode), takes_json(entries), instead, spec, note)


def _checked(name: str, encode: JsonEncoder) -> JsonEncoder:
    """What cannot be written as JSON is found here, and not with the whole document."""

    def run(value: Any) -> Any:
        encoded = encode(value)
        if encoded is not OMIT:
            dump_json({name: encoded})
        return encoded

    return run


def _lenient(encode: Function, fits: Function, instead: Any, spec: FieldSpec, note: Note) -> Function:
    """`instead` of what does not fit, or what a search index would not take; null fits always."""
    became = "omitted" if spec.on_error == "omit" else "null"

    def run(value: Any) -> Any:
        try:
            encoded = encode(value)
            if value is None or encoded is OMIT or fits(encoded):
                return encoded
        except ProjectionError:
            pass
        note(became)
        return instead

    return run


def _strict_json_field(
    name: str, spec: FieldSpec, hmac_key: bytes | None, null: Any, note: Note
) -> JsonEncoder:
    if spec.mask:
        return _guarded(name, _masked(spec, _mask(spec.mask, hmac_key), null, note))
    if spec.type is None:
        return as_is if null is None else lambda value: OMIT if value is None else value
    if spec.type == "vector":
        dims = spec.dims or 0
        return _guarded(name, _vector(lambda value: vector_list(value, dims), null))
    table = GEO_JSON if spec.type == "geo" else _conversion(spec, spec.type, note)
    return _guarded(name, _converted(table, JSON, null))


def _conversion(spec: FieldSpec, field_type: FieldType, note: Note) -> Table:
    table = conversion(field_type, exact=spec.round is False)
    if field_type != "date":
        return table

    def noted(function: Function) -> Function:
        def run(value: Any) -> Any:
            if looks_like_seconds(value):
                note("1970")
            return function(value)

        return run

    return Table({**table, **{kind: noted(table[kind]) for kind in (int, Int64, str)}}, table.default)


def _plain(name: str, table: Table) -> HashEncoder:
    def encode(value: Any) -> str | bytes | None:
        kind = type(value)
        if kind is str:  # the commonest, and what comes out of BSON is valid UTF-8
            text: str = value
            return text
        try:
            encoded: str | bytes | None = table[kind](value)
        except ProjectionError as error:
            raise in_field(name, error) from None
        return encoded

    return encode


def _guarded(name: str, table: Table) -> Function:
    """Encode by the table, and name the field in what it raises."""

    def encode(value: Any) -> Any:
        try:
            return table[type(value)](value)
        except ProjectionError as error:
            raise in_field(name, error) from None

    return encode


def _converted(table: Table, finish: Table, null: Any) -> Table:
    """Conversion and encoding as one table, so that a value already of the right type costs one call."""

    def chain(function: Function) -> Function:
        def run(value: Any) -> Any:
            converted = function(value)
            return finish[type(converted)](converted)

        return run

    functions = {kind: finish[kind] if step is as_is else chain(step) for kind, step in table.items()}
    return Table({**functions, NoneType: lambda value: null}, table.default)


def _vector(encode: Function, null: Any) -> Table:
    return Table({NoneType: lambda value: null, list: encode, Binary: encode}, encode)


def _masked(spec: FieldSpec, mask: Function, null: Any, note: Note) -> Table:
    """Convert first, then mask what the hash would have shown. null has nothing to hide, and stays null."""
    if spec.type is None:
        return Table({NoneType: lambda value: null}, mask)
    table = _conversion(spec, spec.type, note)
    return Table({NoneType: lambda value: null}, lambda value: mask(table[type(value)](value)))


def _mask(kind: str, hmac_key: bytes | None) -> Function:
    if kind == "redact":
        return lambda value: REDACTED
    if kind == "last4":
        return _last4
    if not hmac_key:
        remedy = "set SYNCD_HMAC_KEY or SYNCD_HMAC_KEY_FILE, such as to what `openssl rand -hex 32` prints"
        raise SettingsError(f"`mask: hmac` needs a key; {remedy}")
    key = hmac_key

    def digest(value: Any) -> str:
        text = to_hash(value)
        raw = text.encode(errors="surrogateescape") if isinstance(text, str) else text
        return hmac.digest(key, raw, "sha256").hex()

    return digest


def _last4(value: Any) -> str:
    text = to_hash(value)
    shown = isinstance(text, str) and len(text) >= _SHORTEST_SHOWN
    return HIDDEN + str(text)[-4:] if shown else HIDDEN
