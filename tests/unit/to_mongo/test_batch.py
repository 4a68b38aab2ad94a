"""What is left of a batch when some of its entries are done, or cannot be documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.columns import Said
from syncd.to_mongo.append.batch import EntryBatch, Refused, make_batch
from syncd.to_mongo.append.group import Entries


def test_the_others_have_places_of_their_own() -> None:
    """Documents stay with their entries: the third of five goes, and so do the places behind it."""
    entries = [f"1-{number}" for number in range(5)]
    documents = {place: RawBSONDocument(bson.encode({"_id": place})) for place in (0, 2, 3)}
    why = Refused("cannot_convert", "no number")
    batch = EntryBatch(entries, list(documents.values()), list(documents), {"1-1": why, "1-4": why})
    rest = batch.without({"1-2", "1-4"})
    assert rest.entries == ["1-0", "1-1", "1-3"]
    assert [document["_id"] for document in rest.documents] == [0, 3]
    assert rest.places == [0, 2]
    assert rest.refused == {"1-1": why}
    assert batch.without(()) is batch


class PlanWithAGap(AppendPlan):
    """Cannot read what says `odd`, for an unforeseen reason."""

    def __init__(self) -> None:
        pass

    def documents(self, entries: Sequence[str], said: Sequence[Said]) -> Any:
        if [b"n", b"odd"] in said:
            raise ZeroDivisionError("a private word")
        return [RawBSONDocument(bson.encode({"_id": one})) for one in entries], {}


def test_an_entry_that_raises_an_error_is_refused_alone() -> None:
    """nothing_lost: the entries beside it become documents, each with its own place."""
    said = [[b"n", b"odd"] if at in (0, 5) else [b"n", b"1"] for at in range(7)]
    batch = make_batch(PlanWithAGap(), Entries([f"1-{at}" for at in range(7)], said))
    assert [document["_id"] for document in batch.documents] == ["1-1", "1-2", "1-3", "1-4", "1-6"]
    assert batch.places == [1, 2, 3, 4, 6]
    assert batch.refused.keys() == {"1-0", "1-5"}
    assert {one.reason for one in batch.refused.values()} == {"unexpected"}
