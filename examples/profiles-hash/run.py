"""User profiles as hashes, with masks and times to live: `python examples/profiles-hash/run.py`.

Starts its own MongoDB and Redis; SYNCD_MONGO_URI and SYNCD_REDIS_URL name others. Checks itself: exit code 0 when
everything in Redis is as the contract says.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from redis import Redis

from syncd.demo.stage import Daemon, servers

HERE = Path(__file__).parent
KEY = "an example, not a secret"
DAY_S = 86_400
JOINED = datetime(2024, 2, 29, 12, tzinfo=UTC)


def users() -> list[dict[str, Any]]:
    """Three users: one with everything, one with little, one who left."""
    trial = {"plan": "pro", "ends": datetime.now(UTC) + timedelta(hours=1)}
    contact = {"email": "ada@example.com", "phone": "+49 30 5551234"}
    ada = {
        "_id": 1,
        "name": "Ada",
        "plan": "free",
        "address": {"city": "Berlin"},
        "contact": contact,
        "trial": trial,
    }
    return [
        ada | {"joined": JOINED, "note": "called about her invoice", "active": True},
        {"_id": 2, "name": "Grace", "plan": "pro", "joined": JOINED, "active": True},
        {"_id": 3, "name": "Gone", "plan": "free", "joined": JOINED, "active": False},
    ]


def check(truth: bool, what: str) -> None:
    """Say what holds, or end with exit code 1."""
    if not truth:
        sys.exit(f"not as it should be: {what}")
    sys.stdout.write(f"  ok: {what}\n")


def eventually(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Check what may take a moment."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    check(condition(), what)


def after_the_snapshot(redis: Redis) -> None:
    """What the copy left."""
    ada: Any = redis.hgetall("example-profile:1")
    sys.stdout.write(f"HGETALL example-profile:1\n  {ada}\n")
    digest = hmac.new(KEY.encode(), b"ada@example.com", hashlib.sha256).hexdigest()
    check(ada["email"] == digest, "the address is its HMAC-SHA256")
    check(ada["phone"] == "****1234", "of the telephone number, four digits")
    check(ada["note"] == "[redacted]", "of the note, nothing")
    check(ada["joined"] == str(int(JOINED.timestamp())), "the date in seconds since 1970")
    check((ada["city"], ada["greeting"]) == ("Berlin", "Hello Ada"), "a nested field and an expression")
    check(29 * DAY_S < int(str(redis.ttl("example-profile:1"))) <= 30 * DAY_S, "thirty days to live")
    check(redis.get("example-trial:1") == "pro", "the trial is a string of its own")
    check(3500 < int(str(redis.ttl("example-trial:1"))) <= 3600, "which goes when the trial ends")
    grace: Any = redis.hgetall("example-profile:2")
    check(grace.keys() == {"name", "plan", "joined", "greeting"}, "what a document lacks is left out")
    check(not redis.exists("example-trial:2"), "no trial, no key")
    check(not redis.exists("example-profile:3"), "who is not active is not there")


def after_changes(collection: Any, redis: Redis) -> None:
    """What the stream brings."""
    collection.update_one({"_id": 2}, {"$set": {"contact.phone": "5559876"}, "$unset": {"plan": 1}})
    eventually(lambda: redis.hget("example-profile:2", "phone") == "****", "a short number shows nothing")
    check(not redis.hexists("example-profile:2", "plan"), "the field that was unset went in the same step")
    collection.update_one({"_id": 3}, {"$set": {"active": True}})
    eventually(
        lambda: redis.hget("example-profile:3", "name") == "Gone", "who is active again is there again"
    )
    collection.update_one({"_id": 1}, {"$set": {"active": False}})
    eventually(
        lambda: not redis.exists("example-profile:1", "example-trial:1"), "who left the filter left Redis"
    )
    collection.delete_one({"_id": 2})
    eventually(lambda: not redis.exists("example-profile:2"), "who was deleted is gone")


def main() -> None:
    """Start what is needed, and compare."""
    os.environ["SYNCD_HMAC_KEY"] = KEY
    with servers() as where, MongoClient[dict[str, Any]](where.mongo_uri) as mongo:
        collection = mongo["example_accounts"]["users"]
        collection.drop()
        collection.insert_many(users())
        daemon = Daemon(where, HERE / "contracts")
        try:
            daemon.wait_ready()
            redis = Redis.from_url(where.redis_url, decode_responses=True)
            after_the_snapshot(redis)
            after_changes(collection, redis)
        finally:
            code = daemon.stop()
    check(code == 0, "syncd ended by itself")


if __name__ == "__main__":
    main()
