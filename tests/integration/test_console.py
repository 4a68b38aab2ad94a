"""What the console reads over HTTP."""

from __future__ import annotations

import json
import os
import pwd
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.scene import Flow, Scene

FILMS: list[dict[str, Any]] = [{"_id": n, "title": f"film {n}", "year": 1900 + n} for n in range(20)]
CARD = projection({"title": "title", "year": {"from": "year", "type": "int"}})


def read(daemon: Daemon, path: str) -> Any:
    code, body = daemon.get(f"/api/v1/{path}")
    assert code == 200, body
    return json.loads(body)


def row_of(daemon: Daemon, flow: Flow) -> dict[str, Any]:
    rows = read(daemon, "overview")["contracts"]
    return next((row for row in rows if row["name"] == flow.contract), {})


@pytest.fixture(scope="module")
def flow(shared: Scene) -> Flow:
    return shared.run("films", CARD, documents=FILMS, slo={"freshness": "5s"})


def test_the_overview(shared: Scene, flow: Flow) -> None:
    """Both servers, and for each contract whose it is, how it is, and how many wait for a person."""
    said = read(shared.daemon, "overview")
    assert said["servers"]["mongo"]["ok"]
    assert said["servers"]["mongo"]["says"].startswith("MongoDB 6.0")
    assert said["servers"]["redis"]["memory_bytes"] > 0
    row = row_of(shared.daemon, flow)
    assert (row["state"], row["level"], row["says"], row["here"]) == ("live", "well", "", True)
    assert (row["owner"], row["direction"], row["collection"]) == (
        "tests", "mongo_to_redis", flow.collection.full_name,
    )  # fmt: skip
    assert row["freshness_seconds"] == 5
    assert row["lag_seconds"] < 5
    assert row["holders"] == [os.uname().nodename]
    assert row["copy"] is None


def test_the_trend(shared: Scene, flow: Flow) -> None:
    """Changes and lag show in the points of the last minutes and of the last hours, and in the small lines."""
    before = flow.lane()["changes"]
    for n in range(30):
        flow.collection.update_one({"_id": n % 20}, {"$set": {"title": f"other {n}"}})
    wait_until(lambda: flow.lane()["changes"] >= before + 30)

    def changes(resolution: str) -> float:
        said = read(shared.daemon, f"contracts/{flow.contract}/trend?resolution={resolution}")
        assert len(said["changes"]) == len(said["lag_seconds"])
        return sum(filter(None, said["changes"]))

    wait_until(lambda: changes("minutes") >= 30 and changes("hours") >= 30)
    lags = read(shared.daemon, "trends")["contracts"][flow.contract]
    assert any(lag is not None and lag < 5 for lag in lags)
    assert shared.daemon.get(f"/api/v1/contracts/{flow.contract}/trend?resolution=years")[0] == 400
    assert shared.daemon.get("/api/v1/contracts/nothing")[0] == 404


def test_the_edits_of_a_file(shared: Scene) -> None:
    """Each file that was taken up, by which daemon, who wrote it when, and what it changed: also an edit that the lane
    does not notice. The same file again, and a restart of the lane, are no edit."""
    shared.run("beside", CARD, documents=FILMS)  # a folder without contracts is no edit
    flow = shared.run("edited", CARD, documents=FILMS)

    def edits() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = read(shared.daemon, f"contracts/{flow.contract}")["edits"]
        return found

    assert [edit["diff"] for edit in edits()] == [None]
    flow.write(CARD, version="1.0.1", reconcile={"every": "1d"})
    wait_until(lambda: len(edits()) == 2)
    flow.write(CARD, version="1.1.0", reconcile={"every": "1d"}, sync={"sweep_limit": "30%"})
    latest = wait_until(lambda: len(found := edits()) == 3 and found)[0]
    assert any(line.startswith("+") and "sweep_limit" in line for line in latest["diff"])
    assert latest["host"] == os.uname().nodename
    assert latest["file"]["owner"] == pwd.getpwuid(os.geteuid()).pw_name
    assert latest["file"]["modified"] <= latest["at"] + 1
    shared.contracts.remove("edited")
    wait_until(lambda: not flow.lane())
    flow.write(CARD, version="1.1.0", reconcile={"every": "1d"}, sync={"sweep_limit": "30%"})
    flow.wait_live()
    assert len(edits()) == 3
    page = read(shared.daemon, f"contracts/{flow.contract}")
    assert "sweep_limit: 30%" in page["text"].replace('"', "").replace("'", "")
    assert page["projections"][0]["key"] == CARD["key"] or page["projections"][0]["key"].endswith("{_id}")
    assert {field["name"]: field["type"] for field in page["projections"][0]["fields"]} == {
        "title": None, "year": "int",
    }  # fmt: skip
    assert page["documents"] in (None, {"documents": 20, "at_most": False})
    wait_until(
        lambda: (
            read(shared.daemon, f"contracts/{flow.contract}")["documents"]
            == {"documents": 20, "at_most": False}
        )
    )


def test_dead_letters_by_reason(scene: Scene) -> None:
    """They are grouped by reason and field, without a key; keys only with the token, where a setting allows it."""
    documents = [{"_id": n, "title": "x", "year": "unknown" if n < 3 else 1990} for n in range(9)]
    env = {"SYNCD_TOKEN": "hush", "SYNCD_CONSOLE_VALUES": "true"}
    flow = scene.run("dead", CARD, documents=documents, env=env)
    found = read(scene.daemon, f"contracts/{flow.contract}")["dead_letter_groups"]
    assert (found["waiting"], found["read"]) == (3, 3)
    (group,) = found["groups"]
    assert (group["field"], group["projection"], group["count"]) == ("year", "card", 3)
    assert flow.key(1) not in json.dumps(found)
    assert row_of(scene.daemon, flow)["level"] == "attention"
    path = f"/api/v1/contracts/{flow.contract}/deadletters?reason={group['reason']}&field=year"
    assert scene.daemon.get(path)[0] == 401
    request = urllib.request.Request(scene.daemon.url + path, headers={"Authorization": "Bearer hush"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        entries = json.load(reply)["entries"]
    assert {entry["key"] for entry in entries} == {flow.key(n) for n in range(3)}
    closed = scene.another_daemon(SYNCD_TOKEN="hush")
    closed.start()
    request.full_url = closed.url + path
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)
    # That one stands by: its page shows what its peer holds.
    row = wait_until(lambda: (row := row_of(closed, flow)).get("state") == "live" and row)
    assert (row["level"], row["owner"], row["dead_letters"], row["here"]) == ("attention", "tests", 3, False)


def test_what_peers_hold(shared: Scene, flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A daemon shows contracts of others: whose they are, who holds them, and when no daemon does any more."""
    folder = tmp_path_factory.mktemp("peer")
    other = Scene(folder, shared.token + "p", shared.reach["mongo_uri"], shared.reach["redis_url"])
    with other:
        mine = other.run("mine", CARD, documents=FILMS, env={"SYNCD_WORKERS": "2"})
        row = row_of(other.daemon, flow)
        assert (row["state"], row["owner"], row["here"]) == ("live", "tests", False)
        assert read(other.daemon, f"contracts/{flow.contract}")["projections"]
        wait_until(lambda: read(other.daemon, "trends")["contracts"].get(mine.contract))
        assert read(other.daemon, f"contracts/{mine.contract}/trend")["changes"]
        other.daemon.kill()
        row = wait_until(
            lambda: (row := row_of(shared.daemon, mine)).get("state") == "no daemon" and row, timeout=60
        )
        assert row["level"] == "attention"


def test_the_files_of_the_page(shared: Scene, flow: Flow) -> None:
    """The page and its files come from the daemon alone, with their types; nothing else does."""
    code, page = shared.daemon.get("/")
    assert code == 200
    assert "<style" not in page
    assert "<script>" not in page
    for name in ("main.js", "style.css", "icon.svg", "icon-alert.svg"):
        assert shared.daemon.get(f"/console/{name}")[0] == 200
    for name in ("../routes.py", "..%2froutes.py", "nothing.js"):
        assert shared.daemon.get(f"/console/{name}")[0] == 404
