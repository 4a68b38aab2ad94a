"""Thousands of changes that do not fit: what is reported, how many dead letters are kept, and what a replay says of
them (nothing_lost, nothing_silent, bounded).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

CARD = projection(
    {"title": "title", "n": {"from": "n", "type": "int"}, "year": {"from": "year", "type": "int"}}
)
COUNT = 600
KEEP = 7


def film(number: int, **more: Any) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": 0, "year": 1900} | more


def dead_letters(rig: Rig, verb: str, flow: Flow, *more: str) -> tuple[int, str]:
    done = cli.syncd("deadletters", verb, flow.contract, *more, SYNCD_REDIS_URL=rig.redis.url)
    return done.returncode, done.stdout.strip() + done.stderr


def bound(when_full: str, keep: int = KEEP) -> Mapping[str, Any]:
    return {"dead_letters": {"keep": keep, "when_full": when_full}}


def wait_numbers(flow: Flow) -> None:
    """Until each key shows its document's number. `compare` knows fields without a type alone."""

    def wrong() -> list[int]:
        films = {said["_id"]: said["n"] for said in flow.collection.find({"_id": {"$type": "int"}})}
        return [end for end, said in flow.hashes(films).items() if said.get("n") != str(films[end])]

    wait_until(lambda: not wrong(), 20, lambda: f"{wrong()}; {flow.lane()}")


def wait_paused(flow: Flow) -> None:
    lane = flow.wait_state("paused")
    assert f"{KEEP} dead letters wait" in lane["error"]
    assert len(flow.dead_letters()) == KEEP
    wait_until(lambda: flow.lane()["dead_letters"] == KEEP)


def test_one_update_of_many_documents(rig: Rig) -> None:
    """nothing_silent: thousands of equal dead letters are a line or two of the log, with their count, field and reason;
    each is in the metric, and `list` groups them."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(COUNT)])
    flow.collection.update_many({}, {"$set": {"n": "none"}})
    wait_until(lambda: len(flow.dead_letters()) == COUNT, 30)
    flow.collection.update_many({"_id": {"$lt": 3}}, {"$set": {"n": 1, "year": "x"}})
    flow.catch_up()
    assert flow.metric("syncd_dead_letters_total") == COUNT + 3
    rig.scene.daemon.terminate()
    said = rig.scene.daemon.logs(event="dead letter")
    assert sum(entry["count"] for entry in said) == COUNT + 3
    assert [entry["field"] for entry in said].count("year") == 1
    assert len(said) <= 3
    code, text = dead_letters(rig, "list", flow)
    lines = text.splitlines()
    assert code == 1
    assert lines[0] == f"{COUNT - 3} dead letters: cannot_convert, field n, projection card"
    assert lines[11] == f"  and {COUNT - 13} more; `--each` names them"
    assert lines[12] == "3 dead letters: cannot_convert, field year, projection card"
    assert len(lines) == 16
    cut = dead_letters(rig, "list", flow, "--field", "n", "--limit", "2")[1]
    assert cut.startswith("at least 2 dead letters: cannot_convert, field n, "), cut
    assert len(dead_letters(rig, "list", flow, "--each")[1].splitlines()) == COUNT + 2
    listed = json.loads(dead_letters(rig, "list", flow, "-o", "json")[1])
    shown = json.loads(dead_letters(rig, "show", flow, listed[0]["entry"], "-o", "json")[1])
    assert shown == listed[0]
    assert isinstance(shown["change"], dict)


def test_a_lane_whose_dead_letters_are_full_waits(rig: Rig) -> None:
    """bounded, nothing_lost: with `when_full: pause` no dead letter is lost. The lane stores those that there is room
    for, says that it is paused, is not ready, and goes on where it was once there is room, through a kill, too."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(50)], sync=bound("pause"))
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$set": {"n": "none"}})
    wait_paused(flow)
    assert not rig.scene.daemon.is_ready()
    rig.scene.daemon.kill()
    rig.scene.start()
    wait_paused(flow)
    flow.collection.update_many({}, {"$set": {"title": "later"}})
    flow.collection.update_many({}, {"$set": {"n": 5}})
    assert dead_letters(rig, "replay", flow, "--all") == (0, f"{KEEP} written, 0 still failing, 0 not found")
    flow.wait_live()
    flow.catch_up()
    wait_numbers(flow)
    assert not flow.dead_letters()


def test_a_copy_whose_dead_letters_are_full_waits(rig: Rig) -> None:
    """bounded, nothing_lost: a copy stops at the bound as well, and goes on after a `drop`."""
    documents = [film(n, n="none" if n % 5 == 0 else 1) for n in range(40)]
    flow = rig.scene.add("film", CARD, documents=documents, sync=bound("pause"))
    rig.scene.start()
    wait_paused(flow)
    flow.collection.update_many({"n": "none"}, {"$set": {"n": 2}})
    assert dead_letters(rig, "drop", flow, "--all") == (0, f"dropped {KEEP}")
    flow.wait_live()
    flow.catch_up()
    wait_numbers(flow)


def test_a_bound_that_is_raised(rig: Rig) -> None:
    """nothing_lost: an edit of the contract lets a paused lane go on, without a copy."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(30)], sync=bound("pause"))
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$set": {"n": "none"}})
    wait_paused(flow)
    flow.write(CARD, sync=bound("pause", 100))
    flow.wait_live()
    wait_until(lambda: len(flow.dead_letters()) == 20)
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1


def test_the_oldest_dead_letters_go(rig: Rig) -> None:
    """bounded, nothing_silent: with `when_full: drop_oldest` the lane goes on, keeps the newest dead letters, and what
    it drops is counted and logged; no record of a dropped dead letter is left."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(50)], sync=bound("drop_oldest"))
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$set": {"n": "none"}})
    flow.catch_up()
    assert sorted(int(said["id"]) for said in flow.dead_letters()) == list(range(13, 20))
    assert flow.redis.hlen(flow.names.control("letters")) == KEEP
    assert flow.metric("syncd_dead_letters_dropped_total") == 13
    rig.scene.daemon.terminate()
    assert sum(said["count"] for said in rig.scene.daemon.logs(event="dead letter", reason="dropped")) == 13


def test_what_a_replay_did(rig: Rig) -> None:
    """nothing_silent: `replay` reports written, still failing and not found, and its exit code says whether all are
    written."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(9)])
    flow.collection.update_many({}, {"$set": {"n": "none"}})
    flow.catch_up()
    assert dead_letters(rig, "replay", flow, "1-1") == (1, "0 written, 0 still failing, 1 not found")
    assert dead_letters(rig, "replay", flow, "no-entry") == (1, "0 written, 0 still failing, 1 not found")
    assert dead_letters(rig, "replay", flow, "--all") == (1, "0 written, 9 still failing, 0 not found")
    entries = {said[b"id"]: entry.decode() for entry, said in flow.redis.xrange(flow.names.control("dead"))}
    flow.collection.update_one({"_id": 1}, {"$set": {"n": 1}})
    some = dead_letters(rig, "replay", flow, entries[b"1"], entries[b"2"], "1-1", "-o", "json")
    assert (some[0], json.loads(some[1])) == (
        1, {"contract": flow.contract, "written": 1, "still_failing": 1, "not_found": 1},
    )  # fmt: skip
    flow.collection.update_many({}, {"$set": {"n": 1}})
    assert dead_letters(rig, "replay", flow, "--all") == (0, "8 written, 0 still failing, 0 not found")
    assert dead_letters(rig, "replay", flow, "--all") == (0, "0 written, 0 still failing, 0 not found")
    wait_numbers(flow)


@pytest.mark.at_scale(all_but_one_of=2)
@pytest.mark.parametrize("when_full", ["pause", "drop_oldest"])
@pytest.mark.parametrize("capture", ["append", "series", "outbox", "keyspace", "both"])
def test_dead_letters_from_redis_are_bounded(rig: Rig, capture: str, when_full: str) -> None:
    """bounded: with every capture a contract keeps so many dead letters, pauses or drops the oldest, and goes on."""
    flow = start(rig, capture, when_full)
    for number in range(20):
        put(flow, capture, number, "none")
    if when_full == "pause" and capture != "both":
        wait_paused(flow)
        assert dead_letters(rig, "drop", flow, "--all")[0] == 0
        # A time series may keep a batch more: how many entries were in one is chance.
        most = 20 - KEEP if capture == "series" else KEEP
        wait_until(lambda: KEEP <= len(flow.dead_letters()) <= most, 20, flow.lane)
    elif when_full == "pause":
        more = itertools.count(20)
        wait_until(lambda: put(flow, capture, next(more), "none") or flow.lane()["state"] == "paused", 20)
        assert len(flow.dead_letters()) >= KEEP
    else:
        wait_until(lambda: flow.metric("syncd_dead_letters_dropped_total") == 20 - KEEP, 20, flow.lane)
        assert len(flow.dead_letters()) == flow.redis.hlen(flow.names.control("letters")) == KEEP
        assert flow.lane()["state"] == "live"


def start(rig: Rig, capture: str, when_full: str) -> Flow:
    fields = {"n": {"from": "n", "type": "int"}}
    if capture in ("append", "series"):
        said = {"direction": "redis_to_mongo", "capture": "append"}
        fields["at"] = {"from": "at", "type": "epoch_ms"}
        shape = projection(fields, type="stream", key="log")
    else:
        direction = "both" if capture == "both" else "redis_to_mongo"
        said = {"direction": direction, "capture": "outbox" if capture == "both" else capture}
        if capture == "both":
            said["on_conflict"] = "redis_wins"
        shape = projection(fields)
    more = {"timeseries": {"time_field": "at"}} if capture == "series" else {}
    return rig.scene.run("film", shape, sync={**said, **bound(when_full)}, **more)


def put(flow: Flow, capture: str, number: int, n: str) -> None:
    if capture in ("append", "series"):
        flow.redis.xadd(f"{flow.names.prefix('card')}log", {"n": n, "at": 1_700_000_000_000 + number})
        return
    flow.redis.hset(flow.key(number), mapping={"n": n})
    if capture != "keyspace":
        flow.redis.xadd(flow.names.control("outbox"), {"key": flow.key(number)})
