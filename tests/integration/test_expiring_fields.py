"""Fields of a hash that expire by themselves, on Redis and on Valkey; a server that cannot do it says so."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import Servers
from tests.support.ways.reconcile import check, drift_of

FAR = datetime(2100, 1, 1, tzinfo=UTC)
LATER = datetime(2101, 1, 1, tzinfo=UTC)
PAST = datetime(2001, 1, 1, tzinfo=UTC)
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
FIELDS: dict[str, Any] = {
    "name": "name",
    "code": {"from": "code", "ttl": {"field": "until"}},
    "visits": {"from": "visits", "ttl": {"field": "week.ends"}},
}


def user(number: int, until: Any = FAR, **more: Any) -> dict[str, Any]:
    return {"_id": number, "name": f"n{number}", "code": number, "until": until, "visits": 1, **more}


@pytest.fixture(scope="module", params=["redis", "valkey"])
def scene(
    request: pytest.FixtureRequest, servers: Servers, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    url: str = request.getfixturevalue(f"{request.param}_url")
    token = f"t{secrets.token_hex(4)}"
    with Scene(tmp_path_factory.mktemp("expiring"), token, mongo_uri, url) as scene:
        yield scene
    servers.forget(token)


@pytest.fixture(scope="module")
def flow(scene: Scene) -> Flow:
    users = [user(0), user(1, None), user(2, PAST), user(3, NEVER), user(4, week={"ends": LATER})]
    return scene.run("users", projection(FIELDS), documents=[*users, *map(user, range(10, 30))])


def expiries(flow: Flow, number: int) -> list[int]:
    """Of name, code and visits, as HPEXPIRETIME says it."""
    reply: Any = flow.redis.execute_command(
        "HPEXPIRETIME", flow.key(number), "FIELDS", 3, "name", "code", "visits"
    )
    return list(reply)


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def wait(flow: Flow, number: int, wanted: list[int], **fields: str) -> None:
    wait_until(
        lambda: expiries(flow, number) == wanted and flow.hash(number) == fields,
        60,
        lambda: f"{expiries(flow, number)} {flow.hash(number)} {flow.lane()}",
    )


def test_a_copy(flow: Flow) -> None:
    """A date is when the field expires; none, or one beyond the year 4199, means never; a past one leaves it out."""
    wait(flow, 0, [-1, ms(FAR), -1], name="n0", code="0", visits="1")
    wait(flow, 1, [-1, -1, -1], name="n1", code="1", visits="1")
    wait(flow, 2, [-1, -2, -1], name="n2", visits="1")
    wait(flow, 3, [-1, -1, -1], name="n3", code="3", visits="1")
    wait(flow, 4, [-1, ms(FAR), ms(LATER)], name="n4", code="4", visits="1")


def test_changes(flow: Flow) -> None:
    """never_torn: an update of the value keeps the moment, one of the moment keeps the value, one of another field
    keeps both; a moment that goes, and one that has passed."""
    users = flow.collection
    users.update_one({"_id": 10}, {"$set": {"code": "new"}})
    wait(flow, 10, [-1, ms(FAR), -1], name="n10", code="new", visits="1")
    users.update_one({"_id": 11}, {"$set": {"until": LATER}})
    wait(flow, 11, [-1, ms(LATER), -1], name="n11", code="11", visits="1")
    users.update_one({"_id": 12}, {"$set": {"name": "other"}})
    wait(flow, 12, [-1, ms(FAR), -1], name="other", code="12", visits="1")
    users.update_one({"_id": 13}, {"$unset": {"until": ""}})
    wait(flow, 13, [-1, -1, -1], name="n13", code="13", visits="1")
    users.update_one({"_id": 14}, {"$set": {"until": PAST}})
    wait(flow, 14, [-1, -2, -1], name="n14", visits="1")
    users.update_one({"_id": 14}, {"$set": {"until": FAR, "week": {"ends": LATER}}})
    wait(flow, 14, [-1, ms(FAR), ms(LATER)], name="n14", code="14", visits="1")
    users.update_one({"_id": 15}, {"$unset": {"code": ""}})
    wait(flow, 15, [-1, -2, -1], name="n15", visits="1")
    users.replace_one({"_id": 16}, {"_id": 16, "code": "all", "until": PAST})
    flow.wait_gone(16)


def test_it_expires_by_itself(flow: Flow) -> None:
    """And an update of another field does not bring it back; one of the value with a new date does."""
    soon = datetime.now(UTC) + timedelta(seconds=1)
    flow.collection.update_one({"_id": 17}, {"$set": {"until": soon}})
    wait(flow, 17, [-1, -2, -1], name="n17", visits="1")
    flow.collection.update_one({"_id": 17}, {"$set": {"name": "other"}})
    wait(flow, 17, [-1, -2, -1], name="other", visits="1")
    flow.collection.update_one({"_id": 17}, {"$set": {"code": "back", "until": FAR}})
    wait(flow, 17, [-1, ms(FAR), -1], name="other", code="back", visits="1")


def test_what_is_no_date(flow: Flow) -> None:
    """nothing_silent: a dead letter that names the field; the key stays."""
    flow.collection.update_one({"_id": 18}, {"$set": {"until": "tomorrow", "name": "no"}})
    (letter,) = wait_until(flow.dead_letters, 60, flow.lane)
    assert (letter["reason"], letter["detail"]) == (
        "ttl_not_a_date",
        "field `code`: the field that says when it expires holds no date",
    )
    wait(flow, 18, [-1, ms(FAR), -1], name="n18", code="18", visits="1")
    flow.collection.delete_one({"_id": 18})
    flow.wait_gone(18)


def test_differences(scene: Scene, flow: Flow, mongo_uri: str) -> None:
    """nothing_silent: a field that lives too long, too short or for ever, or is gone before its time, is found and
    repaired; one that has expired is no difference, nor is a hash of which all have."""

    def look(**order: Any) -> Any:
        return check(scene, flow, mongo_uri, scene.reach["redis_url"], **order)

    flow.collection.insert_one({"_id": 99, "code": 1, "until": PAST})
    flow.collection.update_one({"_id": 29}, {"$set": {"name": "last"}})
    wait(flow, 29, [-1, ms(FAR), -1], name="last", code="29", visits="1")
    flow.wait_gone(99)
    assert look().result == "clean"
    run = flow.redis.execute_command
    run("HPERSIST", flow.key(20), "FIELDS", 1, "code")
    run("HPEXPIREAT", flow.key(21), ms(LATER), "FIELDS", 1, "code")
    run("HPEXPIREAT", flow.key(22), ms(LATER), "FIELDS", 1, "visits")
    run("HPEXPIREAT", flow.key(23), 1, "FIELDS", 1, "code")
    run("HSET", flow.key(2), "code", "2")
    run("DEL", flow.key(24))
    found = look()
    assert drift_of(found) == {("card", flow.key(n), "content") for n in (20, 21, 22, 23, 2)} | {
        ("card", flow.key(24), "missing")
    }
    assert {mark.fields for mark in found.examples} == {("code",), ("visits",), ()}
    assert look(repair=True).left == 0
    assert look().result == "clean"
    wait(flow, 20, [-1, ms(FAR), -1], name="n20", code="20", visits="1")


def test_a_server_that_cannot(
    servers: Servers, mongo_uri: str, redis70_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """nothing_silent: the contract is refused, and the reason says what to do; others run."""
    token = f"t{secrets.token_hex(4)}"
    with Scene(tmp_path_factory.mktemp("expiring70"), token, mongo_uri, redis70_url) as scene:
        flow = scene.add("users", projection(FIELDS), documents=[user(1)])
        plain = scene.run("plain", projection(["name"]), documents=[user(1)])
        lane = flow.wait_state("failed")
        assert "needs single fields that expire (their `ttl`), which redis 7.0" in lane["error"]
        assert "use Redis 7.4 or later, or Valkey 9, or leave `ttl` of the fields out" in lane["error"]
        plain.wait_same()
    servers.forget(token)
