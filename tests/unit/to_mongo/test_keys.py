"""One key of many raises an unforeseen error."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from syncd.both import merger
from syncd.errors import TransientError
from syncd.to_mongo.state.became import Became
from syncd.to_mongo.state.keys import key_sync as keys

KEYS = [b"%d" % number for number in range(9)]


class Failing:
    """Asked for an odd key it fails with `error`, whatever else it was asked for."""

    outcome: type[Became]

    def __init__(self, error: Exception, odd: Collection[bytes]) -> None:
        self.error, self.odd, self.asked = error, odd, 0

    def _apply(self, words: Any) -> Any:
        self.asked += 1
        if not words.keys().isdisjoint(self.odd):
            raise self.error
        return self.outcome(done=list(words))


class OneWay(Failing, keys.KeySync):
    """Of a lane from keys."""

    outcome = keys.KeyOutcome


class BothWays(Failing, merger.Merger):
    """Of one both ways."""

    outcome = merger.MergeOutcome


@pytest.mark.parametrize("kind", [OneWay, BothWays])
@pytest.mark.parametrize("odd", [[b"0"], [b"8"], [b"3", b"4"], KEYS])
def test_it_is_refused_alone(kind: type[OneWay | BothWays], odd: list[bytes]) -> None:
    """nothing_lost: the others are done, and the reason holds nothing but the kind of the error."""
    lane = kind(ZeroDivisionError("a private word"), odd)
    outcome = lane.apply(dict.fromkeys(KEYS, ""))  # type: ignore[arg-type]
    assert sorted(outcome.done) == sorted(set(KEYS) - set(odd))
    assert sorted(outcome.refused) == odd
    for refused in outcome.refused.values():
        assert refused.reason == "unexpected"
        assert "ZeroDivisionError" in refused.detail and "private" not in refused.detail


@pytest.mark.parametrize("kind", [OneWay, BothWays])
def test_a_store_that_fails_is_no_keys_fault(kind: type[OneWay | BothWays]) -> None:
    """nothing_lost: no key is refused for an error of a store."""
    lane = kind(TransientError("mongo", "away"), [b"3"])
    with pytest.raises(TransientError):
        lane.apply(dict.fromkeys(KEYS, ""))  # type: ignore[arg-type]
    assert lane.asked == 1
