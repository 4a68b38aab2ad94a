"""What `syncd doctor` and `syncd check --connect` say of servers that are set in ways that break promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from redis import Redis

from syncd.contract.read.load import load_contract_set
from syncd.embedded import RedisServer
from syncd.ops.checks.preflight import PreflightReport, preflight
from syncd.settings import Settings
from tests.support.contracts import ContractDirectory, projection
from tests.support.servers.shared import connect

KEYSPACE = {"direction": "redis_to_mongo", "capture": "keyspace"}
APPEND = {"direction": "redis_to_mongo", "capture": "append"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Its settings are changed by these tests."""
    with RedisServer(config={"enable-debug-command": "local"}) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    with connect(server.url) as client:
        for option, value in (
            ("appendonly", "yes"), ("maxmemory-policy", "noeviction"), ("notify-keyspace-events", ""),
        ):  # fmt: skip
            client.config_set(option, value)
        yield client


@pytest.fixture
def directory(tmp_path: Path, mongo_uri: str) -> Path:
    with MongoClient[dict[str, Any]](mongo_uri) as mongo:
        mongo.doctor.films.replace_one({"_id": 1}, {"_id": 1, "a": "a"}, upsert=True)
    contracts = ContractDirectory(tmp_path / "contracts", "doctor")
    contracts.write("state", projection({"a": "a"}), sync=KEYSPACE)
    contracts.write("events", projection({"a": "a"}, name="event", type="stream", key="in"), sync=APPEND)
    contracts.write("films", projection({"a": "a"}))
    return contracts.path


def ask(directory: Path, mongo_uri: str, redis_url: str, **more: str) -> PreflightReport:
    settings = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url, **more}
    return preflight(load_contract_set(directory, more), Settings.from_environment(settings))


def short(report: PreflightReport) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [
        (one.level, one.promises, tuple(name.removeprefix("doctor-") for name in one.contracts))
        for one in report.findings
    ]


def test_all_is_well(directory: Path, mongo_uri: str, client: Redis, server: RedisServer) -> None:
    """A Redis that keeps its data, evicts nothing, and lets syncd set its option: nothing found, nothing changed."""
    assert ask(directory, mongo_uri, server.url).findings == []
    assert client.config_get("notify-keyspace-events") == {"notify-keyspace-events": ""}


def test_a_stream_without_its_site(
    directory: Path, mongo_uri: str, client: Redis, server: RedisServer
) -> None:
    """nothing_lost, applied_once: the same name of a stream at two sites gives the same `_id` to different entries."""
    contracts = ContractDirectory(directory, "doctor")
    shape = projection({"a": "a"}, name="event", type="stream", key="in:${SYNCD_SITE}")
    contracts.write("named", shape, sync=APPEND)
    found = short(ask(directory, mongo_uri, server.url, SYNCD_SITE="hill"))
    assert found == [("promise", ("nothing_lost", "applied_once"), ("events",))]


def test_a_redis_that_keeps_nothing(
    directory: Path, mongo_uri: str, client: Redis, server: RedisServer
) -> None:
    """nothing_silent: without AOF and RDB, writes that MongoDB does not hold yet go with Redis; for copies it is
    advice."""
    client.config_set("appendonly", "no")
    client.config_set("save", "")
    report = ask(directory, mongo_uri, server.url)
    assert short(report) == [("promise", ("nothing_lost",), ("events", "state")), ("advice", (), ())]
    assert str(report.findings[0]).startswith(
        "promise (nothing_lost; doctor-events, doctor-state): this Redis"
    )
    assert report.problems == []


def test_policies_that_evict(directory: Path, mongo_uri: str, client: Redis, server: RedisServer) -> None:
    """nothing_silent: `allkeys-*` may take what MongoDB does not hold and what syncd keeps; `volatile-*` takes keys
    with a TTL, which breaks a promise where the contract says that they have one."""
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert short(ask(directory, mongo_uri, server.url)) == [
        ("promise", ("nothing_lost",), ("events", "state")),
        ("promise", ("never_torn", "nothing_silent"), ("films",)),
        ("advice", (), ()),
    ]
    client.config_set("maxmemory-policy", "volatile-ttl")
    assert short(ask(directory, mongo_uri, server.url)) == [("advice", (), ())]
    ContractDirectory(directory, "doctor").write(
        "state", projection({"a": "a"}, ttl={"field": "until"}), sync=KEYSPACE
    )
    assert short(ask(directory, mongo_uri, server.url)) == [("promise", ("nothing_lost",), ("state",))]


@pytest.mark.parametrize(("right", "word"), [("-config|set", "lacks"), ("-config", "no event")])
def test_events_that_are_off_and_stay_off(
    directory: Path, mongo_uri: str, client: Redis, server: RedisServer, right: str, word: str
) -> None:
    """nothing_silent: `capture: keyspace` is refused, with its place; also where the option is hidden and no event
    comes."""
    client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">secret", "~*", "&*", "+@all", right)
    report = ask(directory, mongo_uri, server.url.replace("//", "//narrow:secret@"))
    assert short(report) == [("refused", ("nothing_lost",), ("state",))]
    (problem,) = report.problems
    assert word in problem.what
    assert problem.file.endswith("state.yaml")
    assert problem.line > 1
