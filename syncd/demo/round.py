"""The whole round without a person: snapshot, update, unset, filter, delete, and a search by meaning, each checked."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Callable
from typing import Any

from pymongo import MongoClient
from redis import Redis

from syncd.demo.films import Embed

Say = Callable[[str], None]
SAMPLES = 500


class CheckFailed(Exception):
    """A check of the demo failed."""


def expect(truth: bool, what: str) -> None:
    """Raise CheckFailed unless `truth`."""
    if not truth:
        raise CheckFailed(what)


def seen_within(seconds: float, condition: Callable[[], bool], what: str) -> float:
    """Poll until `condition` holds; the milliseconds it took. Raises CheckFailed after `seconds`."""
    start = time.perf_counter()
    while not condition():
        expect(time.perf_counter() - start < seconds, f"not seen within {seconds} s: {what}")
        time.sleep(0.0005)
    return (time.perf_counter() - start) * 1000


def whole_round(mongo: MongoClient[dict[str, Any]], redis: Redis, embed: Embed, say: Say) -> None:
    """Check a Redis that the daemon has filled. Raises CheckFailed at the first check that fails."""
    films = mongo["catalog"]["movies"]
    count = _counts(films, redis)
    say(f"snapshot: {count} films are there as hash and as JSON")
    say(f"{_fields(films, redis)} films picked at random equal their documents, field by field")
    say(_update(films, redis))
    say(_unset(films, redis))
    say(_filter(films, redis))
    say(_delete(films, redis))
    say(_search(redis, embed))


def _counts(films: Any, redis: Redis) -> int:
    count: int = films.count_documents({"status": "released"})
    for pattern in ("movie:*", "passage:*"):
        keys = sum(1 for _ in redis.scan_iter(match=pattern, count=5000))
        expect(keys == count, f"{keys} keys {pattern} for {count} films")
    return count


def _fields(films: Any, redis: Redis) -> int:
    ids = random.Random(7).sample(  # noqa: S311 - no secret
        [d["_id"] for d in films.find({"status": "released"}, {"_id": 1})], SAMPLES
    )
    for film in films.find({"_id": {"$in": ids}}):
        card: Any = redis.hgetall(f"movie:{film['_id']}")
        passage = json.loads(str(redis.execute_command("JSON.GET", f"passage:{film['_id']}")))
        expect(card.get("title") == film["title"], f"title of film {film['_id']}")
        expect(card.get("year") == _text(film["release"]["year"]), f"year of film {film['_id']}")
        expect(json.loads(card["genres"]) == film["genres"] == passage["genres"], f"genres of {film['_id']}")
        expect(passage["cast"] == film["cast"], f"cast of film {film['_id']}")
        vector = list(struct.unpack("<256f", film["embedding"][2:]))
        expect(max(abs(a - b) for a, b in zip(vector, passage["embedding"], strict=True)) < 1e-6, "embedding")
    return len(ids)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _pick(films: Any) -> dict[str, Any]:
    film: dict[str, Any] = films.find_one(
        {"status": "released", "minutes": {"$gt": 60}, "score.metacritic": {"$gt": 70}}
    )
    return film


def _update(films: Any, redis: Redis) -> str:
    film = _pick(films)
    films.update_one({"_id": film["_id"]}, {"$set": {"title": "Renamed by the demo"}})
    ms = seen_within(
        10, lambda: redis.hget(f"movie:{film['_id']}", "title") == "Renamed by the demo", "an update"
    )
    films.update_one({"_id": film["_id"]}, {"$set": {"title": film["title"]}})
    return f"updated: film {film['_id']} had its new title in Redis after {ms:.1f} ms"


def _unset(films: Any, redis: Redis) -> str:
    film = _pick(films)
    films.update_one({"_id": film["_id"]}, {"$unset": {"minutes": 1}})
    ms = seen_within(10, lambda: not redis.hexists(f"movie:{film['_id']}", "minutes"), "a field unset")
    expect(bool(redis.hexists(f"movie:{film['_id']}", "title")), "the other fields stay")
    return f"unset: field minutes of film {film['_id']} was gone after {ms:.1f} ms"


def _filter(films: Any, redis: Redis) -> str:
    film = _pick(films)
    keys = f"movie:{film['_id']}", f"passage:{film['_id']}"
    films.update_one({"_id": film["_id"]}, {"$set": {"status": "withdrawn"}})
    ms = seen_within(10, lambda: redis.exists(*keys) == 0, "a film that left the filter")
    films.update_one({"_id": film["_id"]}, {"$set": {"status": "released"}})
    seen_within(10, lambda: redis.exists(*keys) == 2, "a film that came back")
    return f"filter: film {film['_id']} was gone {ms:.1f} ms after it left the filter, and came back with it"


def _delete(films: Any, redis: Redis) -> str:
    film = _pick(films)
    keys = f"movie:{film['_id']}", f"passage:{film['_id']}"
    films.delete_one({"_id": film["_id"]})
    ms = seen_within(10, lambda: redis.exists(*keys) == 0, "a film deleted")
    films.insert_one(film)
    seen_within(10, lambda: redis.exists(*keys) == 2, "a film inserted")
    return f"deleted: film {film['_id']} was gone after {ms:.1f} ms"


def _search(redis: Redis, embed: Embed) -> str:
    query = "space adventure with robots and aliens"
    found = search(redis, embed, query, 5)
    expect(len(found) == 5, "five neighbours")
    expect(any("Sci-Fi" in genres for _, genres in found), f"a science fiction film among {found}")
    return f"search: {query!r} finds " + "; ".join(title for title, _ in found)


def search(redis: Redis, embed: Embed, query: str, count: int) -> list[tuple[str, list[str]]]:
    """Titles and genres of the nearest films."""
    vector = struct.pack("<256f", *embed([query])[0])
    reply: Any = redis.execute_command(
        "FT.SEARCH", "passages", f"*=>[KNN {count} @embedding $v AS distance]",
        "PARAMS", 2, "v", vector, "SORTBY", "distance", "RETURN", 2, "$.title", "$.genres", "DIALECT", 2,
    )  # fmt: skip
    found = []
    for fields in reply[2::2]:
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        found.append((named["$.title"], json.loads(named["$.genres"])))
    return found
