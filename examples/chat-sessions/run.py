"""Conversations in Redis, every one of them and every turn in MongoDB: `python examples/chat-sessions/run.py`.

Starts its own servers. Clients write at full speed while the daemon is killed every few seconds and MongoDB changes its
primary twice. Exit code 0 when at the end every session and every turn is in MongoDB, once, in order, typed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bson import Decimal128, ObjectId
from clients import STREAM, Clients, key
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from redis import Redis

from syncd.demo.stage import Daemon, Servers
from syncd.embedded import RedisServer, ReplicaSet

HERE = Path(__file__).parent
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PATIENCE_S = 120.0

Document = dict[str, Any]


def main() -> None:
    """Start what is needed, disturb it, and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the clients write")
    parser.add_argument("--kill-every", type=float, default=3.0)
    given = parser.parse_args()
    with ReplicaSet(members=3) as mongo, RedisServer(appendonly=True) as redis:
        where = Servers(mongo.uri, redis.url)
        turns, kills = disturb(mongo, where, given)
        daemon = Daemon(where, HERE / "contracts")
        try:
            compare(where, turns)
        finally:
            code = daemon.stop()
    check(code == 0, "syncd ended by itself")
    total = f"{len(turns)} sessions and {sum(turns.values()):,} turns"
    say(f"{total} are in MongoDB, each once, in order, typed; {kills} kills, two step-downs")


def disturb(mongo: ReplicaSet, where: Servers, given: argparse.Namespace) -> tuple[dict[int, int], int]:
    """Let the clients write for so long. Returns the turns of each session, and how often the daemon was killed."""
    daemon = Daemon(where, HERE / "contracts")
    daemon.wait_ready()
    clients = Clients(where.redis_url, given.sessions, given.clients)
    start, kills, steps = time.monotonic(), 0, 0
    try:
        while (since := time.monotonic() - start) < given.seconds:
            time.sleep(min(given.kill_every, given.seconds - since))
            if steps < 2 and time.monotonic() - start > given.seconds * (steps + 1) / 3:
                step_down(mongo)
                steps += 1
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.stop()
            kills += 1
            say(f"  {redis_says(where)}; the daemon was killed")
            daemon = Daemon(where, HERE / "contracts")
        for _ in range(steps, 2):
            step_down(mongo)
    finally:
        turns = clients.finish()
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.stop()
    return turns, kills + 1


def step_down(mongo: ReplicaSet) -> None:
    """Another member becomes primary."""
    primary = mongo.wait_for_primary()
    primary.command("replSetStepDown", 10, force=True)
    mongo.wait_for_primary(other_than=primary)
    say("  MongoDB has another primary")


def redis_says(where: Servers) -> str:
    """How many turns there are."""
    with Redis.from_url(where.redis_url) as client:
        return f"{client.xlen(STREAM):,} turns said"


def compare(where: Servers, turns: dict[int, int]) -> None:
    """Everything that the clients wrote, against everything that is in MongoDB."""
    with (
        MongoClient[Document](where.mongo_uri, tz_aware=True) as mongo,
        Redis.from_url(where.redis_url) as redis,
    ):
        database = mongo["example_chat"]
        total = sum(turns.values())
        eventually(lambda: database["turns"].count_documents({}) >= total, f"{total:,} turns have arrived")
        eventually(
            lambda: not different(database["sessions"], redis, turns),
            f"{len(turns)} sessions are as in Redis",
        )
        check(database["sessions"].count_documents({}) == len(turns), "and no other session is there")
        check(not misplaced(database["turns"], turns), "every turn is there once, in order, typed")


def different(collection: Any, redis: Redis, turns: dict[int, int]) -> list[int]:
    """Sessions whose document is not what their key says."""
    found = {one.pop("_id"): one for one in collection.find({}, {"_syncd": 0})}
    said = {session: redis.hgetall(key(session)) for session in turns}
    return [session for session in turns if found.get(session) != document(said[session])]


def document(said: Any) -> Document:
    """What a session must be in MongoDB, by rules of its own."""
    text = {name.decode(): value.decode() for name, value in said.items()}
    return {
        "user": {"id": ObjectId(text["user"])},
        "turns": int(text["turns"]),
        "usage": {"tokens": int(text["tokens"]), "cost": Decimal128(text["cost"])},
        "last_at": EPOCH + timedelta(milliseconds=int(text["last_at"])),
        "state": text["state"],
        "topics": json.loads(text["topics"]),
    }


def misplaced(collection: Any, turns: dict[int, int]) -> list[int]:
    """Sessions whose turns are not 1, 2, 3, ... in the order of the stream, each once and with its types."""
    order: dict[int, list[tuple[int, ...]]] = {session: [] for session in turns}
    for one in collection.find():
        entry = tuple(map(int, one["_id"].rpartition("/")[2].split("-")))
        right = one["role"] == ("user" if one["turn"] % 2 else "assistant") and isinstance(
            one["at"], datetime
        )
        order[one["session"]].append((*entry, one["turn"] if right else 0))
    return [
        session for session, found in order.items()
        if [one[-1] for one in sorted(found)] != list(range(1, turns[session] + 1))
    ]  # fmt: skip


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Check what takes a moment."""
    end = time.monotonic() + PATIENCE_S
    while not holds(condition) and time.monotonic() < end:
        time.sleep(0.1)
    check(condition(), what)


def holds(condition: Callable[[], bool]) -> bool:
    """MongoDB may be between two primaries."""
    try:
        return condition()
    except PyMongoError:
        return False


def check(truth: bool, what: str) -> None:
    """Say what holds, or end with exit code 1."""
    if not truth:
        sys.exit(f"not as it should be: {what}")
    say(f"  ok: {what}")


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
