"""What a sweep may remove without being asked for is counted exactly."""

from __future__ import annotations

import pytest

from syncd.to_redis.copy.survey import FEW, Survey


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
