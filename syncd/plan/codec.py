"""Encoders of fields, built once a contract; and the door to all that turns BSON values into those of Redis.

A builder decides at once what it can without a value. For each value there is left one look-up by its type.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from bson.binary import Binary

from syncd.contract.projection import FieldSpec
from syncd.contract.values import FieldType
from syncd.errors import ProjectionError, SettingsError
from syncd.plan.bson_values import CODEC, Function, NoneType, Table, as_is, in_field, type_name
from syncd.plan.convert import conversion, convert
from syncd.plan.geo import GEO_JSON
from syncd.plan.reverse import from_hash, from_json
from syncd.plan.texts import HASH, JSON, JSON_DEPTH, dump_json, to_hash, to_json
from syncd.plan.vectors import vector_bytes, vector_list, vector_packer

__all__ = [
    "CODEC", "JSON_DEPTH", "OMIT", "as_is", "convert", "dump_json", "from_hash", "from_json", "hash_field",
    "json_field", "to_hash", "to_json", "type_name", "vector_bytes", "vector_list",
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


def hash_field(name: str, spec: FieldSpec, hmac_key: bytes | None) -> HashEncoder:
    """An encoder for a hash field or a plain string: the value found -> text, bytes, or None to leave it out.

    null is left out, or the empty string under `null: keep`. The encoder raises ProjectionError, which names
    the field; the builder raises SettingsError where `mask: hmac` has no key.
    """
    null = "" if spec.null == "keep" else None
    if spec.mask:
        return _guarded(name, _masked(spec, _mask(spec.mask, hmac_key), null))
    if spec.type is None and spec.from_ is not None:
        return _plain(name, Table({**HASH, NoneType: lambda value: null}, HASH.default))
    if spec.type is None:
        return _guarded(name, Table({**HASH, NoneType: lambda value: null}, HASH.default))
    if spec.type == "vector":
        return _guarded(name, _vector(vector_packer(spec.dims or 0, spec.datatype), null))
    return _guarded(name, _converted(_conversion(spec, spec.type), HASH, null))


def json_field(name: str, spec: FieldSpec, hmac_key: bytes | None) -> JsonEncoder:
    """An encoder for a member of a JSON document: the value found -> what `dump_json` takes, or OMIT.

    A field without `type` and `mask` stays as it is (the encoder is `as_is`, unless nulls are omitted), since
    `dump_json` writes every BSON value. Raises as `hash_field` does.
    """
    null = OMIT if spec.null == "omit" else None
    if spec.mask:
        return _guarded(name, _masked(spec, _mask(spec.mask, hmac_key), null))
    if spec.type is None:
        return as_is if null is None else lambda value: OMIT if value is None else value
    if spec.type == "vector":
        dims = spec.dims or 0
        return _guarded(name, _vector(lambda value: vector_list(value, dims), null))
    table = GEO_JSON if spec.type == "geo" else _conversion(spec, spec.type)
    return _guarded(name, _converted(table, JSON, null))


def _conversion(spec: FieldSpec, field_type: FieldType) -> Table:
    return conversion(field_type, exact=spec.round is False)


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


def _masked(spec: FieldSpec, mask: Function, null: Any) -> Table:
    """Convert first, then mask what the hash would have shown. null has nothing to hide, and stays null."""
    if spec.type is None:
        return Table({NoneType: lambda value: null}, mask)
    table = _conversion(spec, spec.type)
    return Table({NoneType: lambda value: null}, lambda value: mask(table[type(value)](value)))


def _mask(kind: str, hmac_key: bytes | None) -> Function:
    if kind == "redact":
        return lambda value: REDACTED
    if kind == "last4":
        return _last4
    if not hmac_key:
        raise SettingsError("`mask: hmac` needs a key; set SYNCD_HMAC_KEY or SYNCD_HMAC_KEY_FILE")
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
