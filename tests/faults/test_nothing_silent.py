"""nothing_silent: nothing is dropped, skipped, coerced or copied again without a log line, a metric and, for data, a
dead letter.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import Any

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from redis.exceptions import ResponseError

from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.broken.failpoint import failing
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

CARD = projection(["title", "n"])


def film(number: int, **more: Any) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": 0, **more}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


GOOD = {"v": [1.0, 2.0, 3.0], "slug": "good", "year": 1, "amount": 1, "digits": "1", "deep": 1}
SHAPES = [
    projection({"v": {"from": "v", "type": "vector", "dims": 3}}, name="vector"),
    projection({"year": {"from": "year", "type": "int"}}, name="typed"),
    projection(["title"], name="keyed", key="{slug}"),
    projection(["title"], name="until", ttl={"field": "until"}),
    projection({"amount": {"expr": "abs(amount)"}}, name="computed"),
    projection({"digits": {"expr": "to_number(digits)"}}, name="number", type="json"),
    projection(["deep"], name="deep", type="json"),
    projection(["title"], name="taken"),
]
BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "vector_length": ("vector", {"v": [1.0]}),
    "vector_element": ("vector", {"v": [1.0, "private", 3.0]}),
    "cannot_convert": ("typed", {"year": "private"}),
    "key_field_type": ("keyed", {"slug": ["private"]}),
    "key_field_missing": ("keyed", {"slug": None}),
    "ttl_not_a_date": ("until", {"until": "private"}),
    "expression": ("computed", {"amount": "private"}),
    "number_too_large": ("number", {"digits": "9" * 30}),
    "json_too_deep": ("deep", {"deep": nested(150)}),
    "wrong_type": ("taken", {}),
}


def bad_films(first: int) -> list[dict[str, Any]]:
    films = [film(first + at, **(GOOD | more)) for at, (_, more) in enumerate(BAD.values())]
    for at, one in enumerate(films):
        if isinstance(one["slug"], str):
            one["slug"] = f"s{first + at}"
        elif one["slug"] is None:
            del one["slug"]
    return films


def all_told(rig: Rig, reason: str, shape: str) -> list[dict[str, Any]]:
    """What the log says of two equal dead letters, once it has counted both."""
    lines = rig.scene.daemon.logs(event="dead letter", reason=reason, projection=shape)
    return lines if sum(line["count"] for line in lines) == 2 else []


def test_every_reason_of_a_dead_letter(rig: Rig) -> None:
    """What does not fit its shape, for each reason there is and by copy and by change alike: a dead letter that names
    document and shape, a line in the log and a count, and no value in any of them. The other shapes are written."""
    flow = rig.scene.add("film", *SHAPES, unique=[["slug"]], documents=bad_films(0))
    flow.redis.rpush(flow.key(len(BAD) - 1, "taken"), "not ours")
    rig.scene.start()
    flow.wait_live()
    flow.redis.rpush(flow.key(100 + len(BAD) - 1, "taken"), "not ours")
    flow.collection.insert_many(bad_films(100))
    wanted = {
        (str(first + at), shape, reason)
        for first in (0, 100)
        for at, (reason, (shape, _)) in enumerate(BAD.items())
    }
    wait_until(lambda: len(flow.dead_letters()) >= len(wanted), 20, flow.dead_letters)
    dead_letters = flow.dead_letters()
    assert {
        (dead_letter["id"], dead_letter["projection"], dead_letter["reason"]) for dead_letter in dead_letters
    } == wanted
    assert len(dead_letters) == len(wanted), Counter(
        (one["id"], one["reason"]) for one in dead_letters
    ).most_common(3)
    wait_until(lambda: flow.metric("syncd_dead_letters_total") == len(wanted))
    for reason, (shape, _) in BAD.items():
        assert flow.metric("syncd_dead_letters_total", reason=reason) == 2
        lines = wait_until(lambda reason=reason, shape=shape: all_told(rig, reason, shape), 20)
        assert {line["level"] for line in lines} == {"warning"}
        missing = 2 if reason != "wrong_type" else 0
        assert len(flow.keys(shape)) == 2 * len(BAD) - 2 * sum(said == shape for said, _ in BAD.values()) + (
            2 - missing
        )
    told = json.dumps(dead_letters) + rig.scene.daemon.process.log.read_text()
    assert "private" not in told
    assert "9" * 30 not in told
    assert flow.metric("syncd_lane_restarts_total") == 0


def test_a_text_that_is_not_unicode(rig: Rig) -> None:
    """A text that is not UTF-8, which MongoDB takes without a check, is a dead letter, and the lane goes on."""
    shapes = [CARD, projection(["title", "n"], name="doc", type="json")]
    broken = {}
    for number in (1, 2):
        raw = bson.encode(film(number)).replace(b"film", b"fi\xffm")
        broken[number] = RawBSONDocument(raw)
    flow = rig.scene.run("film", *shapes, documents=[broken[1], film(11)])
    flow.collection.insert_one(broken[2])
    flow.collection.insert_one(film(12))
    flow.wait_hash(12, {"title": "film 12", "n": "0"})
    assert {
        (dead_letter["id"], dead_letter["projection"], dead_letter["reason"])
        for dead_letter in flow.dead_letters()
    } == {(ident, shape, "not_unicode") for ident in ("1", "2") for shape in ("card", "doc")}
    assert flow.metric("syncd_lane_restarts_total") == 0


def test_a_dead_letter_whose_reply_was_lost(rig: Rig) -> None:
    """A daemon killed before it hears that a dead letter is stored reports it after its next start."""
    shape = projection({"n": {"from": "n", "type": "int"}})
    flow = rig.scene.run("film", shape, documents=[film(1)])
    hold = rig.redis_proxy.hold_reply(b"syncd_apply", b"cannot_convert")
    flow.collection.insert_one({"_id": 2, "n": "no number"})
    hold.wait()
    rig.scene.daemon.kill()
    assert len(flow.dead_letters()) == 1
    rig.scene.start()
    flow.wait_live()
    wait_until(lambda: flow.metric("syncd_dead_letters_waiting") == 1)
    assert rig.scene.daemon.logs(event="dead letters wait", contract=flow.contract, count=1)


def test_a_dead_letter_that_cannot_be_stored(rig: Rig) -> None:
    """Where something else took the place of the dead letters, the lane stops loudly, and loses none of them."""
    shape = projection({"n": {"from": "n", "type": "int"}})
    flow = rig.scene.run("film", shape, documents=[film(1)])
    flow.redis.set(flow.names.control("dead"), "something else")
    flow.collection.insert_one({"_id": 2, "n": "no number"})
    error = flow.wait_state("failed")["error"]
    assert flow.names.control("dead") in error
    assert rig.scene.daemon.get("/readyz")[0] == 503
    (line,) = rig.scene.daemon.logs(event="lane interrupted")
    assert line["level"] == "error"
    flow.redis.delete(flow.names.control("dead"))
    rig.scene.daemon.kill()
    rig.scene.start()
    wait_until(lambda: [dead_letter["id"] for dead_letter in flow.dead_letters()] == ["2"], 20, flow.lane)


def test_a_right_that_is_missing(rig: Rig) -> None:
    """A command that Redis forbids us stops the lane with a clear error; it does not turn documents into dead
    letters."""
    rig.scene.redis.execute_command("ACL", "SETUSER", "lame", "on", ">x", "~*", "&*", "+@all", "-json.set")
    shape = projection(["title", "n"], type="json")
    flow = rig.scene.add("film", shape, documents=[film(n) for n in range(20)])
    url = rig.redis.url.replace("redis://", "redis://lame:x@")
    daemon = rig.scene.daemon = rig.scene.another_daemon(SYNCD_REDIS_URL=url)
    daemon.start()
    error = flow.wait_state("failed")["error"]
    assert "json.set" in error.lower()
    assert "SYNCD_REDIS_URL" in error
    assert not flow.dead_letters()
    rig.scene.redis.execute_command("ACL", "SETUSER", "lame", "+json.set")
    daemon.kill()
    daemon.start()
    flow.wait_live()
    flow.assert_same()
    rig.scene.redis.execute_command("ACL", "DELUSER", "lame")


def test_a_date_that_never_comes(rig: Rig) -> None:
    """The largest dates that MongoDB holds are times to live like any other: no document stops the lane by one."""
    shape = projection(["title"], ttl={"field": "until"})
    dates = [2**63 - 1, 10**17, 2**53 + 1, -(2**63)]
    films = [film(n, until=DatetimeMS(date)) for n, date in enumerate(dates)]
    flow = rig.scene.run("film", shape, documents=films)
    flow.collection.insert_many([film(10 + n, until=DatetimeMS(date)) for n, date in enumerate(dates)])
    flow.collection.insert_one(film(20))
    flow.wait_hash(20, {"title": "film 20"})
    wait_until(lambda: flow.keys() == {"0", "1", "2", "10", "11", "12", "20"}, 5, flow.keys)
    assert [flow.redis.pexpiretime(flow.key(n)) for n in (0, 1, 2)] == dates[:3]
    assert flow.metric("syncd_lane_restarts_total") == 0


def test_changes_of_an_unknown_kind(rig: Rig) -> None:
    """A change of an unknown kind is skipped with a line and a count; a stream that ends without an error is opened
    again."""
    flow = rig.scene.run("film", CARD, documents=[film(1)])
    rig.mongo_proxy.replace_in_replies(
        {b"\x00drop\x00": b"\x00dr0p\x00", b"invalidate\x00": b"invalidat3\x00"}
    )
    flow.collection.drop()
    wait_until(lambda: flow.metric("syncd_changes_total", op="other") >= 2, 20, flow.lane)
    said = {line["op"]: line["level"] for line in rig.scene.daemon.logs(event="unknown change skipped")}
    assert said == {"dr0p": "warning", "invalidat3": "warning"}
    wait_until(lambda: rig.scene.daemon.logs(event="lane interrupted", why="transient"), 20, flow.lane)
    rig.mongo_proxy.restore()
    flow.collection.insert_one(film(2))
    flow.wait_hash(2, {"title": "film 2", "n": "0"})
    flow.wait_live()


def test_an_index_that_another_client_dropped(rig: Rig) -> None:
    """An index that is gone is missed within a check or two, said so, and made again over what is there."""
    index = {"name": "films", "fields": [{"name": "title", "type": "text"}]}
    films = [film(n) for n in range(10)]
    flow = rig.scene.run("film", projection(["title"], index=index), documents=films)
    flow.redis.execute_command("FT.DROPINDEX", "films:1")
    wait_until(
        lambda: rig.scene.daemon.logs(
            event="index was dropped by another client", level="warning", index="films"
        ),
        25,
        flow.lane,
    )

    def found() -> int:
        try:
            return int(flow.redis.execute_command("FT.SEARCH", "films", "film", "NOCONTENT")[0])
        except ResponseError:  # it is not there yet
            return 0

    wait_until(lambda: found() == 10)
    assert flow.metric("syncd_index_lost_total") == 1
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1


def test_a_directory_of_contracts_that_is_made_again(rig: Rig) -> None:
    """A directory that is deleted is refused as a set without contracts, loudly; edits in the one that takes its place
    are seen."""
    flow = rig.scene.run("film", CARD, documents=[film(1)])
    directory = rig.scene.contracts.path
    text = rig.scene.contracts.file("film").read_text()
    shutil.rmtree(directory)
    wait_until(lambda: rig.scene.daemon.logs(event="contracts refused, the old set runs on", level="error"))
    assert rig.scene.daemon.metric("syncd_contracts_valid") == 0
    assert not rig.scene.daemon.status()["contracts"]["valid"]
    flow.collection.insert_one(film(2))
    flow.wait_hash(2, {"title": "film 2", "n": "0"})
    directory.mkdir()
    rig.scene.contracts.write_text("film", text.replace('"n"', '"year"'))
    wait_until(lambda: rig.scene.daemon.logs(event="contracts reloaded", restarted=[flow.contract]))
    assert rig.scene.daemon.metric("syncd_contracts_valid") == 1
    rig.scene.contracts.write_text("film", text)
    wait_until(lambda: len(rig.scene.daemon.logs(event="contracts reloaded", restarted=[flow.contract])) == 2)


def started(rig: Rig) -> list[str]:
    return [line["reason"] for line in rig.scene.daemon.logs(event="snapshot started")]


def test_every_copy_says_why(rig: Rig) -> None:
    """Each reason to copy a contract again has a line that says why, and a lost position a count beside it."""
    rig.keep_own_streams()
    flow = rig.scene.run("film", CARD, documents=[film(1)], sync={"on_drop": "purge"})
    assert started(rig) == ["no position"]
    flow.write(projection(["title"]), sync={"on_drop": "purge"})
    wait_until(lambda: started(rig)[1:] == ["the contract changed"])
    flow.wait_live()
    done = cli.syncd("snapshot", flow.contract, SYNCD_REDIS_URL=rig.redis.url)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: started(rig)[2:] == ["a person asked for it"])
    flow.wait_live()
    assert flow.metric("syncd_lane_restarts_total", why="position_lost") == 0
    flow.collection.drop()
    wait_until(lambda: started(rig)[3:] == ["no position"])
    flow.wait_live()
    with failing(flow.collection, "getMore", 286, times=1) as point:
        point.wait_hits(1)
    wait_until(lambda: started(rig)[4:] == ["no position"])
    assert flow.metric("syncd_lane_restarts_total", why="position_lost") == 2
    errors = [line["error"] for line in rig.scene.daemon.logs(event="position lost", level="warning")]
    assert len(errors) == 2
    assert "drop" in errors[0]
    assert "286" in errors[1]


def assert_shown(rig: Rig, flow: Flow, state: str, *words: str) -> None:
    """In /readyz, /status and the metrics alike."""
    lane = flow.wait_state(state)
    assert not lane["ready"]
    assert all(word in lane["error"] for word in words), lane["error"]
    code, body = rig.scene.daemon.get("/readyz")
    assert code == 503
    assert json.loads(body)["waiting_for"][flow.contract] == (lane["error"] or state)
    assert flow.metric("syncd_lane_state", state=state) == 1
    assert flow.metric("syncd_lane_state") == 1
    assert rig.scene.daemon.is_live()


@pytest.mark.parametrize("state", ["snapshot", "catching_up", "waiting", "failed", "paused"])
def test_a_lane_that_is_not_live(rig: Rig, state: str) -> None:
    """A lane in any state but live (or standby) makes the daemon not ready, and readiness, status and metrics name the
    same state, with the error where there is one."""
    rig.keep_own_streams()
    flow = rig.scene.add("film", CARD, documents=[film(1)], sync={"on_drop": "pause"})
    end = {"snapshot": b"hint", "catching_up": b"getMore\x00"}.get(state)
    hold = rig.mongo_proxy.hold_request(end, b"\x00film\x00") if end else None
    rig.scene.start()
    if hold is not None:
        hold.wait()
        assert_shown(rig, flow, state)
        hold.release()
        flow.wait_live()
    else:
        flow.wait_live()
        rig.scene.daemon.wait_ready()
    if state == "waiting":
        rig.redis_proxy.cut()
        assert_shown(rig, flow, state, "Redis")
        rig.redis_proxy.restore()
    elif state == "failed":
        with failing(flow.collection, "getMore", 8000):
            assert_shown(rig, flow, state, "MongoDB")
        return
    elif state == "paused":
        flow.collection.drop()
        assert_shown(rig, flow, state, "syncd snapshot")
        return
    flow.wait_live()
    rig.scene.daemon.wait_ready()
