"""The centre and the sites: servers, daemons, and the applications that write on each."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database
from redis import Redis

from syncd.demo.stage import Daemon, Servers
from syncd.embedded import Link, RedisServer, ReplicaSet
from syncd.outbox import Outbox

CONTRACTS = Path(__file__).parent / "contracts"
NAMES = ("harbour", "hill")
KEY = "an example, not a secret"
MACHINES = 50

Document = dict[str, Any]


class Centre:
    """What head office does with its MongoDB."""

    def __init__(self, database: Database[Document], products: int) -> None:
        self._database, self._products, self._chance = database, products, random.Random(7)  # noqa: S311
        database["products"].insert_many(map(product, range(products)))
        database["machines"].insert_many(
            {"_id": number, "plan": "none", "seen": dict.fromkeys(NAMES, 0)} for number in range(MACHINES)
        )

    def work(self, turn: int) -> None:
        """New prices, products that come to a site or leave it, one that is gone, and plans for machines."""
        some = [self._chance.randrange(self._products) for _ in range(20)]
        prices = [UpdateOne({"_id": number}, {"$set": {"price": 1000 + turn}}) for number in some]
        self._database["products"].bulk_write(prices)
        self._database["products"].update_one({"_id": some[0]}, {"$addToSet": {"sites": "hill"}})
        self._database["products"].update_one({"_id": some[1]}, {"$pull": {"sites": "hill"}})
        self._database["products"].delete_one({"_id": some[2]})
        self._database["products"].insert_one(product(self._products + turn))
        plan = {"$set": {"plan": f"visit {turn}"}}
        self._database["machines"].update_one({"_id": self._chance.randrange(MACHINES)}, plan)


def product(number: int) -> Document:
    """Every third is sold everywhere, the others at one site."""
    return {
        "_id": number,
        "name": f"product {number}",
        "price": 100 + number % 900,
        "sites": list(NAMES) if number % 3 == 0 else [NAMES[number % 2]],
        "supplier": {"email": f"supplier{number % 40}@example.com", "account": f"DE{number:020d}"},
        "margin": 0.3,
    }


class Site:
    """A Redis with its application and its daemon, and the link from there to the centre."""

    def __init__(self, name: str, mongo: ReplicaSet, stack: contextlib.ExitStack) -> None:
        self.name, self._chance = name, random.Random(name)  # noqa: S311 - no secret
        server = stack.enter_context(RedisServer(appendonly=True))
        self.link = stack.enter_context(Link(mongo.members[0].port))
        self.redis = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        self._where = Servers(self.link.mongo_uri, server.url)
        self._orders, self._machines = Outbox(self.redis, "edge-orders"), Outbox(self.redis, "edge-machines")
        self._made = 0
        self.daemon = self._start()
        stack.callback(self.stop)

    def _start(self) -> Daemon:
        return Daemon(self._where, CONTRACTS, SYNCD_SITE=self.name, SYNCD_HMAC_KEY=KEY)

    def restart(self) -> None:
        """`kill -9` of the daemon, and another one, as soon as it answers."""
        os.kill(self.daemon.pid, signal.SIGKILL)
        self.daemon.stop()
        self.daemon = self._start()
        while self.daemon.running and self.daemon.status() is None:
            time.sleep(0.05)

    def stop(self) -> int:
        """End the daemon that runs now. Returns its exit code."""
        return self.daemon.stop()

    def work(self, turn: int) -> None:
        """New orders, old ones that go on or are cancelled, readings, and what people have seen of machines."""
        for _ in range(5):
            self._made += 1
            said = {"product": self._chance.randrange(100), "count": 1 + turn % 4, "state": "new"}
            self._orders.hset(f"order:{self.name}-{self._made}", mapping=said)
        older = self._chance.randint(1, self._made)
        if self.redis.exists(key := f"order:{self.name}-{older}"):
            self._orders.hset(key, "state", "paid")
        self._orders.delete(f"order:{self.name}-{self._chance.randint(1, self._made)}")
        for meter in range(10):
            self.redis.xadd(f"readings:{self.name}", {"meter": f"meter {meter}", "value": turn})
        self._machines.hincrby(f"machine:{self._chance.randrange(MACHINES)}", self.name)

    def waiting(self) -> str:
        """What the daemon says of its lanes."""
        said = self.daemon.status()
        if said is None:
            return "the daemon does not answer"
        states = ", ".join(sorted({lane["state"] for lane in said["lanes"]}))
        orders: Any = self.redis.xlen("syncd:{edge-orders}:outbox")
        return f"ready: {said['ready']}, lanes: {states}; {orders} entries wait in the outbox of orders"
