"""Hashes that two contracts of two daemons share, while everything breaks: each has its own fields in them, and what an
application has there stays (nothing_lost, never_backwards, never_torn, no_ghosts, fenced)."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from pymongo import DeleteOne, ReplaceOne, UpdateOne
from redis import Redis
from redis.exceptions import RedisError

from tests.faults.conftest import Rig, again
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Scene
from tests.support.servers.shared import connect
from tests.support.shapes.sharing import People, wanted

ROUNDS = 5 * SCALE
PEOPLE = 30


def test_two_daemons_are_killed(rig: Rig, tmp_path: Path) -> None:
    """Random changes of two collections, in one daemon each, which are killed again and again, Redis once; a field that
    says the state of its contract is never earlier than before, and never beside one of another state."""
    scene, people = rig.scene, People(rig.scene, "person")
    seen = Watch(rig.redis.url, people)
    with Scene(tmp_path / "other", "faults", rig.mongo.uri, rig.redis.url) as other:
        foreign = {str(n): {"theirs": "x"} for n in range(0, PEOPLE, 3)}
        for ident, said in foreign.items():
            scene.redis.hset(people.key(ident), mapping=said)
        users = scene.run("users", people.part(["a", "b"]))
        numbers = other.run("numbers", people.part(["c", "d"]), filter={"on": True})
        chance = random.Random(3)
        seen.start()
        for turn in range(ROUNDS):
            for flow, names in ((users, "ab"), (numbers, "cd")):
                flow.collection.bulk_write(changes(chance, names, turn), ordered=False)
            for one in (scene, other):
                one.daemon.kill()
            if turn == 2:
                rig.redis.kill()
                rig.redis.start()
            for one in (scene, other):
                one.daemon.start()
        for flow in (users, numbers):
            flow.collection.replace_one({"_id": "end"}, {"on": True, "a": "end", "c": "end"}, upsert=True)
        people.wait("end", {"a": "end", "c": "end"})
        seen.end()
        assert people.all() == wanted({users: ["a", "b"], numbers: ["c", "d"]}, foreign)
        assert not seen.flaws


def changes(chance: random.Random, names: str, turn: int) -> list[DeleteOne | UpdateOne | ReplaceOne]:
    """Both fields of a document always say the same, which grows."""
    found: list[DeleteOne | UpdateOne | ReplaceOne] = []
    for n in range(200):
        ident, value = chance.randrange(PEOPLE), turn * 1000 + n
        both = dict.fromkeys(names, value)
        found.append(
            chance.choice(
                [
                    UpdateOne({"_id": ident}, {"$set": {**both, "on": chance.random() < 0.8}}, upsert=True),
                    ReplaceOne({"_id": ident}, {**both, "on": True}, upsert=True),
                    UpdateOne({"_id": ident}, {"$unset": dict.fromkeys(names, "")}),
                    DeleteOne({"_id": ident}),
                ]
            )
        )
    return found


class Watch(threading.Thread):
    """Reads the hashes all the time."""

    def __init__(self, url: str, people: People) -> None:
        super().__init__(daemon=True)
        self._url, self._people, self._ended = url, people, threading.Event()
        self.flaws: list[dict[str, str]] = []

    def run(self) -> None:
        """Two fields of a contract say the same."""
        client: Redis | None = None
        while not self._ended.is_set():
            try:
                client = client or connect(self._url)
                pipe = client.pipeline(transaction=False)
                for n in range(PEOPLE):
                    pipe.hgetall(self._people.key(n))
                for reply in pipe.execute():
                    said = {name.decode(): value.decode() for name, value in reply.items()}
                    if said.get("a") != said.get("b") or said.get("c") != said.get("d"):
                        self.flaws.append(said)
            except (OSError, RedisError):  # it is killed meanwhile
                client = None
            self._ended.wait(0.005)

    def end(self) -> None:
        self._ended.set()
        self.join()


def test_killed_at_the_call(rig: Rig) -> None:
    """kill -9 when Redis has the call and the daemon does not know: fields that were moved and removed are so once."""
    scene, people = rig.scene, People(rig.scene, "person")
    flow = scene.run(
        "users", people.part(["a", "b"]), documents=[{"_id": n, "a": n, "b": n} for n in range(5)]
    )
    scene.redis.hset(people.key(1), "theirs", "x")
    hold = rig.redis_proxy.hold_reply(b"syncd_apply", b"moved")
    gone: DeleteOne = DeleteOne({"_id": 1})
    moved = UpdateOne({"_id": 2}, {"$set": {"a": "moved"}, "$unset": {"b": ""}})
    flow.collection.bulk_write([gone, moved])
    hold.wait()
    again(rig)
    people.wait(2, {"a": "moved"})
    people.wait(1, {"theirs": "x"})


def test_a_daemon_whose_contract_does_not_share(rig: Rig, tmp_path: Path) -> None:
    """fenced: a contract that wants all of the keys, and one that wants a field which another has, stand by as long as
    another daemon works on the fields; one with other fields works beside it."""
    scene, people = rig.scene, People(rig.scene, "person")
    users = scene.run("users", people.part(["a"]), documents=[{"_id": 1, "a": 1}])
    with (
        Scene(tmp_path / "second", "faults", rig.mongo.uri, rig.redis.url) as second,
        Scene(tmp_path / "third", "faults", rig.mongo.uri, rig.redis.url) as third,
    ):
        whole = second.add("whole", projection(["z"], key="/person:{_id}"), documents=[{"_id": 1, "z": 9}])
        second.start()
        taker = third.add("taker", people.part(["a", "x"]), documents=[{"_id": 1, "x": 7}])
        beside = third.run("beside", people.part(["b"]), documents=[{"_id": 1, "b": 2}])
        for flow in (whole, taker):
            flow.wait_state("standby")
        people.wait(1, {"a": "1", "b": "2"})
        assert users.lane()["state"] == beside.lane()["state"] == "live"
        assert people.one(1) == {"a": "1", "b": "2"}
