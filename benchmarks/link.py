"""What goes over the link between a site and the centre, in bytes: `python -m benchmarks.link`.

The daemon stands at the site, beside its Redis; MongoDB is at the other end of a link that counts. The table goes to
stdout, one column for each kind of compression that both ends know; progress goes to stderr. Exit code 1 when something
is not equal at the end.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient, UpdateOne
from redis import Redis

from benchmarks.measured.observe import wait
from benchmarks.measured.workload import FIELDS, Document, document
from syncd.demo.stage import Daemon, Servers
from syncd.embedded import Link, RedisServer, ReplicaSet
from syncd.outbox import Outbox

SITE = "hill"
TIMEOUT_S = 300.0
STILL_COMING_S = 1.5
"""For what is still on its way when everything is visible."""
DIFFERENT = (0, 10, 1_000)
MODULES = {
    "zlib": ("zlib",),
    "snappy": ("snappy",),
    "zstd": ("backports.zstd", "compression.zstd", "zstandard"),
}
"""What the driver needs for each compression."""
DOCS = f"""\
apiVersion: syncd/v1
kind: SyncContract
metadata: {{name: docs, version: 1.0.0, owner: benchmarks}}
mongo: {{collection: link.docs, filter: {{site: "${{SYNCD_SITE}}"}}}}
redis:
  - {{projection: card, type: hash, key: "doc:{{_id}}", fields: [{", ".join(FIELDS)}]}}
reconcile: {{check: digest}}
"""
ORDERS = """\
apiVersion: syncd/v1
kind: SyncContract
metadata: {name: orders, version: 1.0.0, owner: benchmarks}
mongo: {collection: link.orders}
redis:
  - projection: order
    type: hash
    key: "order:{_id}"
    fields: {v: {from: v, type: int}, name: name, email: email, city: city, street: street, status: status, note: note}
sync: {direction: redis_to_mongo, capture: outbox}
"""

Table = dict[str, int]


class Edge:
    """A site on empty servers, whose link counts."""

    def __init__(self, stack: ExitStack, documents: int, changes: int, compression: str) -> None:
        self.documents, self.changes, self.table = documents, changes, Table()
        mongo = stack.enter_context(ReplicaSet())
        redis = stack.enter_context(RedisServer(modules=False))
        self.link = stack.enter_context(Link(mongo.members[0].port))
        self.redis: Redis = stack.enter_context(Redis.from_url(redis.url, decode_responses=True))
        self.docs = stack.enter_context(MongoClient[Document](mongo.uri))["link"]["docs"]
        self._contracts = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="syncd-link-")))
        (self._contracts / "docs.yaml").write_text(DOCS)
        (self._contracts / "orders.yaml").write_text(ORDERS)
        uri = self.link.mongo_uri + (f"&compressors={compression}" if compression != "none" else "")
        self._where = Servers(uri, redis.url)
        self.version = 1
        self.daemon: Daemon | None = None

    def start(self) -> None:
        """The daemon, until it is ready."""
        self.daemon = Daemon(self._where, self._contracts, SYNCD_SITE=SITE)
        self.daemon.wait_ready(TIMEOUT_S)

    def stop(self) -> None:
        """The daemon, where there is one."""
        if self.daemon is not None:
            self.daemon.stop()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Until it holds, while the daemon runs."""
        wait(condition, what, TIMEOUT_S, self._check_alive)

    def _check_alive(self) -> None:
        if self.daemon is None or not self.daemon.running:
            raise SystemExit("the daemon ended by itself")

    def load(self) -> None:
        """Documents of the site, and some of another."""
        sites = [SITE] * self.documents + ["harbour"] * self.changes
        for start in range(0, len(sites), 10_000):
            part = enumerate(sites[start : start + 10_000], start)
            self.docs.insert_many([document(number) | {"site": site} for number, site in part])

    def change(self, numbers: Sequence[int]) -> None:
        """One field of each, and last of all of the first document of the site."""
        self.version += 1
        update = {"$set": {"v": self.version}}
        self.docs.bulk_write([UpdateOne({"_id": number}, update) for number in [*numbers, 0]])

    def is_visible(self) -> bool:
        """Whether the last change is."""
        return self.redis.hget("doc:0", "v") == str(self.version)

    @contextmanager
    def counted(self, what: str) -> Iterator[None]:
        """What goes over the link in this block is a row of the table."""
        before, began = self.link.bytes, time.monotonic()
        yield
        time.sleep(STILL_COMING_S)
        self.table[what] = self.link.bytes - before
        say(f"  {what}: {self.table[what]:,} bytes, {time.monotonic() - began - STILL_COMING_S:.1f} s")

    def outage(self, what: str, meanwhile: Callable[[], None], over: Callable[[], bool]) -> None:
        """Something happens while the link is cut; what it costs when the link is back."""
        self.link.cut()
        meanwhile()
        with self.counted(what):
            self.link.restore()
            self.wait(over, what)

    def reconcile(self, *words: str) -> dict[str, Any]:
        """The report of `syncd reconcile`, run at the site."""
        assert self.daemon is not None
        command = [sys.executable, "-m", "syncd", "reconcile", "docs", "--contracts", str(self._contracts)]
        said = subprocess.run(
            [*command, *words, "-o", "json"],
            env=self.daemon.environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
        if said.returncode not in (0, 1):
            raise SystemExit(said.stderr)
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    def numbers(self, count: int) -> list[int]:
        """So many documents of the site, spread over all of them."""
        step = max(1, self.documents // max(count, 1))
        return [number * step for number in range(count)]


def measure(documents: int, changes: int, idle_s: float, compression: str) -> Table:
    """All rows, on servers of their own."""
    with ExitStack() as stack:
        edge = Edge(stack, documents, changes, compression)
        edge.load()
        stack.callback(edge.stop)
        with edge.counted(f"snapshot of {documents:,} documents"):
            edge.start()
        with edge.counted("a minute at rest"):
            time.sleep(idle_s - STILL_COMING_S)
        edge.table["a minute at rest"] = round(edge.table["a minute at rest"] * 60 / idle_s)
        _outages(edge)
        _checks(edge)
        _lost(edge)
        left = edge.reconcile("--check", "full")
        if left["result"] != "clean" or left["check"] != "full":
            raise SystemExit(f"not equal at the end: {left}")
        return edge.table


def _outages(edge: Edge) -> None:
    edge.outage("back after an outage, nothing changed", lambda: edge.change([]), edge.is_visible)
    few = edge.numbers(edge.changes)
    said = f"{edge.changes:,} documents changed"
    edge.outage(f"back after an outage, {said}", lambda: edge.change(few), edge.is_visible)
    others = range(edge.documents, edge.documents + edge.changes)
    edge.outage(f"back after an outage, {said} at other sites", lambda: edge.change(others), edge.is_visible)
    orders = Outbox(edge.redis, "orders")

    def write() -> None:
        with edge.redis.pipeline(transaction=True) as pipe:
            for number in range(edge.changes):
                said: Any = document(number)
                del said["_id"], said["score"]
                pipe.hset(f"order:{number}", mapping=said)
                orders.note(pipe, f"order:{number}")
            pipe.execute()

    what = f"back after an outage, {edge.changes:,} new keys for the centre"
    edge.outage(what, write, lambda: not edge.redis.xlen(orders.stream))


def _checks(edge: Edge) -> None:
    with edge.counted("check in full, no difference"):
        edge.reconcile("--check", "full")
    for count in DIFFERENT:
        wait_for_digests(edge)
        spoil(edge, edge.numbers(count))
        with edge.counted(f"check by digests and repair, {count:,} differences"):
            report = edge.reconcile("--check", "digest", "--repair")
        found = (report["check"], report["repaired"], report["left"])
        if found != ("digest", count, 0):
            raise SystemExit(f"not as it should be: {report}")


def spoil(edge: Edge, numbers: Sequence[int]) -> None:
    """As if Redis had older states of these: of their keys, and of the digests beside them."""
    wanted = {str(number) for number in numbers}
    for key in edge.redis.scan_iter("syncd:{docs}:digest:*", count=1000):
        for ident in wanted.intersection(edge.redis.hkeys(key)):
            edge.redis.hset(key, ident, "1")
            edge.redis.hset(f"doc:{ident}", "v", "0")


def wait_for_digests(edge: Edge) -> None:
    """Wait until the lane has asked for the digests of all that changed."""
    edge.wait(lambda: not edge.redis.exists("syncd:{docs}:changed"), "all digests are known")


def _lost(edge: Edge) -> None:
    for count in DIFFERENT:
        wait_for_digests(edge)
        edge.stop()
        edge.change(edge.numbers(count) if count else [])
        edge.redis.hset("syncd:{docs}:position", "token", '{"_data": "lost"}')
        with edge.counted(f"lost position, {count:,} documents changed meanwhile"):
            edge.start()
            edge.wait(edge.is_visible, "the last change is visible")
        if edge.daemon and "position lost" not in edge.daemon.log.read_text():
            raise SystemExit("the position was not lost")


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.link", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="of the site (default 100,000)")
    parser.add_argument("--changes", type=int, default=1_000, help="during an outage (default 1,000)")
    parser.add_argument(
        "--idle", type=float, default=20.0, help="seconds that the site is at rest (default 20)"
    )
    parser.add_argument("--compression", help="some of none,zlib,snappy,zstd; by default all that are there")
    given = parser.parse_args()
    kinds = given.compression.split(",") if given.compression else ["none", *filter(has, MODULES)]
    tables: dict[str, Table] = {}
    for kind in kinds:
        say(f"compression: {kind}")
        tables[kind] = measure(given.documents, given.changes, given.idle, kind)
    print("| bytes over the link |" + "".join(f" {kind} |" for kind in kinds))
    print("|---|" + "---:|" * len(kinds))
    for what in tables[kinds[0]]:
        print(f"| {what} |" + "".join(f" {tables[kind][what]:,} |" for kind in kinds))
    return 0


def has(compression: str) -> bool:
    """Whether the driver can do it here."""

    def is_there(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:  # the package around it
            return False

    return any(map(is_there, MODULES[compression]))


def say(text: str) -> None:
    """To the user who waits."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
