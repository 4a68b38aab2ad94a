"""`syncd reconcile`, checks by schedule and over HTTP: what is found, what is not, who runs them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from syncd.reconcile.reader import KeyReader
from syncd.reconcile.report import ReconcileReport, keep_report
from syncd.stores.redis.store import RedisStore
from tests.support.broken.failpoint import failing
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import ContractDirectory, projection
from tests.support.daemon import Daemon
from tests.support.scene import Flow, Scene
from tests.support.ways.reconcile import add_every_kind, between_reads, check, drift_of, plant

PRIMARY_STEPPED_DOWN = 189
FILMS: list[dict[str, Any]] = [{"_id": n, "title": f"film {n}", "n": n} for n in range(120)]


@pytest.fixture(scope="module", autouse=True)
def started(shared: Scene) -> None:
    shared.run("first", projection(["title"]), documents=FILMS[:1])


@pytest.fixture
def look(shared: Scene, mongo_uri: str, redis_url: str) -> Any:
    def once(flow: Flow, **more: Any) -> ReconcileReport:
        return check(shared, flow, mongo_uri, redis_url, chunk=50, **more)

    return once


def test_every_kind_of_difference(shared: Scene, look: Any) -> None:
    """Each is found once, with its projection, its key, and the names of the fields, and none twice after a repair."""
    flow = add_every_kind(shared, 120, "kinds")
    flow.wait_live()
    assert look(flow).result == "clean"
    planted = plant(flow, range(22))
    found = look(flow)
    assert drift_of(found) == planted
    fields = {mark.fields for mark in found.examples if mark.kind == "content"}
    assert fields == {("title",), ("more",), ("b",), ("a",)}
    assert "another" not in json.dumps(found.as_dict())
    assert look(flow, repair=True).repaired == 22
    assert look(flow).result == "clean"
    flow.assert_same()


def test_what_is_no_drift(shared: Scene, look: Any) -> None:
    """Documents outside the filter, documents without a field, keys that may have expired, and those whose change is a
    dead letter: each is told apart from drift."""
    number = {"from": "n", "type": "int"}
    shapes = [
        projection({"title": "title", "n": number}),
        projection(["title"], name="cache", ttl="1h"),
        projection({"value": "missing"}, name="empty"),
    ]
    flow = shared.run("calm", *shapes, documents=FILMS, filter={"n": {"$ne": 3}})
    flow.redis.delete(flow.key(4, "cache"))
    flow.collection.update_one({"_id": 5}, {"$set": {"n": "no number"}})
    wait_until(flow.dead_letters)
    flow.redis.hset(flow.key(5), "title", "older")
    report = look(flow)
    assert (report.result, report.found, report.documents) == ("clean", 0, len(FILMS) - 1)
    assert (report.expired, report.dead_letters) == (1, 1)
    flow.redis.hset(flow.key(3), "title", "does not match")
    assert drift_of(look(flow)) == {("card", flow.key(3), "extra")}
    assert look(flow, repair=True).left == 0


def test_a_key_of_another_type(shared: Scene, look: Any) -> None:
    """Is found, cannot be repaired, and is a dead letter from then on: what syncd did not write it does not delete."""
    flow = shared.run("types", projection(["title"]), documents=FILMS[:20])
    flow.redis.delete(flow.key(7))
    flow.redis.rpush(flow.key(7), "somebody else's")
    repaired = look(flow, repair=True)
    assert (repaired.found, repaired.left, repaired.result) == (1, 1, "drift")
    assert flow.redis.type(flow.key(7)) == b"list"
    after = look(flow)
    assert (after.result, after.found, after.dead_letters) == ("clean", 0, 1)


def test_deleted_documents_that_keep_their_keys(shared: Scene, look: Any) -> None:
    """Under `on_delete: ignore` a key without a document is as it should be."""
    flow = shared.run("kept", projection(["title"]), documents=FILMS[:20], sync={"on_delete": "ignore"})
    flow.collection.delete_one({"_id": 1})
    flow.catch_up()
    report = look(flow)
    assert (report.result, flow.redis.exists(flow.key(1))) == ("clean", 1)
    flow.redis.delete(flow.key(2))
    assert drift_of(look(flow)) == {("card", flow.key(2), "missing")}


def test_more_differences_than_are_kept(shared: Scene, look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted and repaired, a part at a time."""
    monkeypatch.setattr("syncd.reconcile.base.MOST_CANDIDATES", 20)
    monkeypatch.setattr("syncd.reconcile.repair.MOST_WANTED", 15)
    flow = shared.run("many", projection(["title"]), documents=FILMS)
    for n in range(0, 120, 2):
        flow.redis.delete(flow.key(n))
    report = look(flow, repair=True)
    assert (report.drift["missing"], report.repaired, report.documents) == (60, 60, 120)
    flow.assert_same()


def test_the_command(shared: Scene, mongo_uri: str, redis_url: str) -> None:
    """Exit code 1 for drift that was not repaired, 0 otherwise, 2 for a name that is not there, 3 for a Redis that is
    not; each check is in the history."""
    flow = shared.run("command", projection(["title"]), documents=FILMS)
    env = {
        "SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url,
        "SYNCD_CONTRACTS": str(shared.contracts.path),
    }  # fmt: skip

    def run(*words: str, **more: str) -> tuple[int, str]:
        result = syncd("reconcile", *words, **{**env, **more})
        return result.returncode, result.stdout + result.stderr

    flow.redis.delete(flow.key(1))
    code, said = run(flow.contract)
    assert (code, "1 missing" in said, flow.key(1) in said) == (1, True, True)
    code, said = run(flow.contract, "--repair", "-o", "json")
    report = json.loads(said)
    assert (code, report["result"], report["repaired"]) == (0, "repaired", 1)
    assert report["examples"] == [{"projection": "card", "key": flow.key(1), "kind": "missing", "fields": []}]
    code, said = run(flow.contract, "--history", "-o", "json")
    assert (code, [entry["result"] for entry in json.loads(said)]) == (0, ["repaired", "drift"])
    assert run("no-such-contract")[0] == 2
    assert run(flow.contract, SYNCD_REDIS_URL="redis://127.0.0.1:1/0")[0] == 3


def test_where_documents_are_read(shared: Scene, mongo_uri: str, redis_url: str) -> None:
    """As the contract says, or the command, which wins; also by processes."""
    plan = {"read_preference": "secondaryPreferred"}
    flow = shared.run("where", projection(["title"]), documents=FILMS, reconcile=plan)
    env = {
        "SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url,
        "SYNCD_CONTRACTS": str(shared.contracts.path),
    }  # fmt: skip

    def asked(*words: str) -> set[str]:
        database = flow.collection.database
        database.command("profile", 0)
        database["system.profile"].drop()
        flow.count_reads()
        assert syncd("reconcile", flow.contract, *words, **env).returncode == 0
        database.command("profile", 0)
        chunks = {"ns": flow.collection.full_name, "command.sort": {"_id": 1}}
        found = list(database["system.profile"].find(chunks))
        assert sum(one["nreturned"] for one in found) >= len(FILMS)
        return {one["command"].get("$readPreference", {}).get("mode", "primary") for one in found}

    assert asked() == {"secondaryPreferred"}
    assert asked("--read-preference", "primary") == {"primary"}
    assert asked("--read-preference", "nearest", "--processes", "1") == {"nearest"}
    wrong = syncd("reconcile", flow.contract, "--read-preference", "somewhere", **env)
    assert wrong.returncode == 2


@pytest.fixture
def planned(scene: Scene) -> Iterator[Scene]:
    scene.daemon = scene.another_daemon(SYNCD_TOKEN="secret")
    yield scene
    assert scene.daemon.terminate() == 0
    assert not scene.daemon.logs(level="error")


def test_a_schedule(planned: Scene) -> None:
    """A contract is checked as it says, by the daemon that holds its lease and no other; `repair` repairs, metrics,
    /status and the history tell, and an edit of the plan does not touch the lane."""
    shape = projection(["title"])
    flow = planned.run("plan", shape, documents=FILMS, reconcile={"every": "1s", "mode": "repair"})
    standby = planned.another_daemon()
    standby.start()
    flow.redis.delete(flow.key(3))
    flow.redis.hset(flow.key(9999), "title", "of no document")
    wait_until(lambda: flow.metric("syncd_reconcile_repairs_total") == 2, 20, planned.daemon.process.log_tail)
    wait_until(lambda: flow.metric("syncd_reconcile_runs_total", result="repaired") == 1, 20)
    assert flow.metric("syncd_drift_total") == 2
    assert flow.metric("syncd_reconcile_drift") == 0
    assert flow.metric("syncd_reconcile_last_timestamp_seconds") > time.time() - 60
    flow.assert_same()
    wait_until(lambda: (flow.lane()["check"] or {}).get("result") == "clean", 20, flow.lane)
    wait_until(lambda: standby.metric("syncd_reconcile_runs_total", result="skipped") > 0, 20)
    assert standby.metric("syncd_reconcile_runs_total", result="clean") == 0
    flow.write(shape, reconcile={"every": "1s", "quiet_hours": ["00:00-24:00"]})
    before = len(planned.daemon.logs(event="check skipped", why="quiet hours"))
    wait_until(lambda: len(planned.daemon.logs(event="check skipped", why="quiet hours")) > before, 20)
    assert len(planned.daemon.logs(event="lane live")) == 1
    # What a person asks for is done in quiet hours too.
    runs = flow.metric("syncd_reconcile_runs_total", result="clean")
    assert ask(planned.daemon, flow.contract) == 202
    wait_until(lambda: flow.metric("syncd_reconcile_runs_total", result="clean") > runs, 20)


def ask(daemon: Daemon, contract: str, token: str = "secret", query: str = "") -> int:
    request = urllib.request.Request(
        f"{daemon.url}/reconcile/{contract}{query}", method="POST",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_over_http(shared: Scene, scene: Scene) -> None:
    """Who has the token has a contract checked now, by all workers that have a part of it; the contract need not say a
    word about checks. A daemon without a token does it for no one."""
    scene.daemon = daemon = scene.another_daemon(SYNCD_TOKEN="secret", SYNCD_WORKERS="2", SYNCD_SPLIT="true")
    flow = scene.add("ask", projection(["title"]), documents=FILMS)
    scene.start()
    daemon.wait_ready()
    for n in range(0, 120, 10):
        flow.redis.delete(flow.key(n))
    assert [ask(daemon, flow.contract, token) for token in ("", "wrong")] == [401, 401]
    assert ask(daemon, "no-such-contract") == 404
    assert ask(daemon, flow.contract, query="?mode=delete") == 400
    assert daemon.get(f"/reconcile/{flow.contract}")[0] == 405
    assert flow.metric("syncd_drift_total") == 0
    assert ask(daemon, flow.contract, query="?mode=repair") == 202
    wait_until(lambda: flow.metric("syncd_drift_total") == 12, 20, daemon.process.log_tail)
    flow.wait_same()
    assert ask(shared.daemon, flow.contract) == 403


def test_a_check_that_was_missed(planned: Scene, redis_url: str) -> None:
    """Is made up for, once, when a daemon runs again; one that an election ends is as well."""
    shape = projection(["title"])
    yearly = {"schedule": "0 0 1 1 *"}
    flow = planned.add("missed", shape, documents=FILMS, reconcile=yearly)
    store = RedisStore(redis_url)
    long_ago = (datetime.now(UTC) - timedelta(days=800)).timestamp()
    keep_report(store, ReconcileReport(flow.contract, "full", False, started=long_ago, finished=long_ago))
    store.close()
    planned.start()
    flow.wait_live()
    with failing(flow.collection, "find", PRIMARY_STEPPED_DOWN, times=1):
        wait_until(lambda: flow.metric("syncd_reconcile_runs_total", result="clean") == 1, 40)
    assert flow.metric("syncd_reconcile_runs_total", result="failed") == 1
    assert [line["reason"] for line in planned.daemon.logs(event="check started")] == ["missed", "missed"]


def test_the_rate(shared: Scene, look: Any) -> None:
    """A check keeps below the number of documents a second that it may read."""
    flow = shared.run("rate", projection(["title"]), documents=FILMS)
    begun = time.monotonic()
    look(flow, rate=100)
    assert time.monotonic() - begun > 1.0


def test_a_check_follows_the_contract_that_the_lane_has(shared: Scene, look: Any, tmp_path: Path) -> None:
    """With another version of the contract than the lane's there is nothing to compare, and the check says so; of a
    contract that no lane has it does not say that there is no drift."""
    flow = shared.run("versions", projection(["title"]), documents=FILMS)
    flow.redis.hset(flow.names.control("position"), "fingerprint", "of another version")
    report = look(flow)
    assert (report.result, report.documents) == ("incomplete", 0)
    assert "another version" in report.ended
    ContractDirectory(tmp_path, shared.token).write("never", projection(["title"]))
    uris = {"SYNCD_MONGO_URI": shared.reach["mongo_uri"], "SYNCD_REDIS_URL": shared.reach["redis_url"]}
    result = syncd("reconcile", f"{shared.token}-never", SYNCD_CONTRACTS=str(tmp_path), **uris)
    assert (result.returncode, "no drift so far" in result.stdout) == (1, True)


def retitle(flow: Flow, title: str) -> None:
    flow.collection.update_one({"_id": 1}, {"$set": {"title": title}})
    flow.wait_hash(1, {"title": title})


def test_a_document_that_changes_between_two_reads(
    shared: Scene, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is ahead of what was read of its document is no drift, however often that happens."""
    flow = shared.run("ahead", projection(["title"]), documents=FILMS[:20])
    between_reads(
        monkeypatch, KeyReader, "read", lambda number: retitle(flow, f"title {number}"), lambda number: None
    )
    report = look(flow)
    assert (report.found, report.unsettled, report.result) == (0, 1, "incomplete")


def test_a_value_that_goes_back_and_forth(shared: Scene, look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two reads of a document that are the same do not prove that it was the same in between."""
    flow = shared.run("fro", projection(["title"]), documents=FILMS[:20])

    def to(number: int) -> None:
        if number <= 2:  # the first read, and the one that would confirm it
            retitle(flow, "for a moment")

    between_reads(monkeypatch, KeyReader, "read", to, lambda number: retitle(flow, "film 1"))
    report = look(flow)
    assert (report.found, report.unsettled, report.result) == (0, 0, "clean")
