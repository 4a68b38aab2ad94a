"""Whether one filter lets through all that another does."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.contract.diff.filters import is_wider

A, B = {"status": "live"}, {"year": {"$gt": 1990}}
WIDER: dict[str, tuple[Any, Any]] = {
    "none in the place of one": (A, None),
    "one condition fewer": (A | B, A),
    "a condition of an $and fewer": ({"$and": [A, B]}, B),
    "one operator fewer": ({"year": {"$gt": 1990, "$lt": 2000}}, B),
    "one more value": ({"a": {"$in": [1, 2]}}, {"a": {"$in": [2, 1, 3]}}),
    "several values in the place of one": (A, {"status": {"$in": ["live", "old"]}}),
    "the same in other words": ({"$and": [A, B]}, {**B, **A}),
}
NOT_WIDER: dict[str, tuple[Any, Any]] = {
    "one in the place of none": (None, A),
    "one condition more": (A, A | B),
    "one value fewer": ({"a": {"$in": [1, 2]}}, {"a": {"$in": [1]}}),
    "another value": ({"a": 1}, {"a": 2}),
    "true is not one": ({"a": 1}, {"a": True}),
    "the order in a document": ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}),
    "other options of an expression": ({"a": {"$regex": "x", "$options": "i"}}, {"a": {"$regex": "x"}}),
    "what cannot be told": ({"$or": [A, B]}, {"$or": [A, B, {"c": 1}]}),
    "the other way round": ({"a": {"$nin": [1]}}, {"a": {"$nin": [1, 2]}}),
}


@pytest.mark.parametrize("name", WIDER)
def test_a_wider_filter_is_known(name: str) -> None:
    """Whatever matched the first one matches the second."""
    assert is_wider(*WIDER[name])


@pytest.mark.parametrize("name", NOT_WIDER)
def test_any_other_is_not(name: str) -> None:
    """Also where it might be, but does not show it."""
    assert not is_wider(*NOT_WIDER[name])
