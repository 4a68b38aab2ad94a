"""Products of others as systems under test. Each is installed on demand, into a folder under `.cache/bench/`.

Settings are those that the authors recommend for throughput, unless said otherwise here.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.measured.workload import COLLECTION, DATABASE
from benchmarks.systems import install
from benchmarks.systems.base import System


class Product(System):
    """A product in a process of its own."""

    where: Path
    """What `install` gave."""

    @classmethod
    def prepare(cls) -> None:
        """Install it. Raises `NotInstalled`."""
        cls.where = cls.install()

    @classmethod
    def install(cls) -> Path:
        """Where the program is that runs it."""
        raise NotImplementedError

    def arguments(self) -> list[str]:
        """What every runner takes first."""
        return [self.site.mongo_uri, self.site.redis_url, DATABASE, COLLECTION]

    def ready(self) -> bool:
        """Whether it has printed the word."""
        return b"ready" in self.log.read_bytes()


class Bridge(Product):
    """mq-bridge 1.2.0 into Redpanda Connect's output `redis_hash`, in batches of the library's default size."""

    name = "mq-bridge"
    batch = 512

    @classmethod
    def install(cls) -> Path:
        """Both packages; Redpanda Connect is part of the second."""
        return install.python("mq-bridge", ("mq-bridge==1.2.0", "mq-bridge-connect==0.2.2"))

    def command(self) -> list[str]:
        """One route."""
        module = [str(self.where), "-m", "benchmarks.peers.bridge"]
        return [*module, *self.arguments(), str(self.site.folder), str(self.batch)]


class QuickBridge(Bridge):
    """The same in batches of 16, for a short time from a change until it is visible."""

    name = "mq-bridge-16"
    batch = 16


class BridgeBack(Bridge):
    """The other way: Redpanda Connect's input `redis_streams` into its output `mongodb`."""

    name = "mq-bridge-back"

    def command(self) -> list[str]:
        """One route."""
        module = [str(self.where), "-m", "benchmarks.peers.bridge_append"]
        arguments = [self.site.mongo_uri, self.site.redis_url, DATABASE, "events"]
        return [*module, *arguments, str(self.site.folder), str(self.batch)]


class Debezium(Product):
    """Debezium 3.6 embedded, by pydbzengine. Its position is written back every second."""

    name = "debezium"

    @classmethod
    def install(cls) -> Path:
        """The engine's packages bring every connector along; Java has to be there."""
        install.need_java(17)
        return install.python("debezium", ("pydbzengine==3.6.3.0", "redis>=7", "hiredis>=3"))

    def command(self) -> list[str]:
        """The engine and its handler."""
        module = [str(self.where), "-m", "benchmarks.peers.debezium"]
        return [*module, *self.arguments(), str(self.site.folder)]

    def ready(self) -> bool:
        """It says so when the snapshot is done."""
        return b"Reading change stream" in self.log.read_bytes()


class MongoChangeStream(Product):
    """mongochangestream 0.55.0 with ioredis: batches of 1,000, flushed after 5 ms."""

    name = "mongochangestream"

    @classmethod
    def install(cls) -> Path:
        """The library and both drivers."""
        return install.node("mongochangestream", ("mongochangestream@0.55.0", "mongodb@7", "ioredis@6"))

    def command(self) -> list[str]:
        """node with the script."""
        script = Path(__file__).parents[1] / "peers" / "mongochangestream.cjs"
        return ["node", str(script), *self.arguments()]

    def environment(self) -> dict[str, str]:
        """Where its packages are."""
        return {"NODE_PATH": str(self.where)}


PRODUCTS: dict[str, type[Product]] = {
    product.name: product for product in (Bridge, QuickBridge, Debezium, MongoChangeStream)
}
"""Everything that `--systems` may name, beside `systems.SYSTEMS`."""

PEERS: dict[str, tuple[str, ...]] = {
    "mq-bridge + Redpanda Connect": (Bridge.name, QuickBridge.name),
    "Debezium embedded": (Debezium.name,),
    "mongochangestream": (MongoChangeStream.name,),
}
"""Who is compared, and under which settings: of several, the best figure counts."""
