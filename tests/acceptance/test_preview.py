"""`syncd preview` against real servers, where no daemon has ever run."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo import MongoClient
from redis import Redis

from tests.support.cli import syncd
from tests.support.contracts import projection, said

CARD = projection(
    {"title": "title", "year": {"from": "year", "type": "int"}, "mail": {"from": "mail", "mask": "last4"}},
    key="film:{_id}", ttl={"field": "until"},
)  # fmt: skip
SHAPES = [
    CARD,
    projection(
        {"title": "title", "text": "parts.text"},
        name="part",
        type="json",
        key="part:{_id}:{parts.#}",
        each="parts",
    ),
    projection(name="tags", type="set", key="tags:{_id}", value="tags"),
    projection(name="by-tag", type="zset", key="tag:{tags[]}", member="{_id}", score="year"),
    projection(name="top", type="zset", key="top", member="{_id}", score="year", keep={"highest": 3}),
    projection(name="new", type="set", key="new", member="{_id}", expire={"field": "soon"}),
    projection({"title": "title"}, name="feed", type="stream", key="films:changes"),
]


class Case:
    """A directory of contracts, and both servers."""

    def __init__(self, directory: Path, uri: str, url: str) -> None:
        self.directory, self.uri, self.url = directory, uri, url

    def write(self, *shapes: dict[str, Any], **more: Any) -> None:
        text = json.dumps(said(*shapes, name="films", **more))
        (self.directory / "films.yaml").write_text(text)

    def ask(self, *words: str, code: int = 0) -> Any:
        servers = {"SYNCD_MONGO_URI": self.uri, "SYNCD_REDIS_URL": self.url}
        ran = syncd("preview", *words, "--contracts", self.directory, "-o", "json", **servers)
        assert (ran.returncode, ran.stderr) == (code, ""), ran.stdout + ran.stderr
        return json.loads(ran.stdout)["outcomes"]


@pytest.fixture
def case(tmp_path: Path, mongo_uri: str, redis_url: str) -> Case:
    return Case(tmp_path, mongo_uri, redis_url)


def test_a_document_shows_all_that_it_becomes(
    case: Case, database: str, mongo: MongoClient[dict[str, Any]], redis: Redis
) -> None:
    """Keys with values, times to live and bytes, elements, members and entries; nothing is written anywhere."""
    case.write(*SHAPES, mongo={"collection": f"{database}.films"})
    ident = ObjectId("65a1f00d65a1f00d65a1f00d")
    mongo[database].films.insert_one(
        {"_id": ident, "title": "Solaris", "year": Int64(1972), "mail": "kris@kelvin.org", "tags": ["b", "a"],
         "parts": [{"text": "one"}, {"text": "two"}], "until": None, "soon": datetime(2030, 1, 1)}
    )  # fmt: skip
    before = redis.dbsize()
    (found,) = case.ask("films", str(ident))
    assert [(one["key"], one["content"]) for one in found["keys"]] == [
        (f"film:{ident}", {"title": "Solaris", "year": "1972", "mail": "****.org"}),
        (f"part:{ident}:0", {"title": "Solaris", "text": "one"}),
        (f"part:{ident}:1", {"title": "Solaris", "text": "two"}),
        (f"tags:{ident}", ["a", "b"]),
    ]
    assert [tuple(one.values())[1:] for one in found["members"]] == [
        ("tag:b", "zset", str(ident), 1972.0), ("tag:a", "zset", str(ident), 1972.0),
        ("top", "zset", str(ident), 1972.0, "the 3 highest"), ("new", "set", str(ident), "2030-01-01T00:00:00Z"),
    ]  # fmt: skip
    (entry,) = found["entries"]
    assert (entry["key"], entry["fields"]["op"], entry["fields"]["title"]) == (
        "films:changes",
        "insert",
        "Solaris",
    )
    assert redis.dbsize() == before
    assert case.ask("films", json.dumps({"$oid": str(ident)})) == [found]


def test_a_document_that_does_not_fit_ends_with_1(
    case: Case, database: str, mongo: MongoClient[dict[str, Any]]
) -> None:
    """The dead letter has its reason; one that the filter leaves out is said to be, and one that is not there too."""
    case.write(CARD, mongo={"collection": f"{database}.films", "filter": {"title": {"$ne": "Stalker"}}})
    mongo[database].films.insert_many(
        [{"_id": 1, "title": "Solaris", "year": "soon"}, {"_id": 2, "title": "Stalker", "year": 1979}]
    )
    (dead,) = case.ask("films", "1", code=1)
    assert [(one["projection"], one["reason"]) for one in dead["dead_letters"]] == [
        ("card", "cannot_convert")
    ]
    assert case.ask("films", "2") == [{"source": "2", "filtered": True}]
    assert case.ask("films", "3", code=1) == [{"source": "3", "missing": True}]
    assert [one["source"] for one in case.ask("films", "--sample", "5", code=1)] == ["1"]


def test_a_file_needs_no_server_but_for_a_filter(case: Case, database: str, tmp_path: Path) -> None:
    """MongoDB says whether the document matches, and holds none of it afterwards."""
    document = tmp_path / "document.txt"
    document.write_text(
        "[{_id: 1, title: Solaris, until: {$date: '2030-01-01T00:00:00Z'}}, {_id: 2, title: Stalker}]"
    )
    case.write(CARD)
    nowhere = Case(case.directory, "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100", case.url)
    both = nowhere.ask("films", "--document", str(document))
    assert [one["keys"][0]["key"] for one in both] == ["film:1", "film:2"]
    assert both[0]["keys"][0]["ttl"] == "2030-01-01T00:00:00Z"
    case.write(CARD, mongo={"collection": f"{database}.films", "filter": {"title": {"$regex": "^So"}}})
    one, other = case.ask("films", "--document", str(document))
    assert (one["source"], other) == ("1", {"source": "2", "filtered": True})


def test_a_key_shows_the_document_that_it_becomes(case: Case, prefix: str, redis: Redis) -> None:
    """With types; a key that does not fit is a dead letter, and one that is not there is said to be."""
    shape = projection(
        {"title": "title", "year": {"from": "made.year", "type": "long"}}, key=f"{prefix}{{_id}}"
    )
    case.write(shape, sync={"direction": "redis_to_mongo", "capture": "keyspace"})
    redis.hset(f"{prefix}1", mapping={"title": "Solaris", "year": "1972"})
    redis.hset(f"{prefix}2", mapping={"year": "soon"})
    (found,) = case.ask("films", f"{prefix}1")
    assert found["document"] == {"_id": 1, "title": "Solaris", "made": {"year": 1972}}
    (dead,) = case.ask("films", f"{prefix}2", code=1)
    assert dead["dead_letters"][0]["reason"] == "cannot_convert"
    assert case.ask("films", f"{prefix}3", code=1) == [{"source": f"{prefix}3", "missing": True}]
    assert len(case.ask("films", "--sample", "5", code=1)) == 2


def test_an_entry_shows_the_document_that_it_becomes(case: Case, prefix: str, redis: Redis) -> None:
    """By its id, or the newest ones."""
    shape = projection(
        {"text": "text", "at": {"from": "at", "type": "epoch_ms"}}, type="stream", key=f"{prefix}s"
    )
    case.write(shape, sync={"direction": "redis_to_mongo", "capture": "append"})
    ids = [
        redis.xadd(f"{prefix}s", {"text": text, "at": "0"}, id=f"{at}-0") for at, text in ((1, "a"), (2, "b"))
    ]
    (found,) = case.ask("films", "1-0")
    assert found["document"]["_id"] == f"{prefix}s/1-0"
    assert found["document"]["at"] == {"$date": "1970-01-01T00:00:00Z"}
    assert [one["source"] for one in case.ask("films", "--sample", "9")] == [one.decode() for one in ids]


def test_both_ways_shows_either(case: Case, prefix: str, database: str, mongo: Any, redis: Redis) -> None:
    """A text that is a key of the contract is one, and all else is an `_id`."""
    sync = {"direction": "both", "capture": "outbox", "on_conflict": "mongo_wins"}
    shape = projection({"title": "title"}, key=f"{prefix}{{_id}}")
    case.write(shape, sync=sync, mongo={"collection": f"{database}.films"})
    mongo[database].films.insert_one({"_id": 1, "title": "Solaris"})
    redis.hset(f"{prefix}1", "title", "Stalker")
    (there,) = case.ask("films", "1")
    assert there["keys"][0]["content"] == {"title": "Solaris"}
    (back,) = case.ask("films", f"{prefix}1")
    assert back["document"] == {"_id": 1, "title": "Stalker"}


def test_the_collection_of_several_is_named(case: Case, tmp_path: Path) -> None:
    """Otherwise the error says how."""
    shape = projection({"title": "title"}, key="{$db}:film:{_id}")
    case.write(shape, mongo={"collection": "tenant_*.films"})
    document = tmp_path / "document.txt"
    document.write_text('{"_id": 1, "title": "Solaris"}')
    (found,) = case.ask("films@tenant_a.films", "--document", str(document))
    assert found["keys"][0]["key"] == "tenant_a:film:1"
    for name in ("films", "films@shop.films", "books"):
        ran = syncd("preview", name, "1", "--contracts", case.directory)
        assert ran.returncode == 2
        assert name.partition("@")[0] in ran.stderr
