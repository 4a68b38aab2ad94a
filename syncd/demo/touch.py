"""Commands of the demonstration to paste: `python -m syncd.demo.touch MONGO REDIS title ID TEXT | search TEXT`."""

from __future__ import annotations

import sys
import time
from typing import Any

from pymongo import MongoClient
from redis import Redis

from syncd.demo.films import embedder
from syncd.demo.round import search, seen_within

USAGE = 2


def main(arguments: list[str]) -> int:
    """Run one of the commands. Returns the exit code."""
    match arguments:
        case [mongo_uri, redis_url, "title", film, text]:
            return _title(mongo_uri, redis_url, int(film), text)
        case [_, redis_url, "search", text]:
            redis = Redis.from_url(redis_url, decode_responses=True, protocol=2)
            for title, genres in search(redis, embedder(), text, 8):
                sys.stdout.write(f"{title}  [{', '.join(genres)}]\n")
            return 0
    sys.stderr.write(f"{__doc__}\n")
    return USAGE


def _title(mongo_uri: str, redis_url: str, film: int, text: str) -> int:
    redis = Redis.from_url(redis_url, decode_responses=True, protocol=2)
    with MongoClient[dict[str, Any]](mongo_uri) as mongo:
        text = f"{text} ({time.strftime('%H:%M:%S')})"
        result = mongo["catalog"]["movies"].update_one({"_id": film}, {"$set": {"title": text}})
    if not result.matched_count:
        sys.stderr.write(f"no film {film}\n")
        return 1
    ms = seen_within(10, lambda: redis.hget(f"movie:{film}", "title") == text, "the new title")
    sys.stdout.write(
        f"movie:{film} in Redis {ms:.1f} ms after MongoDB acknowledged: {redis.hgetall(f'movie:{film}')}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
