"""The contract of the soak on a cluster whose keys go to MongoDB, by keyspace events, and the application that writes
these keys: it changes some for ever, deletes others, and lets more expire. No document goes but by a deletion."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from redis.exceptions import RedisClusterException, RedisError

from tests.soak.contracts import KEPT, TOKEN, names
from tests.soak.documents import Document
from tests.support.contracts import ContractDirectory, projection
from tests.support.servers.shared import connect

KEYS = 600
STAYS = range(KEYS // 2, KEYS)
"""These are changed, and never deleted."""
EXPIRES = 100_000
"""From here on each is written once, and expires: its document stays, where it was read before."""
EXPIRES_MS = (300, 5000)
SHORT_LIVED = """
redis.call('HSET', KEYS[1], 'n', ARGV[1], 'w', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""In one step: of a key that syncd has seen without an expiry, it would take the end for a deletion."""
PAUSE_S, AWAY_S = 0.01, 0.2
AWAY = (RedisError, RedisClusterException, OSError, AttributeError)
"""A node is away, or the driver does not know one for a slot for a moment."""


def text() -> str:
    """The contract's file."""
    said = projection({"n": {"from": "n", "type": "int"}, "w": {"from": "in.w", "type": "int"}})
    sync = {"direction": "redis_to_mongo", "capture": "keyspace"}
    return ContractDirectory.text(names(KEPT), [said], sync=sync)


def key(end: int) -> str:
    return f"{names(KEPT).prefix('card')}{end}"


class Application(threading.Thread):
    """As a context manager, between start and stop."""

    def __init__(self, redis_url: str, mongo: MongoClient[Document], seed: int) -> None:
        super().__init__(name="application", daemon=True)
        self._url, self._redis = redis_url, connect(redis_url)
        self._documents = mongo[TOKEN][KEPT]
        self._chance = random.Random(f"{seed}/application")
        self._halt = threading.Event()
        self._expiring = EXPIRES
        self._n = 0
        self.died = ""
        self.vanished: list[Any] = []
        """Documents that went, and whose keys were never deleted."""

    def run(self) -> None:
        try:
            with self._documents.watch([{"$match": {"operationType": "delete"}}]) as stream:
                while not self._halt.wait(PAUSE_S):
                    self._turn()
                    self._note(stream.try_next())
                while (event := stream.try_next()) is not None:
                    self._note(event)
        except Exception as error:  # one that died in silence would look like a good result
            self.died = f"{type(error).__name__}: {error}"

    def _note(self, event: Any) -> None:
        if event is not None and event["documentKey"]["_id"] >= STAYS.start:
            self.vanished.append(event["documentKey"]["_id"])

    def _turn(self) -> None:
        try:
            self._change()
        except AWAY:
            self._redis.close()
            self._halt.wait(AWAY_S)
            with suppress(*AWAY):
                self._redis = connect(self._url)

    def _change(self) -> None:
        for end in self._chance.sample(range(KEYS), 5):
            self.put(end)
        self._redis.delete(key(self._chance.randrange(STAYS.start)))
        self._n, self._expiring = self._n + 1, self._expiring + 1
        lives_ms = self._chance.randint(*EXPIRES_MS)
        self._redis.eval(SHORT_LIVED, 1, key(self._expiring), self._n, lives_ms)

    def put(self, end: int) -> None:
        self._n += 1
        self._redis.hset(key(end), mapping={"n": self._n, "w": self._n})

    def write_all(self) -> None:
        """Redis may have lost keys, or gone back behind what MongoDB has: then the next change of each key counts."""
        for end in range(KEYS):
            self.put(end)

    def delete_some(self) -> None:
        """Of those that may be deleted."""
        for end in range(0, STAYS.start, 2):
            self._redis.delete(key(end))

    def differing(self) -> list[str]:
        """Documents that are not as their keys, but for those of keys that expired."""
        there = {one["_id"]: one for one in self._documents.find({"_id": {"$lt": EXPIRES}})}
        found = []
        for end in range(KEYS):
            said, one = self._redis.hgetall(key(end)), there.get(end)
            wanted = {name.decode(): int(value) for name, value in said.items()} or None
            holds = one and {"n": one.get("n"), "w": one.get("in", {}).get("w")}
            if wanted != holds:
                found.append(f"{key(end)}: the key has {wanted}, the document {holds}")
        return found

    def __enter__(self) -> Application:
        self.start()
        return self

    def stop(self) -> None:
        """No more changes but those that are asked for."""
        self._halt.set()
        self.join()
        self._redis.close()
        self._redis = connect(self._url)

    def __exit__(self, *error: object) -> None:
        self._halt.set()
        self.join()
        self._redis.close()
