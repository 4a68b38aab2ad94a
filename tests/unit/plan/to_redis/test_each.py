"""Elements of an array as documents of their own: which values they see, and which keys they have."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.errors import ProjectionError
from syncd.plan.misfits import Misfits
from syncd.plan.to_redis.change import Drop, Elements
from syncd.plan.to_redis.each import MOST_ELEMENTS, EachShape, shape_of
from syncd.plan.to_redis.shape import Shape
from tests.support.contracts import model, projection

TIME = "0" * 16


def shape(fields: Any, key: str, each: str = "a.parts", **more: Any) -> Shape:
    said = projection(fields, type=more.pop("type", "json"), key=key, each=each, **more)
    return shape_of(model(said).redis[0], None, Misfits())


def made(of: Shape, document: dict[str, Any]) -> dict[str, Any]:
    """Content by key."""
    found = of.put("1", {"_id": 1, **document}, TIME)
    return {put.key: put.content for put in found.puts} if isinstance(found, Elements) else {}


def test_what_an_element_sees() -> None:
    """Its own values below the path of the array, those of its document elsewhere, beside the array too; an expression
    sees the same."""
    fields = {
        "title": "title", "lang": "a.lang", "text": "a.parts.text", "whole": "a.parts",
        "label": {"expr": "join(' ', [title, a.parts.text])"}, "deep": "a.parts.tags.0",
    }  # fmt: skip
    one, other = {"id": 1, "text": "x", "tags": ["t", "u"]}, {"id": "1", "text": "y", "tags": []}
    found = made(
        shape(fields, "p:{_id}:{a.parts.id}"), {"title": "T", "a": {"lang": "en", "parts": [one, other]}}
    )
    common = {"title": "T", "lang": "en"}
    assert found == {
        "p:1:1": {**common, "text": "x", "whole": one, "label": "T x", "deep": "t"},
        "p:1:%31": {**common, "text": "y", "whole": other, "label": "T y"},
    }


@pytest.mark.parametrize(
    "document", [{}, {"a": None}, {"a": 5}, {"a": {}}, {"a": {"parts": None}}, {"a": {"parts": []}}]
)
def test_no_elements(document: dict[str, Any]) -> None:
    """An array that is missing, null or empty, or has no object around it: the keys that were there go."""
    of = shape({"text": "a.parts.text"}, "p:{_id}:{a.parts.#}")
    assert of.put("1", {"_id": 1, **document}, TIME) == Drop(of, "1", None)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"id": 1}, "not_an_array"), ("x", "not_an_array"), (0, "not_an_array"),
        ([1, 2, 1], "equal_keys"), ([1, 1.0], "equal_keys"), ([[1]], "key_field_type"),
        (list(range(MOST_ELEMENTS + 1)), "too_many_elements"),
    ],
)  # fmt: skip
def test_what_does_not_fit(parts: Any, reason: str) -> None:
    """The reason, and never a value; the keys of those that fit are known all the same."""
    of = shape({"value": "a.parts"}, "p:{_id}:{a.parts}")
    with pytest.raises(ProjectionError) as told:
        of.put("1", {"_id": 1, "a": {"parts": parts}}, TIME)
    assert told.value.reason == reason
    if parts == [1, 2, 1]:
        assert of.keys({"_id": 1, "a": {"parts": parts}}) == {"p:1:1", "p:1:2"}


def test_an_array_around_the_array() -> None:
    """Which of the arrays would be meant is not known."""
    of = shape({"value": "a.parts"}, "p:{_id}:{a.parts}")
    with pytest.raises(ProjectionError, match="leads through an array"):
        of.put("1", {"_id": 1, "a": [{"parts": [1]}]}, TIME)


def test_elements_of_any_kind() -> None:
    """Values, nulls, arrays and objects, by their position; a hash without a field is no key."""
    values = [1, None, "x", [1, 2], {"b": 1}]
    assert made(shape({"v": "a.parts"}, "p:{_id}:{a.parts.#}"), {"a": {"parts": values}}) == {
        f"p:1:{position}": {"v": value} for position, value in enumerate(values)
    }
    hashes = made(shape({"v": "a.parts"}, "p:{_id}:{a.parts.#}", type="hash"), {"a": {"parts": values}})
    assert list(hashes) == ["p:1:0", "p:1:2", "p:1:3", "p:1:4"]


def test_keys_as_applications_write_them() -> None:
    """With `key_values: text` and `key_types`, and an id that holds the separator."""
    of = shape(
        {"v": "a.parts.v"}, "p:{a.parts.at}:{a.parts.#}:{a.parts.id*}", key_values="text",
        key_types={"a.parts.at": "int"},
    )  # fmt: skip
    assert list(made(of, {"a": {"parts": [{"at": 5, "id": "b:c"}, {"at": 6, "id": "{}"}]}})) == [
        "p:5:0:b:c",
        "p:6:1:{}",
    ]


def test_what_is_read_of_a_document() -> None:
    """The array as a whole, or MongoDB would leave out elements that are no objects; of the rest what is named."""
    of = shape(
        {"t": "title", "v": "a.parts.v", "l": "a.lang"},
        "p:{_id}:{a.parts.id}",
        ttl={"field": "a.parts.until"},
    )
    assert isinstance(of, EachShape)
    assert of.reads == {"_id", "title", "a.parts", "a.lang"}
    assert of.deltas is None
