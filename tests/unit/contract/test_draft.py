"""Drafts of contracts from samples of documents."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from bson.binary import BinaryVectorDtype
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.contract.draft.draft import contract_name, draft, quoted
from syncd.contract.draft.seen_paths import survey
from syncd.contract.read.load import load_contract_set
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.yaml import read_source

FILM = {
    "_id": 1,
    "title": "Metropolis",
    "release": {"year": 1927, "at": datetime.datetime(1927, 1, 10)},
    "genres": ["drama"],
    "embedding": [0.5] * 16,
    "contact": {"email": "someone@example.org"},
}


def drafted(*documents: dict[str, Any]) -> str:
    return draft("films", "catalog.films", survey(documents))


def loaded(directory: Path, text: str) -> LoadedContract:
    (directory / "films.yaml").write_text(text)
    (contract,) = load_contract_set(directory, {}).contracts
    return contract


def line_of(text: str, name: str) -> str:
    (line,) = [line.strip() for line in text.splitlines() if re.match(rf"\s+(# )?{re.escape(name)}: ", line)]
    return line


def test_a_draft_loads_as_it_is(tmp_path: Path) -> None:
    """Scalars are fields of a hash, also those in subdocuments."""
    contract = loaded(tmp_path, drafted(FILM)).contract
    assert contract.mongo.collection == "catalog.films"
    (projection,) = contract.redis
    assert projection.key == "films:{_id}"
    assert {name: spec.from_ for name, spec in (projection.fields or {}).items()} == {
        "title": "title",
        "release_year": "release.year",
        "release_at": "release.at",
    }


def test_a_draft_loads_without_its_comment_signs(tmp_path: Path) -> None:
    """Suggestions are contracts too: the vector search, arrays, masks, filter, ttl."""
    text = re.sub(
        r"^(\s*)# (?!yaml-language|A draft|`syncd|Search)", r"\1", drafted(FILM), flags=re.MULTILINE
    )
    main, search = loaded(tmp_path, text).contract.redis
    assert main.fields is not None
    assert main.fields["contact_email"].mask == "hmac"
    assert main.fields["genres"].type == "json"
    assert search.index is not None
    assert search.index.name == "films-search"


def test_types_are_told_with_their_share_of_the_documents() -> None:
    """100% only where all have it."""
    documents = [{"_id": n, "a": "x" if n else 5, "b": None} for n in range(300)] + [{"_id": 300}]
    text = drafted(*documents)
    assert line_of(text, "a") == "a: a   # string 99%, int <1%"
    assert line_of(text, "b") == "b: b   # null 99%"
    assert "# A draft from 301 sampled documents." in text


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Int64(1), "long"), (1, "int"), (1.5, "double"), (Decimal128("1"), "decimal"), (True, "bool"),
        (ObjectId(), "objectId"), (b"x", "binData"), (Binary(b"x" * 16, 4), "uuid"), (None, "null"),
        (datetime.datetime(2024, 1, 1), "date"), ([1, "a"], "array of int/string"), ([], "array"), ({}, "object"),
    ],
)  # fmt: skip
def test_types_have_the_names_of_mongodb(value: Any, name: str) -> None:
    """Those that `$type` takes."""
    assert line_of(drafted({"a": value}), "a").endswith(f"   # {name} 100%")


@pytest.mark.parametrize(
    ("vectors", "dims"),
    [
        ([[0.5] * 16, [1] * 16], 16),
        ([[0.5] * 16, None], 16),
        ([Binary.from_vector([0.5] * 32, BinaryVectorDtype.FLOAT32)], 32),
        ([[0.5] * 16, [0.5] * 17], None),
        ([[0.5] * 15], None),
        ([["a"] * 16], None),
        ([[True] * 16], None),
        ([[0.5] * 16, "none"], None),
    ],
)
def test_a_vector_is_an_array_of_numbers_of_one_length(vectors: list[Any], dims: int | None) -> None:
    """Of at least 16; a search by vector is suggested for it."""
    text = drafted(*({"v": vector} for vector in vectors))
    assert ("type: vector, dims:" in line_of(text.split("# Search")[0], "v")) is (dims is not None)
    assert (f"attrs: {{dims: {dims}, algorithm: hnsw, distance_metric: cosine}}" in text) is (
        dims is not None
    )


def test_no_value_of_a_document_is_in_a_draft() -> None:
    """Neither text, number, nor the names in a map, which are data."""
    secret = "s3cr3t"
    documents = [
        {"_id": secret, "a": secret, "b": [secret], "c": {"d": secret}, "n": 271828, "m": {f"{secret}{n}": 1}}
        for n in range(60)
    ]
    text = drafted(*documents)
    assert secret not in text
    assert "271828" not in text


def test_names_that_no_path_can_hold_are_told() -> None:
    """A dot, a dollar in front, or nothing."""
    text = drafted({"a.b": 1, "$c": 1, "": 1, "d": {"e.f": 1}})
    told = [line.split("name ")[1].split(":")[0] for line in text.splitlines() if "no path can name" in line]
    assert told == ['""', '"$c"', "a.b", "d.e.f"]


def test_names_in_redis_are_never_the_same(tmp_path: Path) -> None:
    """`a.b` and `a_b` would both be a_b."""
    fields = loaded(tmp_path, drafted({"a_b": 1, "a": {"b": 2}, "a-b": 3})).contract.redis[0].fields
    assert fields is not None
    assert {name: spec.from_ for name, spec in fields.items()} == {
        "a_b": "a_b",
        "a_b_2": "a.b",
        "a_b_3": "a-b",
    }


def test_a_collection_of_arrays_has_its_id_as_a_field(tmp_path: Path) -> None:
    """A hash needs one."""
    assert list(loaded(tmp_path, drafted({"_id": 1, "a": [1]})).contract.redis[0].fields or {}) == ["_id"]


@pytest.mark.parametrize(
    ("collection", "name"),
    [("Movies", "movies"), ("a.b_c", "a-b-c"), ("--", "contract"), ("x" * 99, "x" * 63)],
)
def test_a_contract_is_called_like_its_collection(collection: str, name: str) -> None:
    """As far as a name may hold it."""
    assert contract_name(collection) == name


@given(st.text(st.characters(codec="utf-8"), max_size=12) | st.text('${}A"\n', max_size=8))
def test_quoted_text_is_read_as_it_was(text: str) -> None:
    """On one line, whatever is in it, `${` too."""
    assert "\n" not in quoted(text)
    source, problems = read_source("f", f"a: {quoted(text)}  # comment".encode(), {})
    assert problems == []
    assert source is not None
    assert source.value == {"a": text}


names = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["null", "a", "email", "${A}"])
values = st.recursive(
    st.sampled_from([1, "x", None, 1.5, True, [0.5] * 16]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("draft")


@given(st.lists(st.dictionaries(names, values, max_size=4), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_documents_make_a_contract_that_loads(directory: Path, documents: list[dict[str, Any]]) -> None:
    """Whatever their fields are called."""
    assert loaded(directory, drafted(*documents)).contract.redis[0].fields
