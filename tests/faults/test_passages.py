"""Documents of many passages with a vector each, searched while they change (no_ghosts, bounded)."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from pymongo import UpdateOne

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.memory import Memory
from tests.support.scale import SCALE
from tests.support.scene import Flow

"""10: 2,000 documents of 200 passages with vectors of 64 dimensions. Takes minutes."""
DOCUMENTS, PASSAGES, DIMS, CHANGES = (20, 50, 8, 250) if SCALE < 10 else (2_000, 200, 64, 2_000)
ALGORITHM = "hnsw" if SCALE < 10 else "flat"
"""A search by HNSW is a good guess: among 400,000 vectors at random it misses the very one that is asked for."""
ELEMENTS = 10_000
MOST_MB = 300

pytestmark = pytest.mark.timeout(180 if SCALE < 10 else 3600)


def vector(seed: object) -> list[float]:
    chance = random.Random(str(seed))
    return [chance.uniform(-1, 1) for _ in range(DIMS)]


def passage(document: int, number: int, version: int = 0) -> dict[str, Any]:
    return {"id": number, "text": f"text {version}", "embedding": vector((document, number, version))}


def shape(index: str) -> dict[str, Any]:
    embedding = {"from": "passages.embedding", "type": "vector", "dims": DIMS}
    attrs = {"dims": DIMS, "algorithm": ALGORITHM, "distance_metric": "l2"}
    fields = [{"name": "title", "type": "tag"}, {"name": "embedding", "type": "vector", "attrs": attrs}]
    return projection(
        {"title": "title", "text": "passages.text", "embedding": embedding}, name="passage", each="passages",
        key="{_id}:{passages.id}", index={"name": index, "fields": fields},
    )  # fmt: skip


def nearest(flow: Flow, index: str, wanted: list[float]) -> tuple[str, float]:
    """The key, without its prefix, and how far it is."""
    packed = struct.pack(f"<{DIMS}f", *wanted)
    query = "*=>[KNN 1 @embedding $wanted AS distance]"
    reply = flow.redis.execute_command(
        "FT.SEARCH", index, query, "PARAMS", 2, "wanted", packed, "RETURN", 1, "distance", "DIALECT", 2
    )
    key, (_, distance) = reply[1:3]
    return key.decode().removeprefix(flow.key("", "passage")), float(distance)


def test_a_passage_that_is_removed_is_never_found_again(rig: Rig) -> None:
    """no_ghosts: passages change and go while the daemon is killed; a search finds each that is there, by its present
    vector, and none that went"""
    collection = rig.scene.mongo["faults"]["books"]
    for start in range(0, DOCUMENTS, 20):
        collection.insert_many(
            {"_id": d, "title": f"book {d}", "passages": [passage(d, n) for n in range(PASSAGES)]}
            for d in range(start, start + 20)
        )
    flow = rig.scene.add("books", shape("faults-books"))
    rig.scene.start()
    flow.wait_live(3000)
    count = DOCUMENTS * PASSAGES
    wait_until(
        lambda: flow.redis.execute_command("FT.SEARCH", "faults-books", "*", "LIMIT", 0, 0)[0] == count
    )
    chance, changes = random.Random(1), []
    there: dict[tuple[int, int], int] = {(d, n): 0 for d in range(DOCUMENTS) for n in range(PASSAGES)}
    for turn, (d, n) in enumerate(chance.sample(sorted(there), CHANGES)):
        if turn % 2:
            there[d, n] = turn
            fresh = passage(d, n, turn)
            changes.append(
                UpdateOne({"_id": d}, {"$set": {"passages.$[it]": fresh}}, array_filters=[{"it.id": n}])
            )
        else:
            del there[d, n]
            changes.append(UpdateOne({"_id": d}, {"$pull": {"passages": {"id": n}}}))
    for start in range(0, len(changes), len(changes) // 2):
        flow.collection.bulk_write(changes[start : start + len(changes) // 2])
        rig.scene.daemon.kill()
        rig.scene.start()
        flow.wait_live(3000)
    wait_until(lambda: flow.keys("passage") == {f"{d}:{n}" for d, n in there}, 3000)
    search = ("FT.SEARCH", "faults-books", "*", "LIMIT", 0, 0)
    wait_until(lambda: flow.redis.execute_command(*search)[0] == len(there))
    for (d, n), version in chance.sample(sorted(there.items()), 50):
        assert nearest(flow, "faults-books", vector((d, n, version))) == (
            f"{d}:{n}",
            pytest.approx(0, abs=1e-6),
        )
    gone = [(d, n) for d in range(DOCUMENTS) for n in range(PASSAGES) if (d, n) not in there]
    for d, n in gone[:50]:
        key, distance = nearest(flow, "faults-books", vector((d, n, 0)))
        assert key != f"{d}:{n}" and distance > 1e-6


def test_a_document_of_many_elements(rig: Rig) -> None:
    """bounded: a document of 10,000 elements arrives by copy and by change; the daemon stays small"""
    texts = [f"text {number} {'x' * 400}" for number in range(ELEMENTS)]
    shape = projection({"title": "title", "text": "texts"}, type="json", each="texts", key="{_id}:{texts.#}")
    flow = rig.scene.add("many", shape, documents=[{"_id": 1, "title": "one", "texts": texts}])
    rig.scene.start()
    with Memory(rig.scene.daemon.process.pid) as memory:
        flow.wait_live()
        flow.collection.update_one({"_id": 1}, {"$set": {"texts.7": "new"}})
        wait_until(lambda: flow.json("1:7") == {"title": "one", "text": "new"})
        wait_until(lambda: flow.metric("syncd_writes_total", store="redis", result="kept") == ELEMENTS - 1)
        flow.collection.update_one({"_id": 1}, {"$push": {"texts": {"$each": ["first"], "$position": 0}}})
        wait_until(lambda: flow.json("1:0") == {"title": "one", "text": "first"})
    flow.assert_same()
    assert memory.most < MOST_MB
