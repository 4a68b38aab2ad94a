"""What documents become members of, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.plan.to_redis.change import Dead, Drop, Put
from syncd.plan.to_redis.compile import compile_contract
from syncd.plan.to_redis.member_shape import MOST_KEYS
from syncd.plan.types import Memberships
from syncd.to_redis.apply.pipeline import more_keys
from tests.support.contracts import model

TAGS = {"projection": "tags", "type": "set", "key": "t:{tags[]}:{of}", "member": "{_id}"}


def writes(document: dict[str, Any]) -> list[Any]:
    return compile_contract(model(TAGS)).puts("1", {"_id": 1, "of": "a", **document}, "", {})


@pytest.mark.parametrize(
    ("tags", "keys"),
    [
        (["x", "y", "x"], ["t:x:a", "t:y:a"]),
        ([1, 1.0, "1"], ["t:1:a", "t:%31:a"]),
        ([None], ["t:%~null:a"]),
        (["a:b"], ["t:a%3Ab:a"]),
    ],
)
def test_a_key_for_each_element(tags: list[Any], keys: list[str]) -> None:
    """Once, where MongoDB holds two elements equal."""
    (put,) = writes({"tags": tags})
    assert isinstance(put, Put)
    assert isinstance(put.content, Memberships)
    assert list(put.content.each()) == [(key, "1") for key in keys]
    assert more_keys(put) == len(keys) - 1


@pytest.mark.parametrize("document", [{}, {"tags": None}, {"tags": []}])
def test_no_elements(document: dict[str, Any]) -> None:
    """Then it is a member of nothing."""
    (drop,) = writes(document)
    assert isinstance(drop, Drop)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [("x", "key_field_type"), ([["x"]], "key_field_type"), (list(range(MOST_KEYS + 1)), "too_many_elements")],
)
def test_what_gives_no_keys(tags: Any, reason: str) -> None:
    """What is no array, an array in it, and more keys than one step may write are dead letters."""
    dead, *_ = writes({"tags": tags})
    assert isinstance(dead, Dead)
    assert dead.reason == reason
