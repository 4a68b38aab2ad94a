"""States of keys are written into documents, and never an older one over a newer one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bson.int64 import Int64
from pymongo import MongoClient
from pymongo.collection import Collection

from syncd.plan.to_mongo.state import StatePlan, StateUpdate, compile_state
from syncd.stores.mongo.store import MongoStore
from syncd.to_mongo.session import ContractSession
from syncd.to_mongo.state.positions import NEVER, of_entry
from syncd.to_mongo.state.state_writer import StateWriter, StateWritten
from syncd.to_mongo.state.statements import Change
from tests.support.contracts import from_redis, model, projection

Document = dict[str, Any]
Write = Callable[..., StateWritten]


def plan(collection: Collection[Document], on_delete: str = "delete") -> StatePlan:
    shape, sync = projection(["n"], key="kept:{_id}"), from_redis("outbox", on_delete=on_delete)
    return compile_state(model(shape, name="kept", collection=collection.full_name, sync=sync))


@pytest.fixture
def kept(mongo_uri: str, database: str) -> Iterator[Collection[Document]]:
    with MongoClient[Document](mongo_uri, tz_aware=True) as client:
        yield client[database]["kept"]


@pytest.fixture
def write(mongo_uri: str, kept: Collection[Document]) -> Iterator[Write]:
    """`write(*changes, on_delete=...)`, as one daemon after another would."""
    store = MongoStore(mongo_uri)

    def run(*changes: Change, on_delete: str = "delete", site: str = "site") -> StateWritten:
        shape = plan(kept, on_delete)
        session = ContractSession(store, "tests", site, kept.full_name)
        writer = StateWriter(store, shape, session, site, time.time_ns() // 1000)
        writer.begin()
        return writer.write(changes)

    yield run
    store.close()


def put(document_id: Any, n: int, at: int) -> Change:
    return Change(b"kept:%r" % document_id, document_id, of_entry(f"{at}-0"), StateUpdate({"n": n}, []))


def gone(document_id: Any, at: int, told: int | None = None) -> Change:
    deleted = NEVER if told is None else of_entry(f"{told}-0")
    return Change(b"kept:%r" % document_id, document_id, of_entry(f"{at}-0"), None, deleted)


def numbers(kept: Collection[Document]) -> dict[Any, int]:
    return {document["_id"]: document["n"] for document in kept.find()}


def test_an_older_state_is_left_out(write: Write, kept: Collection[Document]) -> None:
    """A state of the same read or a later one is written; an older one is named, with the position that is ahead."""
    assert not write(put(1, 5, at=500), put(2, 5, at=500)).late
    assert not write(put(1, 6, at=500)).late
    written = write(put(1, 4, at=499), put(2, 7, at=700))
    assert [change.id for change in written.late] == [1]
    assert written.ahead == of_entry("500-0")
    assert numbers(kept) == {1: 6, 2: 7}


def test_new_documents_among_others(write: Write, kept: Collection[Document]) -> None:
    """Many states at once: what is new is inserted, what is there is updated, or left out where it is ahead."""
    write(*(put(n, 1, at=500) for n in range(0, 40, 2)))
    written = write(*(put(n, 2, at=499 if n == 4 else 600) for n in range(40)))
    assert [change.id for change in written.late] == [4]
    assert numbers(kept) == {n: 1 if n == 4 else 2 for n in range(40)}
    document = kept.find_one({"_id": 1})
    assert document == {"_id": 1, "n": 2, "_syncd": {"pos": of_entry("600-0"), "site": "site"}}


def test_a_deletion_leaves_what_came_behind_it(write: Write, kept: Collection[Document]) -> None:
    """A document that was read behind the deletion is of a key that came again. One that is ahead of the read itself
    is of a time before Redis went back, and is named."""
    write(put(1, 5, at=500), put(2, 5, at=500), put(3, 5, at=500))
    assert not write(gone(1, at=600, told=450), gone(2, at=600, told=550)).late
    assert numbers(kept) == {1: 5, 3: 5}
    written = write(gone(3, at=400, told=390))
    assert [change.id for change in written.late] == [3]
    assert written.ahead == of_entry("500-0")
    assert not write(gone(3, at=500)).late
    assert numbers(kept) == {1: 5}


def test_a_tombstone(write: Write, kept: Collection[Document]) -> None:
    """Stays the same when the deletion comes again, and goes with the key's next state; nothing is made of it where
    there is no document."""
    write(put(1, 5, at=500))
    for _ in range(2):
        assert not write(gone(1, at=600, told=550), gone(2, at=600, told=550), on_delete="tombstone").late
    (document,) = kept.find()
    assert document["n"] == 5
    assert document["_syncd"]["deleted"].timestamp() == 0.55
    write(put(1, 6, at=601), on_delete="tombstone")
    assert "deleted" not in kept.find_one()["_syncd"]


@pytest.mark.parametrize("on_delete", ["delete", "tombstone"])
def test_a_document_of_another_site(write: Write, kept: Collection[Document], on_delete: str) -> None:
    """Is neither written nor deleted, however old it is, and is not taken for a sign that Redis went back; one that
    names no site is every site's."""
    kept.insert_one({"_id": 50, "n": 0})
    write(put(51, 0, at=1), site="")
    write(*(put(n, 1, at=900) for n in range(20)), site="hill")
    for _ in range(2):
        written = write(*(put(n, 2, at=500) for n in (*range(18, 40), 50, 51)), on_delete=on_delete)
        assert {key: why.reason for key, why in written.refused.items()} == {
            b"kept:18": "other_site",
            b"kept:19": "other_site",
        }
        assert (written.late, written.ahead) == ([], "")
    written = write(gone(1, at=1000), gone(18, at=400, told=390), gone(30, at=501), on_delete=on_delete)
    assert written.refused.keys() == {b"kept:1", b"kept:18"}
    assert not written.late
    found = {
        n: one["_syncd"]["site"]
        for one in kept.find()
        if "deleted" not in one["_syncd"]
        for n in (one["_id"],)
    }
    left = {*range(20, 40), 50, 51} - {30}
    assert found == {**dict.fromkeys(range(20), "hill"), **dict.fromkeys(left, "site")}
    late = write(put(1, 3, at=899), put(18, 3, at=950), site="hill")
    assert [change.id for change in late.late] == [1]
    assert late.ahead == of_entry("900-0")


def test_ids_that_mongodb_holds_equal(write: Write, kept: Collection[Document]) -> None:
    """The number in the key and the one in the document need not be of one width."""
    kept.insert_one({"_id": Int64(7), "n": 0, "_syncd": {"pos": of_entry("900-0")}})
    assert write(put(7, 1, at=800)).ahead == of_entry("900-0")
    assert write(gone(7, at=800)).late
    assert not write(put(7, 1, at=900)).late
    assert numbers(kept) == {7: 1}


def test_what_mongodb_refuses(write: Write, kept: Collection[Document]) -> None:
    """One state is refused, with the reason; those beside it are written."""
    kept.create_index("n", unique=True, sparse=True)
    kept.insert_one({"_id": 5, "n": {"not": "mine"}, "_syncd": 1})
    large = Change(b"large", "large", of_entry("1-0"), StateUpdate({"n": "x" * 17_000_000}, []))
    huge = Change(b"huge", "huge", of_entry("1-0"), StateUpdate({"n": 2**64}, []))
    written = write(put(1, 1, at=1), put(2, 1, at=1), put(3, 3, at=1), put(5, 5, at=1), large, huge)
    assert {key: why.reason for key, why in written.refused.items()} == {
        b"kept:2": "duplicate_key",
        b"kept:5": "document_refused",
        b"large": "document_too_large",
        b"huge": "unsupported_type",
    }
    assert numbers(kept) == {1: 1, 3: 3, 5: {"not": "mine"}}


def test_more_than_one_command_holds(write: Write, kept: Collection[Document]) -> None:
    """By number and by bytes."""
    assert not write(*(put(n, n, at=1) for n in range(2500))).refused
    large = [Change(b"%d" % n, n, of_entry("2-0"), StateUpdate({"n": "x" * 9_000_000}, [])) for n in range(3)]
    assert not write(*large).refused
    assert not write(*(gone(n, at=3) for n in range(2500))).refused
    assert numbers(kept) == {}
