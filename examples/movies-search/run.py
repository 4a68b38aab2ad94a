"""Films in MongoDB, a search over them in Redis: `python examples/movies-search/run.py`.

Starts its own MongoDB and Redis; SYNCD_MONGO_URI and SYNCD_REDIS_URL name others. Exit code 0 when all checks hold.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from redis import Redis

from syncd.demo.films import Embed, embedder, films
from syncd.demo.stage import Daemon, servers

HERE = Path(__file__).parent
COUNT = 400  # films; the first ones of the table
INDEX = "example-films"


def search(redis: Redis, embed: Embed, text: str, where: str = "*", count: int = 5) -> list[dict[str, Any]]:
    """The `count` films nearest in meaning to `text` among those that match `where`, a RediSearch query."""
    vector = struct.pack("<256f", *embed([text])[0])
    reply: Any = redis.execute_command(
        "FT.SEARCH", INDEX, f"({where})=>[KNN {count} @embedding $vector AS distance]",
        "PARAMS", 2, "vector", vector, "SORTBY", "distance", "RETURN", 1, "$", "DIALECT", 2,
    )  # fmt: skip
    return [json.loads(fields[-1]) for fields in reply[2::2]]


def show(title: str, found: list[dict[str, Any]]) -> None:
    """Print one search."""
    sys.stdout.write(f"\n{title}\n")
    for film in found:
        sys.stdout.write(f"  {film['year']}  {film['title']}  [{', '.join(film['genres'])}]\n")


def check(truth: bool, what: str) -> None:
    """End with exit code 1 unless `truth`."""
    if not truth:
        sys.exit(f"not as it should be: {what}")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10) -> float:
    """Milliseconds until `condition` held."""
    start = time.perf_counter()
    while not condition():
        check(time.perf_counter() - start < seconds, f"{what}, after {seconds} s")
        time.sleep(0.001)
    return (time.perf_counter() - start) * 1000


def use(mongo: MongoClient[dict[str, Any]], redis: Redis, embed: Embed) -> None:
    """What an application does: search in Redis, write to MongoDB."""
    collection = mongo["example_movies"]["films"]
    text = "detective hunts a killer"
    show(f"Nearest to {text!r}:", search(redis, embed, text))

    thrillers = search(redis, embed, text, "@genres:{Thriller} @year:[1990 +inf]")
    show("The same, among thrillers since 1990:", thrillers)
    check(len(thrillers) == 5, "five thrillers")
    check(all("Thriller" in film["genres"] and film["year"] >= 1990 for film in thrillers), "the filter")

    best: Any = collection.find_one({"title": thrillers[0]["title"], "release.year": thrillers[0]["year"]})
    check(best is not None, "the film found is in MongoDB")
    collection.update_one({"_id": best["_id"]}, {"$set": {"genres": ["Documentary"]}})
    ms = wait_until(lambda: thrillers[0] not in search(redis, embed, text, "@genres:{Thriller}"), "it leaves")
    sys.stdout.write(f"\n{best['title']!r} became a documentary: no thriller any more after {ms:.1f} ms\n")

    collection.update_one({"_id": best["_id"]}, {"$set": {"status": "withdrawn"}})
    ms = wait_until(lambda: not redis.exists(f"example-film:{best['_id']}"), "it is withdrawn")
    sys.stdout.write(f"{best['title']!r} was withdrawn: gone from Redis after {ms:.1f} ms\n")


def main() -> None:
    """Start what is needed, fill MongoDB, and use the search."""
    embed = embedder()
    with servers() as where, MongoClient[dict[str, Any]](where.mongo_uri) as mongo:
        collection = mongo["example_movies"]["films"]
        collection.drop()
        collection.insert_many(list(islice(films(embed), COUNT)))
        daemon = Daemon(where, HERE / "contracts")
        try:
            seconds = daemon.wait_ready()
            redis = Redis.from_url(where.redis_url, decode_responses=True, protocol=2)
            wait_until(lambda: int(info(redis)["num_docs"]) == COUNT, f"{COUNT} films are indexed")
            sys.stdout.write(f"{COUNT} films copied and indexed; syncd was ready after {seconds:.1f} s\n")
            use(mongo, redis, embed)
        finally:
            code = daemon.stop()
    check(code == 0, f"syncd ended with exit code {code}")


def info(redis: Redis) -> dict[str, Any]:
    """What FT.INFO says."""
    reply: Any = redis.execute_command("FT.INFO", INDEX)
    return dict(zip(reply[::2], reply[1::2], strict=True))


if __name__ == "__main__":
    main()
