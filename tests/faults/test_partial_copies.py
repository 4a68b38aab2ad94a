"""A copy of the documents that match a filter (nothing_lost, no_ghosts, never_backwards)."""

from __future__ import annotations

from subprocess import CompletedProcess

from tests.faults.conftest import Rig, again
from tests.support import cli
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

CARD = projection({"title": "title", "n": "n"})
COUNT = 2000
"""Of which half match: four pages of a partial copy."""
MATCHING = '{"part": {"$in": ["a"]}}'


def ask(rig: Rig, *words: str) -> CompletedProcess[str]:
    return cli.syncd(*words, SYNCD_REDIS_URL=rig.redis.url)


def spoil(flow: Flow) -> None:
    """Another client changes every key, and adds one without a document."""
    pipe = flow.redis.pipeline(transaction=False)
    for at in range(COUNT):
        pipe.hset(flow.key(at), "title", "spoilt")
    for at in range(0, COUNT, 7):
        pipe.delete(flow.key(at))
    pipe.hset(flow.key("stray"), mapping={"title": "stray", "n": "0"})
    pipe.execute()


def test_a_kill_in_the_middle(rig: Rig) -> None:
    """no_ghosts: the daemon is killed while some documents are copied, and changes go on: every document that matches
    shows as it is, and no other key is touched, with a document or without. A copy of everything does the rest."""
    documents = [{"_id": at, "title": f"film {at}", "n": 0, "part": "ab"[at % 2]} for at in range(COUNT)]
    flow = rig.scene.run("film", CARD, documents=documents)
    spoil(flow)
    assert "$where" in ask(rig, "snapshot", flow.contract, "--where", '{"$where": "true"}').stderr
    refused = ask(rig, "snapshot", flow.contract, "--where", '{"n": {"$nothing": 1}}')
    assert refused.returncode == 1 and "$nothing" in refused.stderr, refused
    asked = {"id": "x", "where": '{"n": 99999999999999999999}', "since": "0", "by": "an old release"}
    flow.redis.delete(flow.names.control("partial"))
    flow.redis.hset(flow.names.control("partial"), mapping=asked)
    wait_until(lambda: "cannot represent" in flow.lane()["partial"]["error"], 30, flow.lane)
    assert flow.lane()["state"] == "live"
    hold = rig.redis_proxy.hold_request(b"syncd_partial", nth=2)
    done = ask(rig, "snapshot", flow.contract, "--where", MATCHING)
    assert done.returncode == 0, done.stderr
    hold.wait()
    assert "under way" in ask(rig, "snapshot", flow.contract, "--where", MATCHING).stderr
    again(rig)
    flow.collection.update_many({"_id": {"$lt": 100}}, {"$set": {"n": 1}})
    flow.collection.delete_many({"_id": {"$in": [1000, 1001]}})
    wait_until(lambda: not flow.redis.exists(flow.names.control("partial")), 60, flow.lane)
    flow.catch_up()
    (going_on,) = rig.scene.daemon.logs(event="partial copy started", copied=256)
    assert going_on["contract"] == flow.contract
    partial = flow.lane()["partial"]
    assert partial["copied"] in (999, 1000) and not partial["under_way"], partial  # one went meanwhile
    there = {one["_id"]: one for one in flow.collection.find() if one["_id"] != "marker"}
    for at in range(COUNT):
        shown, document = flow.hash(at), there.get(at)
        if document is None:
            assert not shown, at
        elif at % 2 == 0:
            assert shown == {"title": document["title"], "n": str(document["n"])}, at
        elif at < 100:
            assert shown["n"] == "1" and shown["title"] == ("spoilt" if at % 7 else document["title"]), at
        else:
            assert shown == ({"title": "spoilt", "n": "0"} if at % 7 else {}), at
    assert flow.hash("stray"), "no sweep"
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1
    assert ask(rig, "snapshot", flow.contract).returncode == 0
    wait_until(lambda: not flow.hash("stray"), 60, flow.lane)
    flow.catch_up()
    flow.assert_same()
