"""Several batches on their way at once."""

from __future__ import annotations

import threading

import pytest

from syncd.errors import InvariantError
from syncd.to_mongo.append.batch import Batch, Outcome
from syncd.to_mongo.append.delivery_workers import Couriers
from tests.support.check import PATIENCE_S


def names(batches: list[Batch]) -> list[list[str]]:
    return sorted(batch.entries for batch in batches)


def test_at_most_so_many() -> None:
    """Both are under way before one is done, and there is room for another only then."""
    meeting = threading.Barrier(2)

    def deliver(batch: Batch) -> Outcome:
        meeting.wait(PATIENCE_S)
        return Outcome({})

    with Couriers("some", deliver, 2) as couriers:
        for name in "ab":
            assert list(couriers.room()) == []
            couriers.send(Batch([name]))
        done = [*couriers.room(), *couriers.settle()]
        assert names([one.batch for one in done]) == [["a"], ["b"]]
        assert list(couriers.settle()) == []


def test_one_that_fails_takes_no_other_along() -> None:
    """What is done is told of, then the error is raised; none is on its way when the block ends."""
    ended: list[Batch] = []

    def deliver(batch: Batch) -> Outcome:
        if batch.entries == ["wrong"]:
            raise ValueError
        ended.append(batch)
        return Outcome({})

    told: list[Batch] = []
    with Couriers("some", deliver, 3) as couriers:
        for name in ("a", "wrong", "b"):
            couriers.send(Batch([name]))
        with pytest.raises(ValueError):
            for one in couriers.settle():
                told.append(one.batch)
        assert names(told) == [["a"], ["b"]]
        couriers.send(Batch(["last"]))
    assert names(ended) == [["a"], ["b"], ["last"]]


def test_more_than_there_is_room_for_is_refused() -> None:
    """A batch too many is a bug, and is told as one, also where Python leaves `assert` out."""
    stay = threading.Event()

    def deliver(batch: Batch) -> Outcome:
        stay.wait(PATIENCE_S)
        return Outcome({})

    with Couriers("some", deliver, 1) as couriers:
        couriers.send(Batch(["a"]))
        with pytest.raises(InvariantError, match="no room"):
            couriers.send(Batch(["b"]))
        stay.set()
