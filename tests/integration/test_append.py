"""Entries of a stream become documents."""

from __future__ import annotations

import json
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest
from bson.binary import UUID_SUBTYPE, Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from tests.support.broken.failpoint import failing
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.scene import Flow, Scene
from tests.support.ways.stream import SYNC, add_stream, append, key, numbers, pending, wait_done, wait_numbers

TYPED = {
    "model": "model",
    "tokens": {"from": "usage.tokens", "type": "int"},
    "total": {"from": "usage.total", "type": "long"},
    "latency": {"from": "latency", "type": "double"},
    "price": {"from": "price", "type": "decimal"},
    "at": {"from": "at", "type": "date"},
    "seen": {"from": "seen", "type": "epoch_ms"},
    "user": {"from": "user.id", "type": "objectId"},
    "trace": {"from": "trace", "type": "uuid"},
    "blob": {"from": "blob", "type": "binary"},
    "ok": {"from": "ok", "type": "bool"},
    "tags": {"from": "tags", "type": "json"},
    "vector": {"from": "vector", "type": "vector", "dims": 2},
}
TRACE = uuid.UUID("12345678-1234-5678-1234-567812345678")
ENTRY: dict[str, str | bytes] = {
    "model": "small-é",
    "tokens": "12",
    "total": "12",
    "latency": "0.25",
    "price": "0.10",
    "at": "2026-01-02T03:04:05Z",
    "seen": "1767323045000",
    "user": "65a1b2c3d4e5f60718293a4b",
    "trace": str(TRACE),
    "blob": b"\x00\xff",
    "ok": "true",
    "tags": '{"a": [1, null]}',
    "vector": struct.pack("<2f", 0.5, -2),
    "secret": "no contract names it",
}
DOCUMENT: dict[str, Any] = {
    "model": "small-é",
    "usage": {"tokens": 12, "total": Int64(12)},
    "latency": 0.25,
    "price": Decimal128("0.10"),
    "at": DatetimeMS(1_767_323_045_000),
    "seen": DatetimeMS(1_767_323_045_000),
    "user": {"id": ObjectId("65a1b2c3d4e5f60718293a4b")},
    "trace": Binary(TRACE.bytes, UUID_SUBTYPE),
    "blob": b"\x00\xff",
    "ok": True,
    "tags": {"a": [1, None]},
    "vector": [0.5, -2.0],
}


def start(scene: Scene, short: str, *args: Any, **more: Any) -> Flow:
    flow = add_stream(scene, short, *args, **more)
    scene.start()
    flow.wait_live()
    return flow


def wait_dead_letters(flow: Flow, reasons: list[str]) -> None:
    wait_until(
        lambda: [dead_letter["reason"] for dead_letter in flow.dead_letters()] == reasons,
        20,
        flow.dead_letters,
    )


def dead_letters(scene: Scene, redis_url: str, *command: str) -> Any:
    return syncd("deadletters", *command, SYNCD_REDIS_URL=redis_url)


def test_every_type_and_nested_paths(scene: Scene) -> None:
    """A field becomes what the contract says, at its path; one that it does not name stays behind."""
    flow = start(scene, "typed", TYPED)
    entry = scene.redis.xadd(key(flow), ENTRY).decode()  # type: ignore[arg-type]
    options: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
    documents = flow.collection.with_options(options)
    found = wait_until(documents.find_one, 20, flow.lane)
    assert found == {"_id": f"{key(flow)}/{entry}", **DOCUMENT}
    kinds = {"$project": {"int": {"$type": "$usage.tokens"}, "long": {"$type": "$usage.total"}, "_id": 0}}
    assert next(flow.collection.aggregate([kinds])) == {"int": "int", "long": "long"}
    wait_done(flow)


def test_what_was_there_before_the_daemon_is_read(scene: Scene) -> None:
    """The group begins at the first entry of the stream; fields that are missing are left out."""
    flow = add_stream(scene, "before")
    append(flow, range(5))
    scene.redis.xadd(key(flow), {"n": 5})
    scene.start()
    wait_numbers(flow, range(6))
    assert "say" not in flow.collection.find_one({"n": 5})  # type: ignore[operator]
    wait_done(flow)
    wait_until(lambda: flow.lane()["waiting"] == 0 and flow.lane()["changes"] == 6, 20, flow.lane)
    wait_until(scene.daemon.is_ready, 20, flow.lane)
    assert flow.metric("syncd_writes_total", store="mongo", result="put") == 6
    assert flow.metric("syncd_changes_total") == 6
    assert flow.metric("syncd_outbox_entries") == 0


def test_dead_letters_and_replay(scene: Scene, redis_url: str) -> None:
    """What cannot be converted, or MongoDB refuses, is parked without its values; fixed, it is written once."""
    flow = add_stream(scene, "letters")
    database = flow.collection.database
    schema = {"$jsonSchema": {"properties": {"n": {"maximum": 100}}}}
    database.create_collection(flow.collection.name, validator=schema)
    scene.start()
    flow.wait_live()
    first = append(flow, [1, 2])
    scene.redis.xadd(key(flow), {"n": "many secrets"})
    append(flow, [101, 3])
    wait_numbers(flow, [1, 2, 3])
    wait_dead_letters(flow, ["cannot_convert", "document_refused"])
    wait_done(flow)
    assert "secret" not in str(flow.dead_letters())
    assert "over n" in flow.dead_letters()[1]["detail"]
    assert flow.metric("syncd_dead_letters_total") == 2

    database.command({"collMod": flow.collection.name, "validator": {}})
    ran = dead_letters(scene, redis_url, "replay", flow.contract, "--all")
    assert ran.stdout.strip() == "1 written, 1 still failing, 0 not found", ran.stderr
    wait_numbers(flow, [1, 2, 3, 101])

    assert scene.redis.xlen(key(flow)) == 5
    scene.redis.xtrim(key(flow), maxlen=1, approximate=False)
    assert scene.redis.xrange(key(flow), first[0], first[0]) == []
    assert dead_letters(scene, redis_url, "replay", flow.contract, "--all").returncode == 1
    wait_dead_letters(flow, ["entry_trimmed"])
    assert dead_letters(scene, redis_url, "drop", flow.contract, "--all").stdout.strip() == "dropped 1"
    assert numbers(flow) == [1, 2, 3, 101]


def test_the_edits_of_a_contract_without_a_lease(scene: Scene) -> None:
    """Redis keeps them as of any other, also of an edit for which no lane restarts; then a plan has nothing to do."""
    flow = start(scene, "edited")
    (shown,) = flow.projections
    readers = [{"team": "web", "reads": {"event": "all"}}]
    told = f"/api/v1/contracts/{flow.contract}"

    def edits() -> list[dict[str, Any]]:
        return list(json.loads(scene.daemon.get(told)[1])["edits"])

    for count, more in enumerate(({}, {"consumers": readers}), 2):
        flow.write(shown, sync=SYNC, version="1.0.1", **more)
        latest = wait_until(lambda count=count: len(found := edits()) == count and found[0])
    assert any("web" in line for line in latest["diff"]) and latest["host"]
    env = {f"SYNCD_{name.upper()}": value for name, value in scene.reach.items()}
    planned = syncd("plan", scene.contracts.path, **env).stdout
    assert flow.contract in planned.partition("\nsame: ")[2].partition("\n")[0].split(", "), planned


def test_a_command_that_fails_over_one_document(scene: Scene) -> None:
    """nothing_silent: what MongoDB refuses as a whole costs one document alone: the others are written, by halves."""
    flow = start(scene, "halves")
    entries = scene.redis.pipeline(transaction=True)
    for n in (1, 2):
        entries.xadd(key(flow), {"n": n})
    with failing(flow.collection, "insert", 15, times=2):
        entries.execute()
        wait_dead_letters(flow, ["document_refused"])
    wait_numbers(flow, [2])
    wait_done(flow)


def test_another_document_does_not_pass_for_a_repetition(scene: Scene) -> None:
    """A foreign document of the same _id, and one that a unique index keeps out, make dead letters."""
    flow = add_stream(scene, "foreign")
    flow.collection.create_index("n", unique=True)
    entries = append(flow, [1, 2])
    scene.redis.xadd(key(flow), {"n": 2})
    flow.collection.insert_one({"_id": f"{key(flow)}/{entries[0]}", "n": -1})
    scene.start()
    wait_dead_letters(flow, ["other_content", "duplicate_key"])
    wait_numbers(flow, [-1, 2])


def test_two_daemons_share_and_a_stopped_one_leaves(scene: Scene) -> None:
    """Both take entries of the group; the one that stops is taken off its list, and the other goes on."""
    flow = start(scene, "share")
    with scene.another_daemon() as second:
        second.wait_ready()
        count = 0

        def both_have_some() -> bool:
            nonlocal count
            append(flow, range(count, count + 200))
            count += 200
            return min(d.metric("syncd_writes_total", store="mongo") for d in (scene.daemon, second)) > 0

        wait_until(both_have_some, 30, flow.lane)
        wait_numbers(flow, range(count))
        wait_done(flow)
        assert len(scene.redis.xinfo_consumers(key(flow), flow.contract)) == 2
        assert second.terminate() == 0
        assert len(scene.redis.xinfo_consumers(key(flow), flow.contract)) == 1
    append(flow, range(count, count + 10))
    wait_numbers(flow, range(count + 10))


def test_entries_of_a_silent_consumer_are_claimed(scene: Scene) -> None:
    """A consumer of another machine took them and has been silent since."""
    scene.daemon = scene.another_daemon(SYNCD_LEASE_TTL="1.5")
    flow = add_stream(scene, "claim")
    append(flow, range(20))
    scene.redis.xgroup_create(key(flow), flow.contract, "0")
    scene.redis.xreadgroup(flow.contract, "elsewhere/boot/1/0", {key(flow): ">"}, count=10)
    assert pending(flow) == 10
    scene.start()
    wait_numbers(flow, range(20))
    wait_done(flow)


def test_a_contract_that_goes_takes_its_series_along(scene: Scene) -> None:
    """And one that comes back goes on where its group stood."""
    add_stream(scene, "stay")
    flow = start(scene, "leave")
    append(flow, range(3))
    wait_numbers(flow, range(3))
    scene.contracts.remove("leave")
    wait_until(lambda: not flow.lane(), 20)
    assert not [s for s in scene.daemon.metrics() if s.labels.get("contract") == flow.contract]
    append(flow, range(3, 6))
    flow.write(*flow.projections, sync={"direction": "redis_to_mongo", "capture": "append"})
    wait_numbers(flow, range(6))
    assert flow.metric("syncd_writes_total", store="mongo", result="repeated") == 0


@pytest.mark.parametrize("server", ["redis70_url", "valkey_url"])
def test_other_servers(
    server: str, request: pytest.FixtureRequest, token: str, mongo_uri: str, tmp_path: Path
) -> None:
    """The oldest Redis and Valkey: a dead letter, entries that were trimmed unread, and a lag that comes to rest."""
    with Scene(tmp_path, token, mongo_uri, request.getfixturevalue(server)) as scene:
        flow = start(scene, "other")
        append(flow, range(5))
        scene.redis.xadd(key(flow), {"n": "none"})
        wait_dead_letters(flow, ["cannot_convert"])
        wait_done(flow)
        scene.daemon.terminate()
        append(flow, range(5, 25))
        scene.redis.xtrim(key(flow), maxlen=10, approximate=False)
        scene.start()
        wait_numbers(flow, [*range(5), *range(15, 25)])
        wait_done(flow)
        scene.redis.xtrim(key(flow), maxlen=0)
        append(flow, [25])
        wait_numbers(flow, [*range(5), *range(15, 26)])
        wait_until(lambda: flow.lane()["waiting"] == 0, 20, flow.lane)
        assert flow.metric("syncd_outbox_trimmed_total") == 10
