"""Digests of documents through crashes, and a lost position that they answer (nothing_lost, never_backwards, no_ghosts,
nothing_silent).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.lane_requests import request_position
from syncd.stores.redis.store import RedisStore
from tests.faults.conftest import Rig
from tests.support.broken.failpoint import failing
from tests.support.broken.hold import Hold
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow
from tests.support.shapes.digests import wait_known
from tests.support.ways.reconcile import changing, check, state

COUNT = 600
CARD = projection({"title": "title", "score": "score", "a": "a"})
DIGEST = {"check": "digest"}
FEW = 150
LOST = 286


def begin(rig: Rig, **more: Any) -> Flow:
    films = [{**state(n), "score": n + 0.5} for n in range(COUNT)]
    return rig.scene.run("film", CARD, documents=films, reconcile=DIGEST, **more)


def asking(flow: Flow) -> tuple[bytes, bytes]:
    """How the lane's own stream asks for changes."""
    return b"getMore\x00", flow.collection.name.encode()


def goes_on(flow: Flow, redis_url: str) -> None:
    """Until the lane has done all that is due, once at least from here on: a request is answered before it reads
    digests, so the second answer comes behind that."""
    keys = ControlKeys(flow.contract)
    with closing(RedisStore(redis_url)) as store:
        for _ in range(2):
            request_position(store, keys)
            wait_until(lambda: not flow.redis.exists(keys.requests), 60, flow.lane)


def change_some(flow: Flow) -> None:
    """Fractions, a field that goes, documents that come and go, and one that comes back to what it was."""
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$inc": {"score": 0.25}})
    flow.collection.update_many({"_id": {"$in": [30, 31]}}, {"$unset": {"a": 1}})
    flow.collection.delete_many({"_id": {"$gte": COUNT - 15}})
    flow.collection.insert_many([{**state(n), "score": 0.125} for n in range(1000, 1010)])


@pytest.mark.timeout(120)
def test_a_lost_position_costs_what_differs(rig: Rig) -> None:
    """nothing_lost, no_ghosts, nothing_silent: where digests are kept, a position that MongoDB cannot resume costs the
    documents that differ, not a copy of all; also one whose digest was not known, and is again what it was."""
    flow = begin(rig)
    wait_known(flow, rig.redis.url)
    hold = rig.mongo_proxy.hold_request(flow.command("find"), b"_syncd_source")
    flow.collection.update_one({"_id": 40}, {"$inc": {"score": 0.25}})
    hold.wait()  # the change is applied, and its digest is not known
    rig.scene.daemon.kill()
    hold.release()
    flow.collection.update_one({"_id": 40}, {"$inc": {"score": -0.25}})
    change_some(flow)
    flow.count_reads()
    with failing(flow.collection, "aggregate", LOST, times=1):
        rig.scene.start()
        flow.wait_live()
    read = flow.documents_read()
    flow.assert_same()
    assert 33 <= read <= FEW, read
    assert rig.scene.daemon.logs(event="snapshot started")[-1]["reason"].endswith("digests say what differs")
    wait_known(flow, rig.redis.url)
    flow.catch_up()
    flow.assert_same()


@pytest.mark.timeout(120)
def test_a_position_that_is_lost_while_a_copy_runs(rig: Rig) -> None:
    """no_ghosts: digests know of no key without a document that the copy was to remove at its end; it begins again."""
    flow = begin(rig)
    wait_known(flow, rig.redis.url)
    rig.scene.daemon.kill()
    flow.collection.delete_many({"_id": {"$gte": COUNT - 15}})
    flow.write(projection({"title": "title", "score": "score"}), reconcile=DIGEST)
    hold = rig.redis_proxy.hold_request(b"syncd_apply", key_of(flow, 0))
    rig.scene.daemon.launch()
    hold.wait()
    rig.scene.daemon.kill()
    hold.release()
    with failing(flow.collection, "aggregate", LOST, times=1):
        rig.scene.start()
        flow.wait_live()
    flow.assert_same()


def test_a_digest_that_is_ahead_of_the_stream(rig: Rig) -> None:
    """nothing_silent: a digest that MongoDB gave is not stored before the stream has come so far: a crash would leave
    it beside a key that shows an older state."""
    rig.keep_own_streams()
    flow = begin(rig)
    wait_known(flow, rig.redis.url)
    before = rig.mongo_proxy.hold_reply(*asking(flow))
    before.wait()
    # The stream asks for nothing until this reply is there: the next brings the change, and the one after it is held.
    streamed = rig.mongo_proxy.hold_reply(*asking(flow), nth=2)
    asked = rig.mongo_proxy.hold_request(flow.command("find"), b"_syncd_source")
    flow.collection.update_one({"_id": 40}, {"$inc": {"score": 0.25}})
    before.release()
    streamed.wait()
    asked.wait()
    flow.collection.update_one({"_id": 40}, {"$inc": {"score": 0.25}})
    asked.release()
    goes_on(flow, rig.redis.url)
    assert flow.redis.smembers(flow.names.control("changed")) == {b"40"}
    streamed.release()
    wait_known(flow, rig.redis.url)
    flow.assert_same()


def test_a_call_that_ends_in_the_middle(rig: Rig) -> None:
    """nothing_silent: where Redis ends a call in the middle, the digests of what it has written are known to be
    unknown, though neither the rest of the call nor its position is there."""
    flow = begin(rig)
    wait_known(flow, rig.redis.url)
    flow.redis.execute_command("ACL", "SETUSER", "default", "-hdel")
    try:
        with flow.collection.database.client.start_session() as session, session.start_transaction():
            flow.collection.update_one({"_id": 1}, {"$set": {"title": "new"}}, session=session)
            flow.collection.update_one({"_id": 2}, {"$unset": {"a": 1}}, session=session)
        flow.wait_state("failed")
        assert (flow.hash(1)["title"], flow.hash(2)["a"]) == ("new", "0")
        assert flow.redis.smembers(flow.names.control("changed")) == {b"1", b"2"}
    finally:
        flow.redis.execute_command("ACL", "SETUSER", "default", "+hdel")
    rig.scene.daemon.kill()
    rig.scene.start()
    flow.wait_live()
    wait_known(flow, rig.redis.url)
    flow.assert_same()


def key_of(flow: Flow, number: int) -> bytes:
    return flow.key(number).encode() + b"\r\n"


MOMENTS: dict[str, Callable[[Rig, Flow], Hold]] = {
    "what differs is read": lambda rig, flow: rig.mongo_proxy.hold_reply(flow.command("find"), b"$in\x00"),
    "it is not written": lambda rig, flow: rig.redis_proxy.hold_request(
        b"syncd_apply", flow.key(30).encode() + b"\r\n"
    ),
    "it is written": lambda rig, flow: rig.redis_proxy.hold_reply(
        b"syncd_apply", flow.key(30).encode() + b"\r\n"
    ),
}


@pytest.mark.timeout(120)
@pytest.mark.at_scale("it is not written")
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_digests_are_compared(rig: Rig, moment: str) -> None:
    """nothing_lost, no_ghosts: the next run looks for what is left, and nothing passes for known that is not."""
    flow = begin(rig)
    wait_known(flow, rig.redis.url)
    rig.scene.daemon.kill()
    change_some(flow)
    with failing(flow.collection, "aggregate", LOST, times=1):
        hold = MOMENTS[moment](rig, flow)
        rig.scene.daemon.launch()
        hold.wait()
        assert flow.position()["phase"] == b"digest"
        rig.scene.daemon.kill()
        hold.release()
    flow.collection.update_one({"_id": 50}, {"$inc": {"score": 0.25}})
    rig.scene.start()
    flow.wait_live()
    flow.catch_up()
    flow.assert_same()
    wait_known(flow, rig.redis.url)


@pytest.mark.timeout(180)
def test_kills_under_load(rig: Rig) -> None:
    """never_backwards, nothing_silent: through kills at any moment a digest in Redis is that of the state that the key
    shows, or is known to be unknown; a check by digests beside the writers reports nothing that is not so."""
    flow = begin(rig, env={"SYNCD_CHUNK_DOCUMENTS": "50"})
    with changing(flow, range(COUNT), per_second=200):
        for _ in range(4):
            rig.scene.daemon.kill()
            rig.scene.start()
            flow.wait_live(40)
            report = check(rig.scene, flow, rig.mongo.uri, rig.redis.url, by_digest=True)
            assert (report.check, report.found, report.ended) == ("digest", 0, ""), report.as_dict()
    flow.catch_up()
    flow.wait_same()
    wait_known(flow, rig.redis.url)
    report = check(rig.scene, flow, rig.mongo.uri, rig.redis.url, by_digest=True)
    assert (report.result, report.compared) == ("clean", 0)
