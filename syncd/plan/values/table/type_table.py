"""The reference of types, `docs/reference/types.md`, out of the code that it describes.

`python -m syncd.plan.values.table.type_table > docs/reference/types.md` writes it again.
"""

# ruff: noqa: E501 - Markdown cannot break the lines of a table

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, get_args

from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.model.values import FieldType
from syncd.errors import ProjectionError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.values.codec import dump_json, hash_field, json_field
from syncd.plan.values.table.type_rows import ROWS, Row

_LEFT_OUT, _REFUSED = "left out", "refused"

CONVERSIONS: dict[FieldType, tuple[Any, str, str]] = {
    "string": (42, "anything that has a text; bytes only as UTF-8", "string"),
    "int": (
        3.0,
        "integers; doubles and decimals without a fraction; bools as 1 and 0; text of digits; all within 64 bits",
        "int32 or int64",
    ),
    "long": (3.0, "as `int`", "int64, however small"),
    "double": (
        Decimal128("19.90"),
        "numbers that a double holds exactly or gives back as the same decimal; bools; text of a number",
        "double",
    ),
    "decimal": (0.1, "numbers, doubles by their shortest text; bools; text of a number", "Decimal128"),
    "bool": (1, "bools; the numbers 0 and 1; the texts `true`, `false`, `1`, `0`", "bool"),
    "date": (
        "2020-01-02T05:04:05+02:00",
        "dates; numbers, also as text, as milliseconds since 1970, small ones with a fraction as seconds; ISO 8601 text, without a zone as UTC",
        "Date; a number as milliseconds, a small one with a decimal point as seconds",
    ),
    "epoch": (DatetimeMS(1_577_934_245_678), "as `date`, numbers only as whole milliseconds; gives seconds since 1970, with a fraction where needed", "Date; a number, also as text, as seconds"),
    "epoch_ms": (DatetimeMS(1_577_934_245_678), "as `date`; gives milliseconds since 1970", "Date; a number as milliseconds"),
    "epoch_us": (DatetimeMS(1_577_934_245_678), "as `epoch`; gives microseconds since 1970", "Date; a number as microseconds"),
    "objectId": ("65A1B2C3D4E5F60718293A4B", "ObjectIds; 24 hex digits; 12 bytes", "ObjectId"),
    "uuid": ("12345678-1234-5678-1234-56781234567A", "Binary subtype 4; text in the form 8-4-4-4-12", "Binary subtype 4"),
    "binary": (b"\x01\x02\xff", "Binary of any subtype, with all its bytes", "Binary subtype 0"),
    "json": ({"a": [1, None]}, "anything, as JSON text; in a JSON document a string that holds JSON", "what the text says"),
    "vector": ([0.5, -2], "arrays of `dims` finite numbers; Binary subtype 9 of FLOAT32 or INT8", "array of doubles"),
    "geo": (
        {"type": "Point", "coordinates": [13.4, 52.5]},
        "GeoJSON points; documents with `lon`, `lng` or `longitude` and `lat` or `latitude`; `[lon, lat]`; `lon,lat`; "
        "in JSON also arrays of these, and a MultiPoint",
        "GeoJSON point, or an array of them",
    ),
}  # fmt: skip
"""Of each `type:` an example, what it takes, and what comes back from Redis."""

_HEAD = """\
# Types

The form of every BSON type in Redis. Printed by `python -m syncd.plan.values.table.type_table` with the code that does it; a test
fails when the two differ.

## Without `type:`

The column *comes back with* names the `type:` under which the same value is read back from Redis. Where it is
empty, Redis keeps the content but not the type.

"""

_AFTER_ROWS = """
- A hash field or a string holds text, and raw bytes for binaries. A whole object or array is JSON text; under a `tag`
  index of a hash an array is its elements, joined by the index's `separator`.
- JSON keeps the order of members. Objects and arrays nest up to 127 levels, the most that RedisJSON reads; a
  deeper document becomes a dead letter, `json_too_deep`. On the way back a document nests up to 180 levels, the most
  that MongoDB stores.
- RedisJSON misreads one in eight doubles of 16 or 17 digits by a unit in the last place. syncd writes such a number in
  another way, which it reads exactly. One double in a thousand has none: it is a neighbour in Redis (`0.46663110464745283`
  becomes `0.4666311046474528`). A check takes the two as alike, and both ways that goes nowhere.
- A hash cannot hold null. `null: keep` writes the empty string, which cannot be distinguished from an empty string of the document.
- RediSearch takes `inf` in a numeric field. For NaN or a text it leaves the whole key out of the index.
- What MongoDB stores and its drivers do not distinguish is lost: of a name that stands twice in an object the last counts
  (at the top of a document either may, as MongoDB reads it), of a regular expression flags other than `ilmsux` are left
  out, and an object with `$ref` and `$id` has these first, in this order, and `$db` behind them.
- Dates outside the years 0 to 9999 have ECMAScript's signed years of at least six digits. They go to Redis only.

## With `type:`

A value that cannot be converted without loss becomes a dead letter, `cannot_convert`. Its detail names the field
and both types, never the value. null stays null. `on_error: omit` or `null` of a field leaves such a value out, or
makes it null, in either direction.

"""

_AFTER_CONVERSIONS = """
- **Moments** come in ISO 8601, with any digits of a second (`2026-01-02T03:04:05.123456789Z`, a blank instead of `T`,
  `+02`, `+0200`, ` UTC`, the name of a zone in brackets), or as a number. What a number counts is said by its type:
  coming from Redis seconds under `epoch`, microseconds under `epoch_us`, milliseconds under `epoch_ms` and `date`; in a
  document milliseconds, as for `$toDate`.
- One exception: under `date` and `epoch_ms`, a number with a decimal point below 10^11 is seconds, as Python's
  `time.time()` writes them (`1795909780.2428308`); in a document, a double or decimal that has a fraction. An integer
  always is milliseconds: under `date` one between 10^9 and 10^10, which looks like seconds, is counted in `syncd_field_misfits_total`
  (`1970`) and logged, and `type: epoch` is for it.
- MongoDB holds milliseconds. What is finer is cut off towards 1970, as `$toDate` does; `round: false` makes a dead
  letter of it.
- Coming from Redis, a moment beyond the years 1 to 9999 is a dead letter: drivers cannot read it. So are microseconds
  under `epoch_ms`.
- A vector's numbers are rounded to its `datatype` in a hash, and stay as they are in JSON. Another length is a
  dead letter, `vector_length`; an element that is no number, not finite or too large is one, `vector_element`.
- A position may have an altitude as a third number (RFC 7946). Redis has no place for it: it is left out there, and
  kept on the way to MongoDB. RediSearch takes several points in JSON, and one in a hash: there more are a dead letter.
- On the way back, an element of a vector in a hash that is NaN or infinite is a dead letter as well; JSON text with an
  integer beyond 64 bits is one, `number_too_large`. Other numbers in JSON are doubles, of names that stand twice in an
  object the last counts, and RedisJSON itself makes doubles of larger integers.
- A point lies within 180 degrees of longitude and 85.05112878 of latitude. For any other, RediSearch would leave
  the whole key out of the index.

## Masks

A mask comes after the conversion and hides what a hash would have shown. null has nothing to hide and stays null.

| mask | gives |
|---|---|
| `hmac` | 64 hex digits: HMAC-SHA256 of the value's text, UTF-8, or its bytes, with the key of SYNCD_HMAC_KEY |
| `redact` | `[redacted]` |
| `last4` | `****` and the last four characters; `****` alone for eight characters or fewer, and for bytes, objects and arrays |

## Keys

A placeholder of a key template holds one value as text, as in the column *in a key* above. Two values have the
same text exactly where MongoDB holds them equal, so a key belongs to one `_id`.

| value | text |
|---|---|
| integer, also `1.0` and `NumberDecimal("1.0")`, within 64 bits | digits: `42`, `-7` |
| string | itself, with `%XX` for each UTF-8 byte of `%`, `:`, `{`, `}`, space and control characters |
| string that reads as an integer, 24 lower-case hex digits or a lower-case UUID | first character as `%XX`: `"42"` is `%342` |
| ObjectId | 24 hex digits |
| UUID (Binary subtype 4) | lower case, 8-4-4-4-12 |
| any other number | `%~n~` and its exact decimal, such as `%~n~1.5`; `nan`, `inf`, `-inf` |
| any other type | `%~`, a tag, `~`, and the content, as above |
| object | `%~doc~` and base64url of its BSON, in which equal numbers are made the same |
| array, or a missing field | none: a dead letter, `key_field_type` or `key_field_missing` |

- `:`, `{` and `}` never come out of a value, so what separates placeholders stays unambiguous, and no value makes
  a hash tag of Redis Cluster.
- A placeholder with a star, `{path*}`, may hold `:`, which then stands as it is. One of a template may have one.
- With `key_types` a value has the text that a hash field of that type has, escaped alike. With `key_values: text` nothing is
  escaped, and values are strings unless `key_types` says otherwise; see [keys as applications write
  them](../how-to/keys.md). A value that would not come back as it is has no key: `key_field_type`.
- A path in a template leads through objects, never through arrays.
- Equality is that of MongoDB's own index, without a collation. undefined, which MongoDB refuses as `_id`, is read
  as null.
"""


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD, _table(_ROW_HEADS, map(_row_cells, ROWS)), _AFTER_ROWS]
    parts += [_table(_CONVERSION_HEADS, map(_conversion_cells, get_args(FieldType))), _AFTER_CONVERSIONS]
    return "".join(parts)


_ROW_HEADS = ("BSON", "example", "hash, string", "JSON", "in a key", "comes back with", "note")
_CONVERSION_HEADS = ("`type:`", "takes", "example", "hash, string", "JSON", "comes back as")


def conversion_spec(field_type: FieldType) -> FieldSpec:
    """A field of this type, for the examples."""
    return FieldSpec.model_validate(
        {"from": "v", "type": field_type} | ({"dims": 2} if field_type == "vector" else {})
    )


def _row_cells(row: Row) -> tuple[str, ...]:
    try:
        value = row.value
    except KeyError:
        return (row.type, "", _LEFT_OUT, _LEFT_OUT, _REFUSED, "", row.note)
    spec = FieldSpec.model_validate("v")
    in_hash = _code(hash_field("v", spec, None)(value))
    in_json = _code(dump_json(json_field("v", spec, None)(value)).decode())
    back = _code(row.back) if row.back else ""
    return (row.type, _code(row.shown), in_hash, in_json, _key_cell(value), back, row.note)


def _key_cell(value: Any) -> str:
    try:
        text = encode_key_value(value)
    except ProjectionError:
        return _REFUSED
    return "empty" if text == "" else _code(text if len(text) <= 64 else f"{text[:20]}...{text[-12:]}")


def _conversion_cells(field_type: FieldType) -> tuple[str, ...]:
    value, takes, back = CONVERSIONS[field_type]
    spec = conversion_spec(field_type)
    in_hash = _code(hash_field("v", spec, None)(value))
    in_json = _code(dump_json(json_field("v", spec, None)(value)).decode())
    return (_code(field_type), takes, _code(_example(value)), in_hash, in_json, back)


def _example(value: Any) -> str:
    if isinstance(value, DatetimeMS):
        return 'ISODate("2020-01-02T03:04:05.678Z")'
    if isinstance(value, Decimal128):
        return f'NumberDecimal("{value}")'
    return 'BinData(0, "AQL/")' if isinstance(value, bytes) else dump_json(value).decode()


def _code(cell: str | bytes | None) -> str:
    if cell is None:
        return _LEFT_OUT
    if isinstance(cell, bytes):
        if cell[:1] not in (b"{", b"["):  # JSON text, or the bytes of a binary
            return f"bytes `{cell.hex(' ')}`"
        cell = cell.decode()
    return f"`{cell}`" if cell else "empty"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(markdown())
