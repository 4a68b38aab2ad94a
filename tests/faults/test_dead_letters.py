"""Documents that cannot be applied, changed on and on, and keys that another client wrote (nothing_lost, never_torn,
nothing_silent, bounded).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

CARD = projection(["title", "n"])
DOC = projection(["title", "n"], name="doc", type="json")
NUMBERS = [
    projection({"title": "title", "n": {"from": "n", "type": "int"}}, name=name, type=type)
    for name, type in (("card", "hash"), ("doc", "json"))
]


def film(number: int, n: Any = 0) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": n}


def deadletters(rig: Rig, verb: str, flow: Flow, *entries: str) -> tuple[int, str]:
    done = cli.syncd("deadletters", verb, flow.contract, *entries, SYNCD_REDIS_URL=rig.redis.url)
    return done.returncode, done.stdout.strip() + done.stderr


def waiting(flow: Flow) -> list[tuple[str, str]]:
    """Document and projection of every dead letter; each has its entry in `letters`, which holds nothing else."""
    look = flow.redis.pipeline(transaction=True)
    look.xrange(flow.names.control("dead"))
    look.hgetall(flow.names.control("letters"))
    dead_letters, known = look.execute()
    said = sorted(
        (dead_letter[b"id"].decode(), dead_letter[b"projection"].decode()) for _, dead_letter in dead_letters
    )
    assert set(known.values()) == {entry for entry, _ in dead_letters}
    assert sorted(name.decode() for name in known) == sorted(f"{name} {ident}" for ident, name in said)
    return said


def parked(flow: Flow) -> float:
    return flow.metric("syncd_dead_letters_total")


def test_a_document_that_never_fits(rig: Rig) -> None:
    """bounded, nothing_silent: however often it changes, a document has one waiting dead letter a projection, the
    newest; the metric counts every one. `drop`, `replay` and a kill of the daemon leave no trace of dead letters that
    are gone."""
    flow = rig.scene.run("film", *NUMBERS, documents=[film(n) for n in range(10)])
    for turn in range(20):
        flow.collection.update_one({"_id": 1}, {"$set": {"n": f"no number {turn}", f"turn{turn}": 1}})
        flow.catch_up()
    assert waiting(flow) == [("1", "card"), ("1", "doc")]
    assert all("turn19" in dead_letter["change"] for dead_letter in flow.dead_letters()), "not the newest"
    assert parked(flow) == 40
    rig.scene.daemon.kill()
    rig.scene.start()
    flow.collection.replace_one({"_id": 1}, film(1, "none"))
    flow.collection.replace_one({"_id": 2}, film(2, "none"))
    flow.catch_up()
    both = [("1", "card"), ("1", "doc"), ("2", "card"), ("2", "doc")]
    assert waiting(flow) == both
    assert deadletters(rig, "replay", flow, "--all") == (1, "0 written, 4 still failing, 0 not found")
    assert waiting(flow) == both
    first = flow.redis.xrange(flow.names.control("dead"), count=1)[0][0].decode()
    assert deadletters(rig, "drop", flow, first, "1-1") == (1, "dropped 1, 1 not found")
    assert len(waiting(flow)) == 3
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "again"}})
    flow.catch_up()
    assert waiting(flow) == both
    flow.collection.update_many({}, {"$set": {"n": 5}})
    assert deadletters(rig, "replay", flow, "--all") == (0, "4 written, 0 still failing, 0 not found")
    assert waiting(flow) == []
    assert not flow.redis.exists(flow.names.control("letters"))
    flow.projections = CARD, DOC
    flow.wait_same()


def change(flow: Flow, number: int, n: int) -> None:
    """An update of one field, a whole write, and another update."""
    flow.collection.update_one({"_id": number}, {"$set": {"n": n}})
    flow.collection.replace_one({"_id": number}, film(number, n + 1))
    flow.collection.update_one({"_id": number}, {"$set": {"title": f"title {n}"}})


def test_a_key_that_another_client_overwrote(rig: Rig) -> None:
    """nothing_lost, never_torn: a key that became another type stops this document's key and nothing else; after it is
    gone a replay, or the next change, makes it right."""
    flow = rig.scene.run("film", CARD, DOC, documents=[film(n) for n in range(20)])
    flow.redis.set(flow.key(7), "mine")
    flow.redis.delete(flow.key(8))
    flow.redis.rpush(flow.key(8), "mine")
    flow.redis.set(flow.key(9, "doc"), "mine")
    foreign = [("7", "card"), ("8", "card"), ("9", "doc")]
    for turn in range(3):
        for number in range(20):
            change(flow, number, 10 * turn)
        flow.catch_up()
        assert waiting(flow) == foreign
    assert {dead_letter["reason"] for dead_letter in flow.dead_letters()} == {"wrong_type"}
    assert flow.redis.get(flow.key(7)) == flow.redis.get(flow.key(9, "doc")) == b"mine"
    assert flow.redis.lrange(flow.key(8), 0, -1) == [b"mine"]
    for number in range(20):
        if number not in (7, 8):
            assert flow.hash(number) == {"title": "title 20", "n": "21"}
        if number != 9:
            assert flow.json(number, "doc") == {"title": "title 20", "n": 21}
    assert deadletters(rig, "replay", flow, "--all") == (1, "0 written, 3 still failing, 0 not found")
    flow.redis.delete(flow.key(7), flow.key(8), flow.key(9, "doc"))
    flow.collection.update_one({"_id": 8}, {"$set": {"n": 99}})
    flow.wait_hash(8, {"title": "title 20", "n": "99"})
    assert deadletters(rig, "replay", flow, "--all") == (0, "3 written, 0 still failing, 0 not found")
    flow.wait_same()
    assert flow.metric("syncd_lane_restarts_total") == 0
    assert waiting(flow) == []


def test_a_replay_that_redis_refuses(rig: Rig, narrow: Callable[..., None]) -> None:
    """nothing_silent: a dead letter stays until its document is written; the replay goes on when Redis takes it."""
    flow = rig.scene.run("film", CARD, DOC, documents=[film(1)])
    flow.redis.set(flow.key(2, "doc"), "mine")
    flow.collection.insert_one(film(2))
    wait_until(lambda: waiting(flow) == [("2", "doc")])
    flow.redis.delete(flow.key(2, "doc"))
    narrow("-json.set")
    ((entry, _),) = flow.redis.xrange(flow.names.control("dead"))
    flow.redis.rpush(flow.names.control("replay"), entry)
    flow.wait_state("failed")
    assert waiting(flow) == [("2", "doc")]
    rig.scene.daemon.kill()
    narrow("+json.set")
    rig.scene.start()
    wait_until(lambda: waiting(flow) == [], 20, flow.lane)
    flow.wait_same()
