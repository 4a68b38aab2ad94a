"""Several batches on their way at once."""

from __future__ import annotations

import threading

import pytest

from syncd.errors import InvariantError
from syncd.to_mongo.append.batch import BatchOutcome, EntryBatch
from syncd.to_mongo.append.delivery_workers import DeliveryWorkers
from tests.support.check import PATIENCE_S


def names(batches: list[EntryBatch]) -> list[list[str]]:
    return sorted(batch.entries for batch in batches)


def test_at_most_so_many() -> None:
    """Both are under way before one is done, and there is room for another only then."""
    meeting = threading.Barrier(2)

    def deliver(batch: EntryBatch) -> BatchOutcome:
        meeting.wait(PATIENCE_S)
        return BatchOutcome({})

    with DeliveryWorkers("some", deliver, 2) as workers:
        for name in "ab":
            assert list(workers.room()) == []
            workers.send(EntryBatch([name]))
        done = [*workers.room(), *workers.drain()]
        assert names([one.batch for one in done]) == [["a"], ["b"]]
        assert list(workers.drain()) == []


def test_one_that_fails_takes_no_other_along() -> None:
    """What is done is returned, then the error is raised; none is on its way when the block ends."""
    ended: list[EntryBatch] = []

    def deliver(batch: EntryBatch) -> BatchOutcome:
        if batch.entries == ["wrong"]:
            raise ValueError
        ended.append(batch)
        return BatchOutcome({})

    told: list[EntryBatch] = []
    with DeliveryWorkers("some", deliver, 3) as workers:
        for name in ("a", "wrong", "b"):
            workers.send(EntryBatch([name]))
        with pytest.raises(ValueError):
            for one in workers.drain():
                told.append(one.batch)
        assert names(told) == [["a"], ["b"]]
        workers.send(EntryBatch(["last"]))
    assert names(ended) == [["a"], ["b"], ["last"]]


def test_more_than_there_is_room_for_is_refused() -> None:
    """A batch too many is a bug, and is told as one, also where Python leaves `assert` out."""
    stay = threading.Event()

    def deliver(batch: EntryBatch) -> BatchOutcome:
        stay.wait(PATIENCE_S)
        return BatchOutcome({})

    with DeliveryWorkers("some", deliver, 1) as workers:
        workers.send(EntryBatch(["a"]))
        with pytest.raises(InvariantError, match="no room"):
            workers.send(EntryBatch(["b"]))
        stay.set()
