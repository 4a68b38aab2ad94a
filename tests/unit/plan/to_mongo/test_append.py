"""An entry of a stream becomes a document, or says why not."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from syncd.errors import ProjectionError
from syncd.plan.to_mongo.append import AppendPlan, compile_append
from tests.support.contracts import from_redis, model, projection


def plan(fields: Any) -> AppendPlan:
    shape = projection(fields, name="event", type="stream", key="in")
    return compile_append(model(shape, collection="a.b.c", sync=from_redis("append")))


def document(fields: Any, said: dict[bytes, bytes]) -> dict[str, Any]:
    return bson.decode(plan(fields).document("5-1", said).raw)


def test_the_id_is_that_of_the_entry() -> None:
    """And the collection may have dots in its name."""
    assert document({"a": "a"}, {b"a": b"1"}) == {"_id": "in/5-1", "a": "1"}
    assert plan(["a"]).namespace == ("a", "b.c")


def test_fields_go_to_their_paths() -> None:
    """Several into one object; what is missing is left out, with the object that nothing is in."""
    fields = {"a": "x.one", "b": {"from": "x.two", "type": "int"}, "c": "y.z"}
    assert document(fields, {b"a": b"", b"b": b"2", b"d": b"3"}) == {
        "_id": "in/5-1",
        "x": {"one": "", "two": 2},
    }


@pytest.mark.parametrize(
    ("field", "raw", "reason"),
    [
        ({"type": "int"}, b"secret", "cannot_convert"),
        ({"type": "date"}, b"secret", "cannot_convert"),
        ({"type": "json"}, b"{secret", "cannot_convert"),
        ({"type": "json"}, b"18446744073709551615", "number_too_large"),
        ({"type": "json"}, b"[" * 180 + b"]" * 180, "json_too_deep"),
        ({"type": "vector", "dims": 2}, b"\0" * 12, "vector_length"),
        ({}, b"secret\xff", "not_unicode"),
        ({"type": "binary"}, bytes(17_000_000), "document_too_large"),
    ],
)
def test_what_does_not_fit_says_why(field: dict[str, Any], raw: bytes, reason: str) -> None:
    """With the name of the field where one is to blame, and never with its value."""
    with pytest.raises(ProjectionError) as caught:
        document({"a": {"from": "a", **field}}, {b"a": raw})
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)
    if reason not in ("unsupported_type", "document_too_large"):
        assert caught.value.detail.startswith("field a: ")


def test_the_fingerprint_follows_what_is_written() -> None:
    """Another type or path is another plan."""
    assert plan({"a": "a"}).fingerprint == plan(["a"]).fingerprint
    assert plan({"a": "a"}).fingerprint != plan({"a": "b"}).fingerprint
    assert plan({"a": "a"}).fingerprint != plan({"a": {"from": "a", "type": "int"}}).fingerprint
