"""Checks of contracts with changes from Redis: what is no drift, what cannot be known, and repairs that come late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from syncd.reconcile.report import ReconcileReport
from syncd.stores.redis.key_states import KeyStates
from syncd.stores.redis.records.requests.repairs import of_absent, of_key, request_repairs
from syncd.stores.redis.store import RedisStore
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.scene import Flow, Scene
from tests.support.ways.back import (
    FAR,
    POSITION,
    add_state,
    change,
    key_states,
    set_state,
    states,
    wait_states,
)
from tests.support.ways.outbox import add_outbox
from tests.support.ways.reconcile import between_reads, check, drift_of
from tests.support.ways.stream import add_series, add_stream, append, key, wait_numbers


@pytest.fixture(scope="module", autouse=True)
def ready(shared: Scene) -> None:
    begin(shared, "first")


@pytest.fixture
def look(shared: Scene, mongo_uri: str, redis_url: str) -> Callable[..., ReconcileReport]:
    def once(flow: Flow, **more: Any) -> ReconcileReport:
        return check(shared, flow, mongo_uri, redis_url, **more)

    return once


def begin(scene: Scene, short: str, count: int = 4, **more: Any) -> Flow:
    flow = add_state(scene, "outbox", short=short, **more)
    return started(scene, flow, count)


def started(scene: Scene, flow: Flow, count: int) -> Flow:
    if not scene.daemon.process.alive:
        scene.start()
    flow.wait_live()
    for number in range(count):
        set_state(flow, number, 0)
    wait_until(lambda: flow.collection.count_documents({}) == count, 20, flow.lane)
    return flow


@pytest.mark.parametrize(
    ("sync", "keeps_moment", "kind"),
    [
        ({"capture": "outbox"}, True, "extra"),
        ({"capture": "outbox", "on_delete": "tombstone"}, True, "extra"),
        ({"capture": "outbox", "on_delete": "ignore"}, True, ""),
        ({"capture": "outbox"}, False, "expired"),
        ({"capture": "keyspace", "on_expire": "delete"}, False, "extra"),
        ({"capture": "keyspace"}, False, "expired"),
    ],
)
def test_documents_without_a_key(
    shared: Scene, look: Callable[..., ReconcileReport], sync: dict[str, str], keeps_moment: bool, kind: str
) -> None:
    """Are extra where a deletion would have deleted them and nothing else can have happened; a repair deletes them, or
    makes tombstones of them. Where the key may have expired, and that is no deletion, they stay."""
    shape = {"ttl": {"field": "until"}} if keeps_moment else {}
    short = f"ghosts-{'-'.join(sync.values())}-{keeps_moment}".lower()
    flow = started(shared, add_outbox(shared, short, sync=sync, shape=shape), 2)
    flow.collection.insert_one({"_id": 9, "n": 1, "_syncd": {"site": "", "pos": POSITION}})
    report = look(flow)
    assert (report.found, report.expired) == (int(kind == "extra"), int(kind == "expired"))
    repaired = look(flow, repair=True)
    assert (repaired.left, look(flow).result) == (0, "clean")
    left = flow.collection.find_one({"_id": 9})
    assert (left is None) == (kind == "extra" and sync.get("on_delete") != "tombstone")
    assert left is None or ("deleted" in left["_syncd"]) == (kind == "extra")


JSON_FIELDS = {"n": {"from": "n", "type": "long"}, "tags": {"from": "in.tags"}}


@pytest.mark.parametrize(
    ("type", "fields", "value", "command"),
    [
        ("json", JSON_FIELDS, None, ("JSON.SET", "$", '{"n": 5, "tags": {"a": [1, null, 2.5]}}')),
        # The driver reads these two in the other order.
        ("hash", {"j": {"from": "in.tags", "type": "json"}}, None, ("HSET", "j", '{"$id": 1, "$ref": "c"}')),
        ("string", None, {"from": "in.tags", "type": "decimal"}, ("SET", "1.50")),
        ("set", None, {"from": "in.tags"}, ("SADD", "b", "a")),
        ("zset", None, {"from": "in.tags"}, ("ZADD", 1, "a", 2.5, "b")),
        ("list", None, {"from": "in.tags", "type": "date"}, ("RPUSH", "2026-01-02T03:04:05Z")),
    ],
)
def test_every_type_of_key(
    shared: Scene,
    look: Callable[..., ReconcileReport],
    type: str,
    fields: Any,
    value: Any,
    command: tuple[Any, ...],
) -> None:
    """Is compared as it is written: nothing differs at rest, and what another client changed in the document does."""
    shape = {} if value is None else {"value": value}
    flow = add_outbox(shared, f"type-{type}", fields, type=type, shape=shape)
    flow.wait_live()
    change(flow, 1, command)
    wait_until(lambda: flow.collection.count_documents({"_id": 1}) == 1, 20, flow.lane)
    report = look(flow)
    assert (report.result, report.documents) == ("clean", 1)
    flow.collection.update_one({"_id": 1}, {"$set": {"in.tags": "another"}})
    found = look(flow, repair=True)
    assert [(mark.kind, mark.fields) for mark in found.examples] == [("content", ("in.tags",))]
    assert (found.left, look(flow).result) == (0, "clean")


def test_keys_that_do_not_fit(shared: Scene, look: Callable[..., ReconcileReport]) -> None:
    """Are drift until the lane has met them, and dead letters then. No report holds what a key holds."""
    flow = begin(shared, "unfit")
    flow.redis.hset(flow.key(1), "n", "no number")
    flow.redis.delete(flow.key(2))
    flow.redis.rpush(flow.key(2), "somebody else's")
    found = look(flow)
    fields = {mark.key: mark.fields for mark in found.examples}
    assert fields == {flow.key(1): ("(cannot_convert)",), flow.key(2): ("(wrong_type)",)}
    assert "no number" not in str(found.as_dict())
    assert look(flow, repair=True).left == 2
    after = look(flow)
    assert (after.result, after.found, after.dead_letters) == ("clean", 0, 2)


def test_what_a_lane_is_not_ready_for(shared: Scene, look: Callable[..., ReconcileReport]) -> None:
    """With another version of the contract than the lane's, or while it writes all keys, or where none has ever run,
    there is nothing to compare, and the check says so."""
    flow = begin(shared, "unready")
    position, requests = flow.names.control("position"), flow.names.control("requests")
    flow.redis.hset(position, "fingerprint", "of another version")
    assert "another version" in look(flow).ended
    flow.redis.hdel(position, "fingerprint")
    report = look(flow)
    assert (report.result, report.documents, "no lane" in report.ended) == ("incomplete", 0, True)
    flow.redis.rpush(requests, "snapshot")
    wait_until(lambda: not flow.redis.exists(requests), 20)


def write(flow: Flow, version: int) -> None:
    set_state(flow, 1, version)
    wait_until(lambda: states(flow)[1][0] == version, 20)


def test_a_key_that_changes_between_two_reads(
    shared: Scene, look: Callable[..., ReconcileReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is ahead of what was read of its document is no drift, however often that happens."""
    flow = begin(shared, "ahead")
    between_reads(monkeypatch, KeyStates, "read", lambda number: write(flow, number), lambda number: None)
    report = look(flow)
    assert (report.found, report.unsettled, report.result) == (0, 1, "incomplete")


def test_a_value_that_goes_back_and_forth(
    shared: Scene, look: Callable[..., ReconcileReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two reads of a key that are the same do not prove that it was the same in between."""
    flow = begin(shared, "fro")
    write(flow, 7)

    def fro(number: int) -> None:
        if number < 2:  # what the read that would confirm it finds of the document
            write(flow, 7)

    between_reads(monkeypatch, KeyStates, "read", lambda number: write(flow, 0), fro)
    report = look(flow)
    assert (report.found, report.unsettled, report.result) == (0, 0, "clean")


def test_a_repair_that_comes_late(shared: Scene, redis_url: str) -> None:
    """A key that a check found gone and that has come back keeps its document, also where it has expired since; a key
    that changed after its check has its later state; a key of another template is left alone."""
    flow = begin(shared, "late")
    change(flow, 1, ("PEXPIRE", 1))
    wait_until(lambda: not flow.redis.exists(flow.key(1)), 20)
    set_state(flow, 2, 9)
    flow.collection.update_one({"_id": 3}, {"$set": {"n": 5}})
    store = RedisStore(redis_url)
    absent = [of_absent(flow.key(n), POSITION) for n in (0, 1)]
    request_repairs(store, flow.contract, [*absent, of_key("card", flow.key(2)), of_key("card", flow.key(3))])
    store.close()
    wait_until(lambda: not flow.redis.exists(flow.names.control("repair")), 20, flow.lane)
    assert {number: said[0] for number, said in states(flow).items()} == {0: 0, 1: 0, 2: 9, 3: 0}
    assert key_states(flow).keys() == {0, 2, 3}


def test_by_schedule_and_by_the_command(shared: Scene, mongo_uri: str, redis_url: str) -> None:
    """The daemon checks such contracts as they say, and repairs; the command reports, and refuses ranges of them."""
    flow = begin(shared, "planned", reconcile={"every": "1s", "mode": "repair"})
    flow.collection.update_one({"_id": 1}, {"$set": {"until": FAR}})
    wait_until(lambda: flow.metric("syncd_reconcile_runs_total", result="repaired") == 1, 30, flow.lane)
    assert flow.metric("syncd_drift_total", kind="ttl") == 1
    assert flow.metric("syncd_reconcile_repairs_total") == 1
    wait_states(flow)
    wait_until(lambda: (flow.lane()["check"] or {}).get("result") == "clean", 20, flow.lane)
    env = {
        "SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url,
        "SYNCD_CONTRACTS": str(shared.contracts.path),
    }  # fmt: skip
    done = syncd("reconcile", flow.contract, **env)
    assert (done.returncode, "4 documents compared" in done.stdout) == (0, True)
    refused = syncd("reconcile", flow.contract, "--processes", "2", **env)
    assert (refused.returncode, "one process" in refused.stderr) == (2, True)
    report = check(shared, flow, mongo_uri, redis_url, by_digest=True)
    assert (report.result, report.check, "in full" in report.note) == ("clean", "full", True)


def test_entries_and_their_documents(shared: Scene, look: Callable[..., ReconcileReport]) -> None:
    """Of entries that are still there, and done, the documents are compared: one that is missing is written again, one
    that is another by now is reported and left alone; dead letters, trimmed entries and what another client has added
    are no drift."""
    flow = add_stream(shared, "added")
    flow.wait_live()
    entries = append(flow, range(40))
    append(flow, ["no number"])
    wait_numbers(flow, range(40))
    wait_until(flow.dead_letters, 20)
    ids = [f"{key(flow)}/{entry}" for entry in entries]
    flow.redis.xdel(key(flow), entries[0])
    flow.collection.delete_many({"_id": {"$in": ids[:3]}})
    flow.collection.update_one({"_id": ids[3]}, {"$set": {"say.text": "another"}})
    flow.collection.update_one({"_id": ids[4]}, {"$set": {"say.more": 1, "more": 1}})
    flow.collection.insert_one({"_id": "of no entry", "n": 99})
    wanted = {("event", ids[1], "missing"), ("event", ids[2], "missing"), ("event", ids[3], "content")}
    found = look(flow, chunk=7)
    assert (drift_of(found), found.documents, found.dead_letters) == (wanted, 37, 1)
    repaired = look(flow, repair=True)
    assert (drift_of(repaired), repaired.repaired, repaired.left, repaired.result) == (wanted, 2, 1, "drift")
    after = look(flow, repair=True)
    assert (drift_of(after), after.left) == ({("event", ids[3], "content")}, 1)
    wait_numbers(flow, [*range(1, 40), 99])


def test_a_time_series_cannot_be_compared(shared: Scene, look: Callable[..., ReconcileReport]) -> None:
    """Nothing can be said of it either; the check says why."""
    series = add_series(shared, "series")
    series.wait_live()
    report = look(series)
    assert (report.result, "is a time series" in report.ended) == ("incomplete", True)
