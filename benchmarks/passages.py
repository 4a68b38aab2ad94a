"""Documents of many passages, a key for each: `python -m benchmarks.passages`, beside a careful script.

Both fill an empty Redis, then follow changes of one passage each that were made while they were stopped. At the end
every key is compared. The table goes to stdout, progress to stderr; exit code 1 when something is not equal.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from pymongo import MongoClient, UpdateOne
from pymongo.collection import Collection
from redis import Redis

from benchmarks.measured.observe import wait
from benchmarks.peers.passages import hashes
from syncd.demo.stage import Daemon, Servers
from syncd.embedded import RedisServer, ReplicaSet

DIMS = 256
TIMEOUT_S = 600.0
CONTRACT = f"""\
apiVersion: syncd/v1
kind: SyncContract
metadata: {{name: articles, version: 1.0.0, owner: benchmarks}}
mongo: {{collection: bench.articles}}
redis:
  - projection: passage
    type: hash
    each: passages
    key: "passage:{{_id}}:{{passages.id}}"
    fields:
      title: title
      text: passages.text
      embedding: {{from: passages.embedding, type: vector, dims: {DIMS}}}
"""

Document = dict[str, Any]


def passage(number: int, version: int) -> Document:
    """Multiples of 1/256, which a 32-bit float holds exactly."""
    start = number * 31 + version * 7
    embedding = [(start + at) % 509 / 256 - 1 for at in range(DIMS)]
    return {
        "id": number,
        "text": f"passage {number} in version {version}, as it is read",
        "embedding": embedding,
    }


def article(number: int, passages: int) -> Document:
    """In its first version."""
    return {"_id": number, "title": f"article {number}", "passages": [passage(n, 1) for n in range(passages)]}


@contextmanager
def syncd(where: Servers, folder: Path) -> Iterator[psutil.Process]:
    """With one contract."""
    (folder / "articles.yaml").write_text(CONTRACT)
    daemon = Daemon(where, folder)
    try:
        daemon.wait_ready(TIMEOUT_S)
        yield psutil.Process(daemon.pid)
    finally:
        daemon.stop()


@contextmanager
def script(where: Servers, folder: Path) -> Iterator[psutil.Process]:
    """`peers/passages.py`."""
    command = [sys.executable, "-m", "benchmarks.peers.passages", where.mongo_uri, where.redis_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


class Course:
    """One system on empty servers."""

    def __init__(self, articles: Collection[Document], redis: Redis, options: argparse.Namespace) -> None:
        self._articles, self._redis, self._options = articles, redis, options

    def run(self, system: Callable[[], Any]) -> dict[str, float]:
        """Rates, and whether everything was right at the end."""
        count, passages = self._options.documents, self._options.passages
        self._redis.flushall()
        self._articles.drop()
        for start in range(0, count, 100):
            self._articles.insert_many(article(n, passages) for n in range(start, min(count, start + 100)))
        began = time.monotonic()
        with system():
            snapshot = time.monotonic() - began
        changes = self._change()
        began = time.monotonic()
        with system() as process:
            wait(self._is_visible, "the last change is visible", TIMEOUT_S, lambda: None)
            backlog, used = time.monotonic() - began, process.cpu_times()
            peak = process.memory_info().rss
        self._check()
        return {
            "keys/s, snapshot": count * passages / snapshot, "changes/s, backlog": changes / backlog,
            "CPU ms/change": 1000 * (used.user + used.system) / changes, "RSS MB": peak / 1e6,
        }  # fmt: skip

    def _change(self) -> int:
        """One passage of each document, some more than once, and only at the end one of the last document."""
        chance, last = random.Random(1), self._options.documents - 1
        ids = [*range(last), *range(0, last, 2), last]
        changes = []
        for version, ident in enumerate(ids, 2):
            at = chance.randrange(self._options.passages)
            changes.append(UpdateOne({"_id": ident}, {"$set": {f"passages.{at}": passage(at, version)}}))
        self._articles.bulk_write(changes)
        key = f"passage:{last}:{at}"
        self._last = key, hashes(self._articles.find_one({"_id": last}) or {})[key]
        return len(ids)

    def _is_visible(self) -> bool:
        key, content = self._last
        return bool(self._redis.hget(key, "embedding") == content["embedding"])

    def _check(self) -> None:
        keys = {
            key.decode() for key in self._redis.scan_iter("passage:*", count=1000) if key.count(b":") == 2
        }
        for document in self._articles.find():
            wanted = hashes(document)
            with self._redis.pipeline(transaction=False) as pipe:
                for key in wanted:
                    pipe.hgetall(key)
                for (key, content), found in zip(wanted.items(), pipe.execute(), strict=True):
                    keys.discard(key)
                    shown = {
                        name.encode(): v if isinstance(v, bytes) else v.encode()
                        for name, v in content.items()
                    }
                    if found != shown:
                        raise SystemExit(f"{key} is wrong")
        if keys:
            raise SystemExit(f"{len(keys)} keys are left over")


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passages", description=__doc__)
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--passages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"syncd": [], "script": []}
    with (
        ReplicaSet() as mongo,
        RedisServer(modules=False) as server,
        MongoClient[Document](mongo.uri) as client,
    ):
        where = Servers(mongo.uri, server.url)
        with Redis.from_url(server.url) as redis:
            course = Course(client["bench"]["articles"], redis, options)
            for number in range(options.rounds):
                for name in sorted(found, reverse=bool(number % 2)):
                    start = syncd if name == "syncd" else script
                    with tempfile.TemporaryDirectory(prefix="syncd-passages-") as folder:
                        result = course.run(lambda: start(where, Path(folder)))  # noqa: B023
                    sys.stderr.write(f"{name}: {result}\n")
                    found[name].append(result)
    names = list(found["syncd"][0])
    print("| |", " | ".join(names), "|")
    print("|---|", "---:|" * len(names))
    for name, results in found.items():
        medians = [sorted(one[key] for one in results)[len(results) // 2] for key in names]
        print(
            f"| {name} |",
            " | ".join(f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in medians),
            "|",
        )


if __name__ == "__main__":
    main()
