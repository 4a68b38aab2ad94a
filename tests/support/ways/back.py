"""Contracts with changes from Redis, their writers, and differences of every kind to plant for a check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.check import wait_until
from tests.support.scene import Document, Flow, Scene
from tests.support.ways.outbox import add_outbox, outbox
from tests.support.ways.reconcile import FAR, Drift
from tests.support.ways.twoway import add_two_way

OPTION = "notify-keyspace-events"
POSITION = f"{1:032x}"
NEW, ORPHAN = 20_000, 10_000
"""Added to a number: keys and documents that only a plant has made."""
LASTS = 3
"""Every third key has a time to live."""


def add_state(scene: Scene, capture: str, *, short: str = "", **more: Any) -> Flow:
    """A contract from Redis to MongoDB that keeps the moment of expiry."""
    return add_outbox(
        scene, short or capture, sync={"capture": capture}, shape={"ttl": {"field": "until"}}, **more
    )


def film(number: int) -> Document:
    return {"_id": number, "n": 0, "a": "m0", "in": {"b": "r0"}, "c": "x0"}


def add_both(scene: Scene, capture: str, count: int) -> Flow:
    return add_two_way(scene, f"both-{capture}", capture, documents=map(film, range(count)))


def change(flow: Flow, number: int, *commands: tuple[Any, ...]) -> None:
    """Commands on one key in one step, as the application sends them."""
    pipe = flow.redis.pipeline(transaction=True)
    for name, *args in commands:
        pipe.execute_command(name, flow.key(number), *args)
        if flow.sync["capture"] == "outbox":
            said = {"key": flow.key(number)}
            pipe.xadd(outbox(flow), said | ({"op": "del"} if name == "DEL" else {}))
    pipe.execute()


def set_state(flow: Flow, number: int, version: int) -> None:
    """A hash of a state contract as it is in this version, with its time to live."""
    ttl = ("PEXPIREAT", round(FAR.timestamp() * 1000)) if number % LASTS == 0 else ("PERSIST",)
    change(flow, number, ("HSET", "n", version, "text", f"version {version}"), ttl)


def unheard(flow: Flow, *commands: tuple[Any, ...]) -> None:
    """Commands that are not reported to syncd: without a note, or without an event."""
    before = flow.redis.config_get(OPTION)[OPTION]
    pipe = flow.redis.pipeline(transaction=True)
    pipe.config_set(OPTION, "")
    for command in commands:
        pipe.execute_command(*command)
    pipe.config_set(OPTION, before)
    pipe.execute()


def plant_state(flow: Flow, numbers: Sequence[int]) -> Drift:
    """A difference of another kind at each key in turn; what a check has to say of it."""
    far = FAR + timedelta(days=1)
    ways: tuple[Callable[[int], tuple[int, str]], ...] = (
        lambda n: _update(
            flow, n, {"$unset": {"until": ""}} if n % LASTS == 0 else {"$set": {"until": far}}, "ttl"
        ),
        lambda n: _update(flow, n, {"$set": {"until": far}}, "ttl"),
        lambda n: _update(flow, n, {"$set": {"n": 10**6}}, "content"),
        lambda n: _update(flow, n, {"$set": {"n": 0.0}}, "content"),
        lambda n: _update(flow, n, {"$unset": {"say.text": ""}}, "content"),
        lambda n: _update(flow, n, {"$set": {"_syncd.deleted": FAR}}, "content"),
        lambda n: _unheard(flow, n, ("HSET", flow.key(n), "text", "unheard"), "content"),
        lambda n: _unheard(flow, n, ("DEL", flow.key(n)), "extra"),
        lambda n: _unheard(flow, NEW + n, ("HSET", flow.key(NEW + n), "n", 1, "text", "new"), "missing"),
        lambda n: _gone(flow, n),
        lambda n: _orphan(flow, ORPHAN + n),
    )
    found = [ways[at % len(ways)](number) for at, number in enumerate(numbers)]
    return {("card", flow.key(number), kind) for number, kind in found}


def _update(flow: Flow, number: int, update: Document, kind: str) -> tuple[int, str]:
    flow.collection.update_one({"_id": number}, update)
    return number, kind


def _unheard(flow: Flow, number: int, command: tuple[Any, ...], kind: str) -> tuple[int, str]:
    unheard(flow, command)
    return number, kind


def _gone(flow: Flow, number: int) -> tuple[int, str]:
    flow.collection.delete_one({"_id": number})
    return number, "missing"


def _orphan(flow: Flow, number: int) -> tuple[int, str]:
    """As a restore brings it back."""
    flow.collection.insert_one({"_id": number, "n": 1, "_syncd": {"site": "", "pos": POSITION}})
    return number, "extra"


def plant_calm(flow: Flow) -> list[Any]:
    """Documents without a key that are as they should be: another application's, of another site, one whose key
    expired, and a tombstone. Returns their `_id`."""
    own, past = {"site": "", "pos": POSITION}, datetime(2020, 1, 1, tzinfo=UTC)
    documents: list[Document] = [
        {"_id": "theirs"},
        {"_id": 30_001, "_syncd": own | {"site": "elsewhere"}},
        {"_id": 30_002, "until": past, "_syncd": own},
        {"_id": 30_003, "_syncd": own | {"deleted": past}},
    ]
    flow.collection.insert_many(documents)
    return [document["_id"] for document in documents]


def states(flow: Flow, without: Sequence[Any] = ()) -> dict[Any, Any]:
    """What documents say: version, text, and whether the key has an end."""
    return {
        document["_id"]: (document.get("n"), document.get("say", {}).get("text"), "until" in document)
        for document in flow.collection.find({"_id": {"$nin": list(without)}})
        if "deleted" not in document["_syncd"]
    }


def key_states(flow: Flow) -> dict[Any, Any]:
    """What they must say by the keys."""
    return {
        int(end): (int(said["n"]), said["text"], flow.redis.pttl(flow.key(end)) > 0)
        for end, said in flow.hashes().items()
        if said
    }


def wait_states(flow: Flow, without: Sequence[Any] = ()) -> None:
    wait_until(
        lambda: states(flow, without) == key_states(flow),
        30,
        lambda: f"alike; {states(flow, without).items() ^ key_states(flow).items()}; {flow.lane()}",
    )


def plant_both(flow: Flow, numbers: Sequence[int]) -> Drift:
    """The same for a contract that goes both ways."""
    synced = flow.names.control("synced")

    def base(n: int) -> tuple[int, str]:
        flow.redis.hdel(synced, flow.key(n))
        return n, "content"

    def orphan(n: int) -> tuple[int, str]:
        """A key as it was agreed on, whose document is gone."""
        flow.redis.hset(synced, flow.key(ORPHAN + n), flow.redis.hget(synced, flow.key(n)))
        return _unheard(flow, ORPHAN + n, ("COPY", flow.key(n), flow.key(ORPHAN + n)), "extra")

    ways: tuple[Callable[[int], tuple[int, str]], ...] = (
        lambda n: _unheard(flow, n, ("HSET", flow.key(n), "b", "unheard"), "content"),
        lambda n: _unheard(flow, NEW + n, ("HSET", flow.key(NEW + n), "b", "new"), "missing"),
        base,
        orphan,
    )
    found = [ways[at % len(ways)](number) for at, number in enumerate(numbers)]
    return {("card", flow.key(number), kind) for number, kind in found}
