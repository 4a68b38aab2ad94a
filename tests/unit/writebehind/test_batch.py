"""What is left of a batch when some of its entries are done."""

from __future__ import annotations

import bson
from bson.raw_bson import RawBSONDocument

from syncd.writebehind.batch import Batch, Refused


def test_the_others_have_places_of_their_own() -> None:
    """Documents stay with their entries: the third of five goes, and so do the places behind it."""
    entries = [f"1-{number}" for number in range(5)]
    documents = {place: RawBSONDocument(bson.encode({"_id": place})) for place in (0, 2, 3)}
    why = Refused("cannot_convert", "no number")
    batch = Batch(entries, list(documents.values()), list(documents), {"1-1": why, "1-4": why})
    rest = batch.without({"1-2", "1-4"})
    assert rest.entries == ["1-0", "1-1", "1-3"]
    assert [document["_id"] for document in rest.documents] == [0, 3]
    assert rest.places == [0, 2]
    assert rest.refused == {"1-1": why}
    assert batch.without(()) is batch
