"""What a sweep may remove without being asked for is counted exactly."""

from __future__ import annotations

import pytest

from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.to_redis.change import Retired, Stray
from syncd.to_redis.copy.survey import FEW, Survey, in_parts


@pytest.mark.parametrize(
    ("keys", "gone", "percent", "is_above"),
    [
        (1_000, 200, 20.0, False),
        (1_000, 201, 20.0, True),
        (100_000, 101, 0.0, True),
        (100_000, FEW, 0.0, False),
        (10_000, 150, 1.0, True),
        (10_000, 150, 1.5, False),
        (500, 500, 100.0, False),
        (0, 101, 20.0, True),
    ],
)
def test_a_part_of_a_percent_counts(keys: int, gone: int, percent: float, is_above: bool) -> None:
    """One key more than the limit is above it, and with a limit of 0 % every key beyond the few that may always go."""
    assert Survey(keys=keys, gone=gone).is_above(percent) is is_above


@pytest.mark.parametrize("kind", ["hash", "set"])
def test_fields_of_one_hash_stay_together(kind: str) -> None:
    """never_torn: a call ends between two keys, not between two fields of a hash; of a set it may."""
    template = KeyTemplate.parse("k:{_id}")
    shape = Retired("one", kind, template.sharing("xyz") if kind == "hash" else template)
    found = [Stray(shape, key, f"k:{key}", name) for key in "abc" for name in (b"x", b"y", b"z")]
    parts = [[one.ident + one.member.decode() for one in part] for part, _ in in_parts(found, lambda: 2)]
    whole = [["ax", "ay", "az"], ["bx", "by", "bz"], ["cx", "cy", "cz"]]
    apart = [["ax", "ay"], ["az", "bx"], ["by", "bz"], ["cx", "cy"], ["cz"]]
    assert parts == (whole if kind == "hash" else apart)
    assert [is_last for _, is_last in in_parts(found, lambda: 2)] == [*[False] * (len(parts) - 1), True]
