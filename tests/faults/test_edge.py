"""A site at the edge, whose link to the centre is cut for long (nothing_lost, no_ghosts, applied_once, nothing_silent,
bounded).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.embedded import RedisServer
from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.compare import compare
from tests.support.contracts import projection
from tests.support.memory import Memory
from tests.support.scene import Flow, Scene
from tests.support.ways import outbox, stream, twoway
from tests.support.ways.edge import add_films, films, sockets

COUNT = 1500
SITE = "hill"
BACKLOG = 1000
EMAIL = "somebody@example.com"


def waiting_for(rig: Rig) -> dict[str, str]:
    """What /readyz says, by contract; empty while all is well."""
    code, body = rig.scene.daemon.get("/readyz")
    said: dict[str, str] = json.loads(body)["waiting_for"]
    assert (code == 503) == bool(said)
    return said


def same(flow: Flow, site: str) -> bool:
    prefix = flow.names.prefix("card")
    return not compare(flow.collection, flow.redis, flow.projections[0], prefix, {"site": site})


def change_films(flow: Flow) -> None:
    """Some change, one goes, one comes, one leaves the site and one comes to it."""
    flow.collection.update_many({"_id": {"$lt": 50}}, {"$inc": {"n": 1}})
    flow.collection.delete_one({"_id": 60})
    flow.collection.insert_one(films(SITE, range(9000, 9001))[0])
    flow.collection.update_one({"_id": 61}, {"$set": {"site": "harbour"}})
    flow.collection.update_one({"_id": COUNT + 1}, {"$set": {"site": SITE}})


def change_at_the_site(orders: Flow, events: Flow, notes: Flow) -> None:
    for start in range(0, BACKLOG, 500):
        outbox.put(orders, range(start, start + 500), 2)
        stream.append(events, range(start, start + 500))
    outbox.remove(orders, range(5))
    for number in range(20):
        twoway.hset(notes, number, a="from the site")


def of_entry(document_id: str) -> list[int]:
    """Milliseconds and number of the entry that a document was."""
    return [int(part) for part in document_id.rpartition("/")[2].split("-")]


def test_a_link_that_is_cut_for_days(rig: Rig) -> None:
    """nothing_lost, no_ghosts, applied_once, nothing_silent, bounded: a site serves its keys and takes writes, its
    daemon says what waits and for what; killed and started again without the link it waits for it. When the link is
    back everything is equal, in its order and once, and no copy has gone over it."""
    env = {"SYNCD_SITE": SITE}
    rig.scene.daemon = rig.scene.another_daemon(**env)
    film = add_films(rig.scene, films(SITE, range(COUNT)) + films("harbour", range(COUNT, COUNT + 100)))
    orders = outbox.add_outbox(rig.scene, "order")
    events = stream.add_stream(rig.scene, "event")
    notes = twoway.add_two_way(
        rig.scene, "note", "outbox", documents=[{"_id": n, "c": "0"} for n in range(50)]
    )
    flows = film, orders, events, notes
    rig.scene.start()
    rig.scene.daemon.wait_ready()
    assert same(film, SITE)
    outbox.put(orders, range(10), 1)
    outbox.wait_like_redis(orders)
    rig.mongo_proxy.cut()
    cut_at = time.monotonic()
    change_films(film)
    change_at_the_site(orders, events, notes)
    notes.collection.update_many({}, {"$set": {"c": "from the centre"}})
    for turn in range(2):
        wait_until(
            lambda: waiting_for(rig).keys() == {flow.contract for flow in flows}, 60, lambda: waiting_for(rig)
        )
        wait_until(
            lambda: all("MongoDB" in why for why in waiting_for(rig).values()), 60, lambda: waiting_for(rig)
        )
        assert film.hash(60)["n"] == "0", "what is there is served"
        for flow, many in ((orders, BACKLOG + 5), (events, BACKLOG), (notes, 20)):
            wait_until(lambda f=flow, m=many: f.metric("syncd_outbox_entries") == m, 40, flow.lane)
            assert flow.metric("syncd_lag_seconds") > turn
        # Also behind a restart: Redis knows how old it is.
        away = time.monotonic() - cut_at
        assert film.metric("syncd_lag_seconds") > away - 2
        assert sockets(rig) < 60
        if turn == 0:
            rig.scene.daemon.kill()
            rig.scene.daemon.start()
    pid = rig.scene.daemon.process.pid
    with Memory(pid) as memory:
        rig.mongo_proxy.restore()
        rig.scene.daemon.wait_ready(60)
        wait_until(lambda: same(film, SITE), 40, film.lane)
        outbox.wait_like_redis(orders)
        stream.wait_numbers(events, range(BACKLOG))
        twoway.wait_alike(notes)
    assert memory.most < 250
    assert rig.mongo_proxy.connections < 40
    assert rig.scene.daemon.process.pid == pid
    in_order = sorted(events.collection.find(), key=lambda one: of_entry(one["_id"]))
    assert [one["n"] for one in in_order] == list(range(BACKLOG))
    assert twoway.documents(notes)[7] == {"a": "from the site", "c": "from the centre"}
    assert len(rig.scene.daemon.logs(event="snapshot started", contract=film.contract)) == 1
    assert not any(flow.dead_letters() for flow in flows)


def test_what_goes_over_the_link(rig: Rig) -> None:
    """nothing_lost, no_ghosts: after an outage the changes go over the link, and not the documents again; of changes at
    other sites less than of those at its own. Where MongoDB no longer knows what changed, digests do."""
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_SITE=SITE)
    documents = films(SITE, range(COUNT)) + films("harbour", range(COUNT, COUNT + 100))
    film = add_films(rig.scene, documents, reconcile={"check": "digest"})
    rig.scene.start()
    rig.scene.daemon.wait_ready()
    assert same(film, SITE)
    copied = rig.mongo_proxy.bytes
    used = []
    for first in (0, COUNT):
        rig.mongo_proxy.cut()
        changed = {"_id": {"$gte": first, "$lt": first + 100}}
        film.collection.update_many(changed, {"$inc": {"n": 1}})
        before = rig.mongo_proxy.bytes
        rig.mongo_proxy.restore()
        wait_passed(film)
        assert same(film, SITE)
        used.append(rig.mongo_proxy.bytes - before)
    assert used[1] < used[0] < copied / 4
    wait_until(lambda: not film.redis.exists(film.names.control("changed")), 40, film.lane)
    rig.mongo_proxy.cut()
    change_films(film)
    rig.scene.daemon.kill()
    film.redis.hset(film.names.control("position"), "token", '{"_data": "older than the oplog"}')
    before = rig.mongo_proxy.bytes
    rig.mongo_proxy.restore()
    rig.scene.start()
    rig.scene.daemon.wait_ready()
    wait_passed(film)
    assert same(film, SITE)
    assert rig.mongo_proxy.bytes - before < copied / 2, "of which most are the sums of 4,096 buckets"
    assert len(rig.scene.daemon.logs(event="position lost")) == 1


def wait_passed(film: Flow) -> None:
    """Until the stream has come so far."""
    marker = film.collection.find_one_and_update(
        {"_id": "marker"}, {"$inc": {"n": 1}, "$set": {"site": SITE}}, upsert=True, return_document=True
    )
    wait_until(lambda: film.hash("marker").get("n") == str(marker["n"]), 60, film.lane)


@pytest.fixture
def harbour(rig: Rig, tmp_path: Path) -> Iterator[Scene]:
    """Another site, on the same contracts and the same MongoDB; the first one is `hill`."""
    (tmp_path / "site").write_text("harbour\n")
    env = {"SYNCD_SITE_FILE": str(tmp_path / "site"), "SYNCD_HMAC_KEY": "secret"}
    with (
        RedisServer() as server,
        Scene(tmp_path, "faults", rig.mongo.uri, server.url, env=env) as scene,
    ):
        rig.scene.daemon = rig.scene.another_daemon(SYNCD_SITE=SITE, SYNCD_HMAC_KEY="secret")
        yield scene


def test_two_sites_on_one_directory(rig: Rig, harbour: Scene) -> None:
    """no_ghosts, applied_once, nothing_silent: each site has its documents and no others, and of what is masked nothing
    is in its Redis, nor on the way from a daemon to it, which may be the link. What both write arrives, also where the
    numbers are the same, except that a document belongs to the site that wrote it first: the other's is a dead letter,
    in either order."""
    sites = {SITE: rig.scene, "harbour": harbour}
    leak = rig.redis_proxy.hold_request(EMAIL.encode())
    shape = projection(
        {"n": "n", "who": {"from": "email", "mask": "hmac"}, "card": {"from": "card", "mask": "last4"}}
    )
    secret = {"email": EMAIL, "card": "4000123412341234"}
    documents = [{"_id": n, "n": n, "site": (SITE, "harbour")[n % 2], **secret} for n in range(200)]
    flows = {}
    for name, scene in sites.items():
        film = scene.add(
            "film", shape, documents=documents if name == SITE else (), filter={"site": "${SYNCD_SITE}"}
        )
        said = projection(stream.NUMBERED, name="event", type="stream", key="${SYNCD_SITE}")
        flows[name] = film, outbox.add_outbox(scene, "order"), scene.add("event", said, sync=stream.SYNC)
        scene.start()
        scene.daemon.wait_ready()
    for turn, (name, (film, orders, events)) in enumerate(flows.items()):
        assert film.keys() == {str(n) for n in range(turn, 200, 2)}
        assert film.hash(10 + turn).keys() == {"n", "who", "card"}
        held = [
            film.redis.dump(key) for key in film.redis.scan_iter("*") if film.redis.type(key) != b"stream"
        ]
        assert not any(word.encode() in one for one in held for word in (EMAIL, "40001234"))
        outbox.put(orders, [f"{name}{n}" for n in range(50)], turn)
        outbox.put(orders, [turn], 7)
        for number in range(50):
            film.redis.xadd(events.key(name, "event"), {"n": number}, id=f"{number + 1}-1")
        outbox.wait_empty(orders)
    (hill, orders, events), (_, others, _) = flows.values()
    wait_until(lambda: events.collection.count_documents({}) == 100, 20, events.lane)
    found = orders.collection.find({"_id": {"$type": "string"}})
    assert sorted(one["_id"] for one in found) == sorted(f"{name}{n}" for name in sites for n in range(50))
    before = outbox.documents(orders)
    for turn, flow in ((1, orders), (0, others)):
        outbox.put(flow, [turn], 8)
        outbox.remove(flow, [turn])
        outbox.wait_empty(flow)
        (dead_letter,) = flow.dead_letters()
        assert (dead_letter["reason"], dead_letter["key"]) == ("other_site", flow.key(turn))
        assert flow.metric("syncd_redis_went_back_total") == 0
    assert outbox.documents(orders) == before
    hill.collection.update_one({"_id": 0}, {"$set": {"site": "harbour"}})
    assert not leak.arrived.is_set()
    hill.wait_gone(0)
    wait_until(lambda: flows["harbour"][0].hash(0), 20)


def test_a_start_without_a_network(rig: Rig) -> None:
    """nothing_silent: where not even the name of the centre can be looked up, a daemon that starts waits, says so, and
    tells what the application writes meanwhile; it ends in order."""
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_MONGO_URI="mongodb+srv://user:secret@centre.invalid/")
    orders = outbox.add_outbox(rig.scene, "order")
    outbox.put(orders, range(10), 1)
    rig.scene.start()
    wait_until(lambda: "cannot be looked up" in waiting_for(rig).get(orders.contract, ""), 40, orders.lane)
    wait_until(lambda: orders.metric("syncd_outbox_entries") == 10, 20, orders.lane)
    assert orders.lane()["state"] == "waiting"
    assert "secret" not in rig.scene.daemon.process.log.read_text()
    assert rig.scene.daemon.terminate() == 0
