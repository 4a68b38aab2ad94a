"""Writes under the contract's own session: each statement is run once, and an older writer is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection

from syncd.errors import LaterNumberError, TransientError
from syncd.stores.mongo.store import MongoStore
from syncd.to_mongo.session import ContractSession, session_id
from tests.support.broken.proxy import Proxy
from tests.support.check import PATIENCE_S, SOON_S, wait_until

Document = dict[str, Any]
Open = Callable[..., ContractSession]


@pytest.fixture
def collection(mongo: MongoClient[Document], database: str) -> Collection[Document]:
    return mongo[database]["written"]


@pytest.fixture
def daemon(mongo_uri: str, database: str) -> Iterator[Open]:
    """Opens the contract's session as one more process would, with connections of its own."""
    stores: list[MongoStore] = []

    def open_session(uri: str = mongo_uri) -> ContractSession:
        stores.append(MongoStore(uri))
        return ContractSession(stores[-1], database, "", "written")

    yield open_session
    for store in stores:
        store.close()


@pytest.fixture
def proxy(mongo: MongoClient[Document]) -> Iterator[Proxy]:
    """Name it before `daemon`: it has to outlive the connections that go through it, or their end waits for MongoDB."""
    assert mongo.address
    with Proxy(int(mongo.address[1])) as proxy:
        yield proxy


def upserts(collection: Collection[Document], *documents: Document) -> Document:
    updates = [
        {"q": {"_id": one["_id"]}, "u": {"$inc": {"n": one["n"]}}, "upsert": True} for one in documents
    ]
    return {"update": collection.name, "updates": updates, "ordered": False}


def read(collection: Collection[Document]) -> dict[Any, int]:
    return {found["_id"]: found["n"] for found in collection.find()}


ONE, TWO = {"_id": 1, "n": 1}, {"_id": 2, "n": 1}


def test_a_repetition_runs_nothing_twice(collection: Collection[Document], daemon: Open) -> None:
    """Another process sends the same number again: what was done is not done again, what was not is done."""
    first, second = daemon(), daemon()
    assert first.write(collection.database.name, upserts(collection, ONE), 7)["n"] == 1
    reply = second.write(collection.database.name, upserts(collection, ONE, TWO), 7)
    assert reply["n"] == 2
    assert reply["retriedStmtIds"] == [0]
    assert read(collection) == {1: 1, 2: 1}
    first.write(collection.database.name, upserts(collection, ONE, TWO), 8)
    assert read(collection) == {1: 2, 2: 2}


def test_statements_keep_their_numbers(collection: Collection[Document], daemon: Open) -> None:
    """A repetition that leaves out the first statement does not take the second for it."""
    both, rest = upserts(collection, ONE, TWO), upserts(collection, TWO)
    daemon().write(collection.database.name, both, 1, [0, 1])
    assert daemon().write(collection.database.name, rest, 1, [1])["retriedStmtIds"] == [1]
    assert read(collection) == {1: 1, 2: 1}


def test_an_older_number_is_refused(collection: Collection[Document], daemon: Open) -> None:
    """A writer whose successor has written writes nothing more, and gets the number, however long that is."""
    late, successor = daemon(), daemon()
    late.write(collection.database.name, upserts(collection, ONE), 1)
    successor.write(collection.database.name, upserts(collection, TWO), 1_795_940_354_390_049)
    with pytest.raises(LaterNumberError) as caught:
        late.write(collection.database.name, upserts(collection, ONE), 2)
    assert caught.value.seen == 1_795_940_354_390_049
    assert read(collection) == {1: 1, 2: 1}


def test_a_lost_reply(mongo: MongoClient[Document], database: str, proxy: Proxy, daemon: Open) -> None:
    """The server has written and its reply is lost, into a time-series collection, which has no unique `_id`; the
    same call again writes nothing more."""
    series = mongo[database].create_collection("written", timeseries={"timeField": "at"})
    moment = mongo.admin.command("hello")["localTime"]
    documents = [RawBSONDocument(bson.encode({"_id": n, "at": moment})) for n in range(100)]
    command = {"insert": "written", "documents": documents, "ordered": False}
    writer = daemon(proxy.mongo_uri)
    closed = proxy.close_after_next_request(b"txnNumber")
    with pytest.raises(TransientError):
        writer.write(database, command, 1)
    assert closed.wait(PATIENCE_S)
    assert writer.write(database, command, 1)["n"] == 100
    writer.write(database, {**command, "documents": documents[:1]}, 2)
    assert series.count_documents({}) == 101


def test_an_end_without_mongodb(collection: Collection[Document], proxy: Proxy) -> None:
    """Sessions are ended on the server; but who stops does not wait for one that is away as for any other call."""
    store = MongoStore(proxy.mongo_uri)
    writer = ContractSession(store, collection.database.name, "", "written")
    writer.write(collection.database.name, upserts(collection, ONE), 1)
    proxy.cut()
    wait_until(lambda: not store.client.nodes)
    began = time.monotonic()
    store.close()
    assert time.monotonic() - began < SOON_S


def test_errors_of_single_statements(collection: Collection[Document], daemon: Open) -> None:
    """They are reported by place; the others are done, and a repetition reports the same."""
    collection.insert_one({"_id": 1, "n": "text"})
    for _ in range(2):
        reply = daemon().write(collection.database.name, upserts(collection, ONE, TWO), 3)
        assert [(error["index"], error["code"]) for error in reply["writeErrors"]] == [(0, 14)]
    assert collection.find_one({"_id": 2}) == {"_id": 2, "n": 1}


def of_the_contract(mongo: MongoClient[Document], database: str) -> list[Document]:
    """What MongoDB has written down of the session's last write."""
    ident = Binary.from_uuid(session_id(database, "", "written"))
    return list(mongo["config"]["transactions"].find({"_id.id": ident}))


def test_the_driver_keeps_its_own_sessions(
    mongo: MongoClient[Document], collection: Collection[Document], mongo_uri: str
) -> None:
    """What else a client writes goes under other ids, and meets none of the contract's numbers."""
    store = MongoStore(mongo_uri)
    name = collection.database.name
    contract = ContractSession(store, name, "", "written")
    contract.write(name, upserts(collection, ONE), 1_000_000)
    for number in range(3):
        store.client[name]["beside"].insert_one({"_id": number})
    store.close()
    assert [found["txnNum"] for found in of_the_contract(mongo, name)] == [1_000_000]


def test_a_session_that_is_kept(mongo: MongoClient[Document], database: str, mongo_uri: str) -> None:
    """MongoDB learns that the session is in use, also when nothing is written."""
    store = MongoStore(mongo_uri)
    ContractSession(store, database, "", "written").keep()
    store.close()
    mongo.admin.command("refreshLogicalSessionCacheNow")
    ident = Binary.from_uuid(session_id(database, "", "written"))
    assert mongo["config"]["system.sessions"].count_documents({"_id.id": ident}) == 1
