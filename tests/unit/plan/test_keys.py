"""Keys: one text a value, one value a text, and templates both ways."""

from __future__ import annotations

import base64
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from hypothesis import assume, example, given
from hypothesis import strategies as st

from syncd.contract.model.redis.template import KeyTemplate
from syncd.contract.model.redis.template_overlap import may_be_control
from syncd.errors import ProjectionError
from syncd.plan.keys.templates import (
    decode_key_value,
    encode_key_value,
    key_parser,
    parse_key,
    render,
    scan_pattern,
)
from tests.unit.plan.strategies import decoded, identity, key_values, like_another_type, numbers, text

OID = ObjectId("65a1b2c3d4e5f60718293a4b")
UUID_TEXT = "12345678-1234-5678-1234-567812345678"
UUID = Binary(uuid.UUID(UUID_TEXT).bytes, 4)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (42, "42"),
        (-7, "-7"),
        (Int64(2**63 - 1), "9223372036854775807"),
        ("tt0096463", "tt0096463"),
        ("the-matrix_1999", "the-matrix_1999"),
        ("", ""),
        ("é☃", "é☃"),
        ("a b:c{d}%", "a%20b%3Ac%7Bd%7D%25"),
        ("\0\n\x7f\x85", "%00%0A%7F%C2%85"),
        ("42", "%342"),
        ("-7", "%2D7"),
        ("-0", "-0"),
        ("007", "007"),
        ("1" * 24, "%31" + "1" * 23),
        (str(OID), "%365a1b2c3d4e5f60718293a4b"),
        (str(OID).upper(), "65A1B2C3D4E5F60718293A4B"),
        (UUID_TEXT, "%31" + UUID_TEXT[1:]),
        (OID, "65a1b2c3d4e5f60718293a4b"),
        (UUID, UUID_TEXT),
        (uuid.UUID(UUID_TEXT), UUID_TEXT),
        (1.0, "1"),
        (-0.0, "0"),
        (1.5, "%~n~1.5"),
        (Decimal128("1.50"), "%~n~1.5"),
        (2.0**63, "%~n~9223372036854775808"),
        (float("nan"), "%~n~nan"),
        (Decimal128("NaN"), "%~n~nan"),
        (Decimal128("-Infinity"), "%~n~-inf"),
        (Decimal128("1E+6111"), "%~n~1E+6111"),
        (True, "%~true"),
        (None, "%~null"),
        (DatetimeMS(-1), "%~date~-1"),
        (datetime(1970, 1, 1, tzinfo=UTC), "%~date~0"),
        (b"\xff\xfe", "%~bin0~__4"),
        (Binary(b"", 4), "%~bin4~"),
    ],
)
def test_text_of_a_value(value: Any, expected: str) -> None:
    """The usual is plain, and each value has the text that the reference gives."""
    assert encode_key_value(value) == expected


@given(key_values)
@example({"a": 1, "_id": 2})
@example({"a": [1, 2.5, Decimal128("0.1")]})
def test_values_come_back(value: Any) -> None:
    """Decoding gives a value that MongoDB holds equal to the one encoded."""
    assert identity(decode_key_value(encode_key_value(value))) == identity(decoded(value))


@given(key_values, key_values)
@example({"a": 1, "_id": 2}, {"_id": 2, "a": 1})
@example(0.1, Decimal128("0.1"))
@example(0.1, Decimal128("0.1000000000000000055511151231257827"))
@example(2**53 + 1, float(2**53))
@example(2**63 - 1, float(2**63))
def test_one_text_for_what_is_equal(one: Any, other: Any) -> None:
    """Two values have one text exactly where MongoDB holds them equal."""
    same_text = encode_key_value(decoded(one)) == encode_key_value(decoded(other))
    assert same_text == (identity(decoded(one)) == identity(decoded(other)))


@given(numbers, numbers)
def test_numbers_of_any_type_share_a_text(one: Any, other: Any) -> None:
    """1, 1.0 and NumberDecimal("1.0") are one key, also inside an object; 1 and 1.1 are two."""
    equal = identity(one) == identity(other)
    assert (encode_key_value(one) == encode_key_value(other)) == equal
    assert (encode_key_value({"n": one}) == encode_key_value({"n": other})) == equal


@given(st.one_of(key_values, like_another_type))
def test_no_separator_in_a_text(value: Any) -> None:
    """A text holds neither colon nor brace nor space nor control character."""
    assert not re.search(r"[:{}\x00-\x20\x7f-\x9f]", encode_key_value(value))


@given(st.one_of(text, like_another_type, st.from_regex(r"%~[a-z0-9]{0,5}~?[ -~]{0,10}", fullmatch=True)))
def test_decoding_accepts_one_spelling(spelled: str) -> None:
    """What decodes encodes to the same text again; everything else is a ValueError."""
    try:
        value = decode_key_value(spelled)
    except ValueError:
        return
    assert encode_key_value(value) == spelled


@pytest.mark.parametrize(
    "spelled",
    ["a b", "%41", "%3", "%zz", "%~", "%~n~1", "%~n~1.50", "%~n~1E+99999", "%~n~sNaN", "%~true~", "%~date~x",
     f"%~date~{2**63}", "9" * 19, "9" * 36, "-" + "1" * 23, "%~bin0~_", "%~bin999~", "%~ts~1", "%~re~a",
     "%~re~a~mi", "%~re~a~q", "%~doc~AAAA", "%~doc~" + "A" * 5, "%~doc~FAAAAAQADAAAABAwAAEAAAAAAA"],
)  # fmt: skip
def test_foreign_texts_are_refused(spelled: str) -> None:
    """A text that no value has is a ValueError, so that a foreign key is not taken for one of syncd's."""
    with pytest.raises(ValueError):
        decode_key_value(spelled)


@pytest.mark.parametrize(("levels", "stored"), [(179, True), (180, False), (250, False)])
def test_a_text_is_as_deep_as_mongodb_stores(levels: int, stored: bool) -> None:
    """No key has the text of a document that is deeper than an `_id` can be."""
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    spelled = f"%~doc~{base64.urlsafe_b64encode(bson.encode({'': value})).decode().rstrip('=')}"
    if stored:
        assert decode_key_value(spelled) == value
    else:
        with pytest.raises(ValueError, match="not the text of a key value"):
            decode_key_value(spelled)


def test_surrogates_are_refused() -> None:
    """Half of a surrogate pair gives a ProjectionError, also inside an object."""
    for value in ("\ud800", {"a": "\ud800"}):
        with pytest.raises(ProjectionError) as caught:
            encode_key_value(value)
        assert caught.value.reason == "not_unicode"


def _render(template: str, document: dict[str, Any]) -> str:
    return render(KeyTemplate.parse(template))(document)


def test_rendering() -> None:
    """Values stand between the literals; a path leads through objects."""
    assert _render("movie:{_id}", {"_id": 42}) == "movie:42"
    assert _render("{tenant}:u:{_id.nr}", {"tenant": "a:b", "_id": {"nr": OID}}) == f"a%3Ab:u:{OID}"
    assert _render("{{tag}}:{a.b}", {"a": {"b": None}}) == "{tag}:%~null"
    assert _render("fixed", {}) == "fixed"


@pytest.mark.parametrize(
    ("template", "document", "reason", "detail"),
    [
        ("movie:{slug}", {}, "key_field_missing", "field `slug` of key template `movie:{slug}` is missing"),
        ("{a.b}:x", {"a": 1}, "key_field_missing", "field `a.b` of key template `{a.b}:x` is missing"),
        ("{a.b}:x", {"a": {}}, "key_field_missing", "field `a.b` of key template `{a.b}:x` is missing"),
        (
            "{a.b}", {"a": [{"b": 1}]}, "key_field_type",
            "field `a.b` of key template `{a.b}` leads through an array",
        ),
        (
            "{tags}", {"tags": ["x"]}, "key_field_type",
            "field `tags` of key template `{tags}` is an array, and a key needs a single value",
        ),
        (
            "{a.b}", {"a": {"b": []}}, "key_field_type",
            "field `a.b` of key template `{a.b}` is an array, and a key needs a single value",
        ),
    ],
)  # fmt: skip
def test_no_key_without_its_fields(template: str, document: dict[str, Any], reason: str, detail: str) -> None:
    """A missing field and an array make a dead letter that says which field of which template."""
    with pytest.raises(ProjectionError) as caught:
        _render(template, document)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("template", "value"),
    [("{t}:{{cart}}:{_id}", "syncd"), ("{t}:{_id}", "syncd"), ("s{t}:{_id}", "yncd"), ("{t}cd:{_id}", "syn")],
)
def test_no_key_is_one_of_syncd_s_own(template: str, value: str) -> None:
    """Where values make one that begins with `syncd:`, there is no key, and no such key is a document's."""
    with pytest.raises(ProjectionError) as caught:
        _render(template, {"t": value, "_id": "lease"})
    assert caught.value.reason == "control_key"
    parsed = KeyTemplate.parse(template)
    assert parse_key(parsed, template.format(t=value, _id="lease").encode()) is None
    fine = _render(template, {"t": "x", "_id": "lease"})
    assert parse_key(parsed, fine.encode()) == {"t": "x", "_id": "lease"}


@pytest.mark.parametrize(
    "template", ["film:{_id}", "{_id}", "{_id}-syncd:", "syncdata:{_id}", "{{syncd:{_id}}}"]
)
def test_most_templates_never_give_one(template: str) -> None:
    """A key is checked only where values can make one of syncd's own."""
    assert not may_be_control(KeyTemplate.parse(template))


@given(key_values, key_values)
def test_keys_come_back(one: Any, other: Any) -> None:
    """Every key of a template can be taken apart again."""
    template = KeyTemplate.parse("a.b*:{_id}:{x.y}[z]")
    key = render(template)({"_id": decoded(one), "x": {"y": decoded(other)}}).encode()
    parsed = parse_key(template, key)
    assert parsed is not None
    assert identity(parsed["_id"]) == identity(decoded(one))
    assert identity(parsed["x.y"]) == identity(decoded(other))


@pytest.mark.parametrize(
    "key", [b"movie:", b"movie:a:b", b"film:1", b"movie:1 ", b"xmovie:1", b"movie:\xff", b"movie:%41"]
)
def test_foreign_keys_are_told_apart(key: bytes) -> None:
    """A key that the template never renders gives None, but the empty string is a value."""
    parsed = parse_key(KeyTemplate.parse("movie:{_id}"), key)
    assert parsed == ({"_id": ""} if key == b"movie:" else None)


def test_a_path_that_repeats_has_one_value() -> None:
    """A key whose two places for one path differ is foreign."""
    template = KeyTemplate.parse("{_id}:copy:{_id}")
    assert parse_key(template, b"1:copy:1") == {"_id": 1}
    assert parse_key(template, b"1:copy:2") is None


def test_keys_without_separator_are_not_parsed() -> None:
    """Where `a-b-c` could be read in two ways, the parser is refused."""
    with pytest.raises(ValueError, match="nothing separates"):
        key_parser(KeyTemplate.parse("{a}-{b}"))


@given(text, text)
def test_scan_pattern_covers_the_keys(literal: str, value: str) -> None:
    """Redis' glob finds the key, and special characters of the template stand for themselves."""
    assume("{" not in literal and "}" not in literal)
    template = KeyTemplate.parse(f"[*?]\\^{literal}:{{_id}}")
    pattern = scan_pattern(template)
    assert pattern.startswith(r"\[\*\?\]\\\^")
    key = render(template)({"_id": value})
    assert re.fullmatch(_glob(pattern), key, re.DOTALL)


def _glob(pattern: str) -> str:
    """Redis' glob as a regular expression, as far as `scan_pattern` uses it."""
    parts = re.findall(r"\\.|[^\\]", pattern, re.DOTALL)
    return "".join(".*" if part == "*" else re.escape(part[-1]) for part in parts)
