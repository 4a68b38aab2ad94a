"""Search indexes: made before the documents, found by their alias, rebuilt without an effect on searches."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.exceptions import ResponseError
from redisvl.index import SearchIndex
from redisvl.query import FilterQuery, VectorQuery
from redisvl.query.filter import Tag

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

DIMS = 4
COUNT = 300
WORDS = ("city", "robot", "love", "war")
FIELDS = {
    "title": "title",
    "year": {"from": "year", "type": "int"},
    "genre": "genre",
    "embedding": {"from": "embedding", "type": "vector", "dims": DIMS},
}
TITLE = {"name": "title", "type": "text"}
YEAR = {"name": "year", "type": "numeric", "attrs": {"sortable": True}}
GENRE = {"name": "genre", "type": "tag"}
EMBEDDING = {
    "name": "embedding",
    "type": "vector",
    "attrs": {"dims": DIMS, "algorithm": "hnsw", "distance_metric": "cosine", "datatype": "float32"},
}


def embedding(number: int) -> list[float]:
    """A direction of its own for every number."""
    return [1.0, number / 10, (number % 7) / 10, (number % 11) / 10]


FILMS: list[dict[str, Any]] = [
    {"_id": n, "title": f"film {n}", "year": 1900 + n, "genre": WORDS[n % 4], "embedding": embedding(n)}
    for n in range(COUNT)
]


def indexed(alias: str, *fields: dict[str, Any], kind: str = "json", **more: Any) -> dict[str, Any]:
    return projection(FIELDS, type=kind, index={"name": alias, "fields": list(fields)}, **more)


def found(flow: Flow, alias: str, query: str = "*") -> int:
    return int(flow.redis.execute_command("FT.SEARCH", alias, query, "LIMIT", 0, 0)[0])


def info(flow: Flow, name: str) -> dict[str, Any]:
    reply = flow.redis.execute_command("FT.INFO", name)
    return {key.decode(): value for key, value in zip(reply[::2], reply[1::2], strict=True)}


def wait_found(flow: Flow, alias: str, count: int, query: str = "*") -> None:
    wait_until(
        lambda: found(flow, alias, query) == count,
        20,
        lambda: f"{found(flow, alias, query)} found, not {count}",
    )


@pytest.fixture(scope="module")
def lame(shared: Scene) -> Flow:
    """An index with a document that does not fit it; started first, for syncd checks indexes now and then."""
    alias = f"{shared.token}-lame"
    year = {"title": "title", "year": "year"}
    said = projection(year, index={"name": alias, "fields": [TITLE, YEAR]})
    films = [{"_id": 1, "title": "good", "year": 1927}, {"_id": 2, "title": "bad", "year": "a private word"}]
    return shared.run("lame", said, documents=films)


def test_an_index_is_there_before_its_documents(shared: Scene, lame: Flow) -> None:
    """The alias points at a first generation as soon as the contract runs; documents are found as they come."""
    alias = f"{shared.token}-early"
    flow = shared.run("early", indexed(alias, TITLE, GENRE))
    assert info(flow, alias)["index_name"] == f"{alias}:1".encode()
    assert found(flow, alias) == 0
    flow.collection.insert_many(FILMS[:10])
    wait_found(flow, alias, 10)
    wait_found(flow, alias, 3, "@genre:{city}")
    flow.collection.update_one({"_id": 0}, {"$set": {"genre": "war"}})
    wait_found(flow, alias, 2, "@genre:{city}")
    flow.collection.delete_one({"_id": 4})
    wait_found(flow, alias, 1, "@genre:{city}")
    events = [entry["event"] for entry in shared.daemon.logs(contract=flow.contract)]
    assert events.index("index created") < events.index("snapshot started")


@pytest.mark.parametrize("kind", ["hash", "json"])
@pytest.mark.parametrize("algorithm", ["hnsw", "flat"])
def test_redisvl_opens_it(shared: Scene, lame: Flow, kind: str, algorithm: str) -> None:
    """RedisVL reads the schema back from the alias alone, and its vector query finds the right neighbours."""
    alias = f"{shared.token}-{kind}-{algorithm}"
    vector = {**EMBEDDING, "attrs": {**EMBEDDING["attrs"], "algorithm": algorithm}}  # type: ignore[dict-item]
    flow = shared.run(
        f"vl-{kind}-{algorithm}", indexed(alias, TITLE, YEAR, GENRE, vector, kind=kind), documents=FILMS
    )
    wait_found(flow, alias, COUNT)
    if kind == "hash":
        assert flow.redis.hget(flow.key(7), "embedding") == struct.pack("<4f", *embedding(7))
    else:
        assert flow.json(7)["embedding"] == embedding(7)
    index = SearchIndex.from_existing(alias, redis_client=flow.redis)
    assert {name: field.type for name, field in index.schema.fields.items()} == {
        "title": "text",
        "year": "numeric",
        "genre": "tag",
        "embedding": "vector",
    }
    query = VectorQuery(embedding(42), "embedding", return_fields=["title", "year"], num_results=3)
    nearest = index.query(query)
    assert (nearest[0]["title"], nearest[0]["year"]) == ("film 42", "1942")
    assert nearest[0]["id"] == flow.key(42)
    assert float(nearest[0]["vector_distance"]) == pytest.approx(0, abs=1e-5)
    assert {row["title"] for row in nearest[1:]} <= {f"film {n}" for n in range(32, 53)}
    flow.collection.update_one({"_id": 42}, {"$set": {"embedding": embedding(900)}})
    flow.collection.update_one({"_id": 7}, {"$set": {"embedding": embedding(42)}})
    wait_until(lambda: index.query(query)[0]["title"] == "film 7")
    assert index.query(
        FilterQuery(return_fields=["title"], filter_expression=Tag("genre") == "war", num_results=1)
    )


@contextmanager
def asking(flow: Flow, alias: str, query: str = "*") -> Iterator[list[int | str]]:
    """Queries in a thread one after another; the list has each answer that differs from the one before."""
    answers: list[int | str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.002):
            try:
                answer: int | str = found(flow, alias, query)
            except ResponseError as error:
                answer = str(error)
            if not answers or answers[-1] != answer:
                answers.append(answer)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def test_a_changed_index_swaps_without_a_gap(shared: Scene, lame: Flow) -> None:
    """Every query on the alias is answered in full while a new generation is built, and after it took over."""
    alias = f"{shared.token}-swap"
    flow = shared.run("swap", indexed(alias, TITLE, EMBEDDING), documents=FILMS)
    wait_found(flow, alias, COUNT)
    with asking(flow, alias) as answers:
        for generation, fields in enumerate([(TITLE, GENRE, EMBEDDING), (TITLE, GENRE, YEAR)], start=2):
            flow.write(indexed(alias, *fields))
            name = f"{alias}:{generation}".encode()
            wait_until(lambda name=name: info(flow, alias)["index_name"] == name, 20, flow.lane)
            wait_found(flow, alias, COUNT // 4, "@genre:{city}")
    assert answers == [COUNT]
    assert found(flow, alias, "@year:[1900 1909]") == 10
    names = {name.decode() for name in flow.redis.execute_command("FT._LIST") if alias.encode() in name}
    # Those before stay: RedisVL resolves an alias once, when an application opens it.
    assert names == {f"{alias}:1", f"{alias}:2", f"{alias}:3"}
    assert len(shared.daemon.logs(event="snapshot started", contract=flow.contract)) == 1, (
        "no document was copied again"
    )
    assert [entry["real"] for entry in shared.daemon.logs(event="index swapped", contract=flow.contract)] == [
        f"{alias}:2",
        f"{alias}:3",
    ]


def test_other_keys_swap_without_a_gap(shared: Scene, lame: Flow) -> None:
    """When the keys behind an index move, the alias moves before the old keys go: no query finds less."""
    alias = f"{shared.token}-move"
    flow = shared.run("move", indexed(alias, TITLE, key="a:{_id}"), documents=FILMS)
    wait_found(flow, alias, COUNT)
    with asking(flow, alias) as answers:
        flow.write(indexed(alias, TITLE, key="b:{_id}"))
        wait_until(lambda: info(flow, alias)["index_name"] == f"{alias}:2".encode(), 20, flow.lane)
        wait_until(lambda: len(flow.keys()) == COUNT, 20)
    assert all(isinstance(answer, int) and answer >= COUNT for answer in answers), answers


def test_an_index_that_the_contract_no_longer_has(shared: Scene, lame: Flow) -> None:
    """An index taken out of a contract is dropped; its keys stay."""
    alias = f"{shared.token}-gone"
    flow = shared.run("gone", indexed(alias, TITLE), documents=FILMS)
    wait_found(flow, alias, COUNT)
    flow.write(projection(FIELDS, type="json"))
    wait_until(lambda: f"{alias}:1".encode() not in flow.redis.execute_command("FT._LIST"), 20, flow.lane)
    with pytest.raises(ResponseError):
        found(flow, alias)
    assert len(flow.keys()) == COUNT


def test_documents_that_an_index_leaves_out_are_shown(shared: Scene, lame: Flow) -> None:
    """A document that does not fit the index is counted and logged, without what it holds."""
    alias = f"{shared.token}-lame"
    assert found(lame, alias) == 1
    wait_until(lambda: lame.metric("syncd_index_failures", index=alias) == 1, 30)
    (line,) = shared.daemon.logs(event="index leaves documents out", contract=lame.contract)
    assert (line["level"], line["index"], line["failures"]) == ("warning", alias, 1)
    assert "private" not in shared.daemon.process.log.read_text()
    assert lame.lane()["state"] == "live"


def test_members_of_any_name_and_labels_with_commas(shared: Scene, lame: Flow) -> None:
    """In JSON an index finds members whose names are not ASCII, and cuts no label at its comma; `stopwords` and
    `language` reach RediSearch."""
    alias = f"{shared.token}-names"
    entries = [
        {"name": "größe", "type": "numeric"},
        {"name": "@type", "type": "tag"},
        {"name": "名前", "type": "text"},
    ]
    index = {"name": alias, "fields": entries, "stopwords": ["der"], "language": "german"}
    said = projection({"größe": "size", "@type": "kind", "名前": "text"}, type="json", index=index)
    film = {"_id": 1, "size": 5, "kind": "Smith, John", "text": "und der"}
    flow = shared.run("names", said, documents=[film])
    wait_found(flow, alias, 1, "@größe:[5 5]")
    assert found(flow, alias, r"@\@type:{Smith\, John}") == 1
    assert found(flow, alias, r"@\@type:{Smith}") == 0
    assert found(flow, alias, "@名前:und") == 1
    told = info(flow, alias)
    assert told["stopwords_list"] == [b"der"]
    assert b"german" in told["index_definition"]
