"""Samples of time series that an application adds become documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import from_redis, projection
from tests.support.programs.needed import NotFound, give_up
from tests.support.scene import Scene
from tests.support.servers.timeseries import series_server
from tests.support.shapes.series import SERIES, START_MS, add, live_series, samples, wait_samples
from tests.support.ways.outbox import documents
from tests.support.ways.reconcile import check

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    try:
        with series_server() as server:
            yield server.url
    except NotFound as error:
        give_up(error)


@pytest.fixture
def scene(url: str, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, url) as scene:
        yield scene


def test_planted_differences(scene: Scene, url: str, mongo_uri: str, tmp_path: Path) -> None:
    """A check finds samples without a document and documents of another value or label, and repairs them; documents of
    samples that are gone are none. A preview of a sample, and a copy that a person asks for, say the same."""
    flow = live_series(scene, "planted")
    add(flow, "s1", range(300))
    add(flow, "s2", range(30), site="hall")
    wait_samples(flow)
    flow.redis.execute_command("TS.DEL", flow.key("s2"), START_MS, START_MS + 5000)
    gone = {name: said for name, said in documents(flow).items() if name not in samples(flow)}
    assert len(gone) == 6
    assert check(scene, flow, mongo_uri, url).result == "clean"
    name = f"{flow.key('s1')}:{START_MS}"
    flow.collection.delete_one({"_id": name})
    flow.collection.update_one({"_id": f"{flow.key('s1')}:{START_MS + 1000}"}, {"$set": {"celsius": 99.0}})
    flow.collection.update_one({"_id": f"{flow.key('s2')}:{START_MS + 9000}"}, {"$unset": {"where": 1}})
    flow.collection.update_one({"_id": f"{flow.key('s2')}:{START_MS + 8000}"}, {"$set": {"at": None}})
    report = check(scene, flow, mongo_uri, url)
    assert {kind: count for kind, count in report.drift.items() if count} == {"missing": 1, "content": 3}
    assert check(scene, flow, mongo_uri, url, repair=True).left == 0
    wait_samples(flow, beside=gone)
    servers = {"SYNCD_REDIS_URL": url, "SYNCD_MONGO_URI": mongo_uri}
    done = syncd("preview", flow.contract, name, "--contracts", scene.contracts.path, **servers)
    assert "roof" in done.stdout, done
    flow.collection.update_many({}, {"$set": {"celsius": 0.5}})
    assert syncd("snapshot", flow.contract, SYNCD_REDIS_URL=url).returncode == 0
    wait_samples(flow, beside={name: {**said, "celsius": 0.5} for name, said in gone.items()})


def test_series_without_labels_and_an_edit(scene: Scene) -> None:
    """Labels that a series has not are left out. When the contract names others, all samples are written again, and a
    label that goes from the series goes from what is written of it then."""
    flow = live_series(scene, "labels", labels={"site": "site", "room": "room"})
    add(flow, "s1", range(40))
    wait_until(lambda: len(documents(flow)) == 40, 60, flow.lane)
    assert {said["site"] for said in documents(flow).values()} == {"roof"}
    assert not any("room" in said for said in documents(flow).values())
    flow.redis.execute_command("TS.ALTER", flow.key("s1"), "LABELS", "room", "12")
    live_series(scene, "labels", labels={"room": "where.room"})
    wait_until(lambda: flow.collection.count_documents({"where.room": "12"}) == 40, 60, flow.lane)


def test_the_documented_rights(url: str, mongo_uri: str, token: str, tmp_path: Path) -> None:
    """A user with the commands that the pages name for all contracts, for keyspace events and for series as a source
    can do all: new, late and changed samples, a comparison, and a check that repairs."""
    pages = {
        name: (HOW_TO / f"{name}.md").read_text(encoding="utf-8")
        for name in ("rights", "keyspace", "samples")
    }
    said = re.search(r"^ACL SETUSER syncd (.*?)^```$", pages["rights"], re.MULTILINE | re.DOTALL)
    events = re.search(r"^ACL SETUSER syncd &(.*?)^```$", pages["keyspace"], re.MULTILINE | re.DOTALL)
    series = re.search(r"^Rights: those.*", pages["samples"], re.MULTILINE | re.DOTALL)
    assert said and events and series
    rights = [word for word in f"{said[1]} {events[1]}".split() if word[0] in "+-"]
    rights += re.findall(r"\+ts\.\w+", series[0])
    own = [
        f"~{token}:*",
        "~syncd:*",
        "resetchannels",
        f"&__keyspace@0__:{token}:rights:card:*",
        "&__keyspace@0__:syncd:*",
    ]
    daemon_redis = url.replace("redis://", "redis://sampler:secret@")
    with Scene(tmp_path, token, mongo_uri, url, daemon_redis=daemon_redis) as scene:
        scene.redis.config_set("notify-keyspace-events", "Kg$lshzxed")
        scene.redis.execute_command("ACL", "SETUSER", "sampler", "on", ">secret", "resetkeys", *own, *rights)
        scene.redis.execute_command("ACL", "LOG", "RESET")
        flow = live_series(scene, "rights")
        add(flow, "s1", range(2000, 4000))
        wait_samples(flow)
        add(flow, "s1", [1, 2500, 3999], 40)
        wait_until(lambda: len(documents(flow)) == 2001, 60, flow.lane)
        flow.collection.delete_one({})
        assert check(scene, flow, mongo_uri, daemon_redis, repair=True).left == 0
        wait_samples(flow)
        denied: Any = scene.redis.execute_command("ACL", "LOG")
        asked = {dict(zip(entry[::2], entry[1::2], strict=True))[b"object"] for entry in denied}
        assert asked <= {b"client|setinfo", b"config|get"}


def test_a_server_without_the_module(mongo_uri: str, redis_url: str, token: str, tmp_path: Path) -> None:
    """nothing_silent: the lane says what is missing, and `check --connect` beforehand, with the place in the file."""
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        sync = from_redis("keyspace", on_delete="ignore")
        flow = scene.add("without", projection(**SERIES), sync=sync)
        servers = {"SYNCD_REDIS_URL": redis_url, "SYNCD_MONGO_URI": mongo_uri}
        checked = syncd("check", "--connect", "--contracts", scene.contracts.path, **servers)
        assert checked.returncode == 1
        assert re.search(
            r"without\.yaml:\d+:\d+: .*time series.*; use Redis 8, or Redis Stack", checked.stdout
        ), checked
        scene.start()
        assert "use Redis 8, or Redis Stack" in flow.wait_state("failed")["error"]
