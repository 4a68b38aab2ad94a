"""Keys as applications write them: into fields and back, unchanged, and no two keys for one document."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.contract.model.redis.template import KeyTemplate
from syncd.contract.model.values import KeyType
from syncd.errors import ProjectionError
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.keys.templates import parse_key, render
from syncd.plan.to_mongo.state import FoundKey, StatePlan
from tests.support.scale import SCALE
from tests.unit.plan.strategies import decoded, identity, key_values, like_another_type, text
from tests.unit.plan.to_mongo.test_state import plan

KEYS = 120 * SCALE
TYPES = st.sampled_from([None, *get_args(KeyType)])
VALUES = st.sampled_from(["encoded", "text"])
PARTS = st.one_of(
    like_another_type,
    text,
    st.text("01-+.e:%{} aF", max_size=6),
    st.sampled_from(["1", "01", "1.0", "1.00", "-0", "0.0", "-0.0", "1e3", "NaN", "true", "1", "inf"]),
    st.sampled_from(["1795909779.78", "1795909780.2428308", "1795909779780", "2026-11-29T10:00:00Z"]),
    st.sampled_from(["9de792cd", "12345678", "0" * 24, "A" * 24, "65a1b2c3d4e5f60718293a4b"]),
)
LAYOUTS = ["k:{a}", "k:{a*}", "{a}:{b}", "k:{a*}:{b}", "{a}:x{b*}:{c}", "k:{_id}", "k:{_id*}:z", "{{{_id}}}"]


def _plan(key: str, values: str, types: dict[str, str]) -> StatePlan:
    names = KeyTemplate.parse(key).paths
    types = {name: kind for name, kind in types.items() if name in names}
    return plan(key=key, fields=["n"], key_values=values, key_types=types)


def _filled(key: str, parts: list[str]) -> bytes:
    literals = KeyTemplate.parse(key).literals
    return (literals[0] + "".join(p + rest for p, rest in zip(parts, literals[1:], strict=False))).encode()


@given(
    st.sampled_from(LAYOUTS), VALUES, st.fixed_dictionaries({"a": TYPES, "b": TYPES, "_id": TYPES}),
    st.lists(st.lists(PARTS, min_size=3, max_size=3), min_size=2, max_size=6),
)  # fmt: skip
@settings(max_examples=KEYS, deadline=None)
def test_a_key_that_fits_comes_back(
    key: str, values: str, types: dict[str, str | None], several: list[list[str]]
) -> None:
    """Key, fields, key: nothing changes; and of all keys no two have one `_id`."""
    shape = _plan(key, values, {name: kind for name, kind in types.items() if kind})
    seen: dict[str, bytes] = {}
    for found in {_filled(key, parts) for parts in several}:
        if not shape.owns(found):
            assert shape.why_not(found)
            continue
        document_id = shape.document_id(found)
        assert shape.key(document_id) == found
        assert seen.setdefault(encode_key_value(document_id), found) == found
        update = shape.update_of(found, FoundKey("hash", {}, None))
        assert set(update.set) == set(shape.key_paths)


@given(st.sampled_from([*LAYOUTS[:5], "m:{_id}", "m:{_id*}"]), VALUES, TYPES, key_values, key_values)
@settings(max_examples=KEYS, deadline=None)
def test_a_document_is_found_by_its_key(
    key: str, values: Any, kind: KeyType | None, one: Any, other: Any
) -> None:
    """Document, key, document: the same values, or no key at all."""
    paths = KeyTemplate.parse(key).paths
    template = KeyTemplate.parse(key).having(values, {paths[0]: kind} if kind else {})
    document = dict(zip("abc", (decoded(one), decoded(other), "x"), strict=True)) | {"_id": decoded(one)}
    try:
        rendered = render(template)(document)
    except ProjectionError as error:
        assert error.reason in ("key_field_type", "not_unicode")
        return
    assert template.fits(rendered.encode())
    parsed = parse_key(template, rendered.encode())
    assert parsed is not None
    for path in paths:
        assert identity(parsed[path]) == identity(document[path])


@pytest.mark.parametrize(
    ("key", "said", "wanted"),
    [
        (
            "support:s-7:1795909779.78:9de792cd",
            {},
            {"session": "s-7", "at": "1795909779.78", "nonce": "9de792cd"},
        ),
        ("support:a b%:1:12345678", {}, {"session": "a b%", "at": "1", "nonce": "12345678"}),
        (
            "support:s:1795909780.2428308:1",
            {"key_types": {"at": "epoch", "nonce": "int"}},
            {"session": "s", "at": DatetimeMS(1795909780242), "nonce": 1},
        ),
    ],
)
def test_parts_become_fields(key: str, said: dict[str, Any], wanted: dict[str, Any]) -> None:
    """As they stand, strings unless a type is said, beside the whole key as the `_id`."""
    shape = plan(key="support:{session}:{at}:{nonce}", fields=["n"], key_values="text", **said)
    assert shape.document_id(key.encode()) == key
    update = shape.update_of(key.encode(), FoundKey("hash", {b"n": b"1"}, None))
    assert update.set == {**wanted, "n": "1"}


@pytest.mark.parametrize(
    ("key", "said", "why"),
    [
        (b"support:a:b:c:d", {}, "a value would hold a `:`"),
        (b"support:a:b", {}, "fewer parts"),
        (b"support:a:\xff:c", {}, "not UTF-8"),
        (b"support:a b:1:c", {}, "`key_values: text` takes it as it stands"),
        (b"support:a:x:c", {"key_types": {"at": "epoch"}}, "at: "),
        (b"support:{a}:1:c", {}, "a brace"),
    ],
)
def test_what_does_not_fit_says_why(key: bytes, said: dict[str, Any], why: str) -> None:
    """And never what stood in the key."""
    shape = plan(key="support:{session}:{at}:{nonce}", fields=["n"], **said)
    assert why in shape.why_not(key)
    assert "d`" not in shape.why_not(key)


def test_an_id_with_a_type_has_one_text() -> None:
    """`007` would be the document of `7`: it does not fit, and neither does another spelling of a UUID."""
    shape = plan(key="k:{_id}", fields=["n"], key_types={"_id": "int"})
    assert shape.document_id(b"k:7") == 7
    assert "not the usual text" in shape.why_not(b"k:007")
    unique = plan(key="k:{_id}", fields=["n"], key_types={"_id": "uuid"})
    assert unique.owns(b"k:0b0b0b0b-0000-4000-8000-00000000000a")
    assert not unique.owns(b"k:0B0B0B0B-0000-4000-8000-00000000000A")
    hexadecimal = plan(key="k:{_id}", fields=["n"], key_types={"_id": "string"})
    assert [hexadecimal.document_id(key) for key in (b"k:12345678", b"k:9de792cd")] == [
        "12345678",
        "9de792cd",
    ]


def test_keys_of_syncd_belong_to_no_contract() -> None:
    """Also where a template would take them."""
    shape = plan(key="{_id*}", fields=["n"], key_values="text")
    assert shape.owns(b"anything: at all")
    assert not shape.owns(b"syncd:{a}:position")
