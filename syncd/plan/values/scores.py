"""Scores of sorted sets, which are doubles in Redis."""

from __future__ import annotations

import math
from typing import Any, Final

from bson.int64 import Int64

from syncd.errors import ProjectionError
from syncd.plan.values.bson_values import type_name
from syncd.plan.values.numeric import DOUBLE

LARGEST_INTEGER: Final = 2**53
"""Above it a double leaves integers out, and two of them would be one score."""


def score_of(value: Any) -> float:
    """The score that equals a number, also as text. Infinities are scores, NaN is none.

    Raises ProjectionError: `cannot_convert`.
    """
    if type(value) in (int, Int64) and abs(value) > LARGEST_INTEGER:
        raise _no_score(value, "it is beyond 2^53, and a score is a double")
    number: float = DOUBLE[type(value)](value)
    if math.isnan(number):
        raise _no_score(value, "it is not a number")
    return number


def _no_score(value: Any, why: str) -> ProjectionError:
    return ProjectionError("cannot_convert", f"{type_name(value)} is not a score: {why}")
